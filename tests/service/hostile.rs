//! A corpus of requests that attackers and broken programs send. Each is sent to both
//! listeners, whole and byte by byte, and must get the answers listed with it. None may
//! smuggle a request, cause a panic or keep its connection open.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use hello_birthday::http::server::HEAD_BYTES_MAX;

use crate::harness::{Service, connect, value, wait_until};

/// Its name, the bytes to send, and the statuses of all answers until the connection ends:
/// from the public listener and from the admin listener.
type Case = (&'static str, &'static str, &'static [u16], &'static [u16]);

/// Replacements for the names in braces, applied in this order. The target is a path that
/// the listener answers with 200.
const PARTS: [(&str, &str); 9] = [
    ("{get}", "GET {target} HTTP/1.1\r\n{host}"),
    ("{put}", "PUT /hello/John HTTP/1.1\r\n{host}"),
    ("{hidden}", "PUT /hello/Hidden HTTP/1.1\r\n{host}{cl}{born}"),
    ("{te}", "Transfer-Encoding: chunked\r\n\r\n"),
    ("{cl}", "Content-Length: 28\r\n\r\n"),
    ("{host}", "Host: localhost\r\n"),
    ("{close}", "Connection: close\r\n"),
    ("{chunks}", "1c\r\n{born}\r\n0\r\n\r\n"),
    ("{born}", r#"{"dateOfBirth":"1990-05-20"}"#),
];

/// Transfer-Encoding in disguise. RFC 9112, section 6.1: what does not end with `chunked`
/// has no known length, and is refused; section 5.1 and 5.2: so are a space before
/// the colon, and a value that goes on in the next line.
const CODINGS: &[Case] = &[
    (
        "a form feed before it",
        "{put}Transfer-Encoding:\u{c}chunked\r\n\r\n{chunks}{hidden}",
        &[400],
        &[400],
    ),
    ("NUL after it", "{put}Transfer-Encoding: chunked\0\r\n\r\n{chunks}{hidden}", &[400], &[400]),
    ("a parameter", "{put}Transfer-Encoding: chunked;a=b\r\n\r\n{chunks}{hidden}", &[400], &[400]),
    (
        "a comma after it",
        "{put}Transfer-Encoding: chunked,\r\n\r\n{chunks}{hidden}",
        &[400],
        &[400],
    ),
    (
        "a tab before the colon",
        "{put}Transfer-Encoding\t: chunked\r\n\r\n{chunks}{hidden}",
        &[400],
        &[400],
    ),
    ("folded", "{put}Transfer-Encoding:\r\n chunked\r\n\r\n{chunks}{hidden}", &[400], &[400]),
    (
        "identity, folded",
        "{put}Transfer-Encoding: chunked\r\n , identity\r\n\r\n{chunks}{hidden}",
        &[400],
        &[400],
    ),
    (
        "a space before the name",
        "PUT /hello/John HTTP/1.1\r\n Transfer-Encoding: chunked\r\n{host}\r\n{chunks}{hidden}",
        &[400],
        &[400],
    ),
    (
        "after a bare CR",
        "{put}X: y\rTransfer-Encoding: chunked\r\n{cl}{born}{hidden}",
        &[400],
        &[400],
    ),
    (
        "NUL in the name",
        "{put}Transfer\0-Encoding: chunked\r\n\r\n{chunks}{hidden}",
        &[400],
        &[400],
    ),
    (
        "a no-break space",
        "{put}Transfer-Encoding: chunked\u{a0}\r\n\r\n{chunks}{hidden}",
        &[400],
        &[400],
    ),
    ("identity", "{put}Transfer-Encoding: identity\r\n{cl}{born}{hidden}", &[400], &[400]),
    (
        "after a bare LF",
        "{put}X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{chunks}{hidden}",
        &[204],
        &[404],
    ),
    (
        "an underscore in the name",
        "{put}{close}Transfer_Encoding: chunked\r\nContent-Length: 38\r\n\r\n{chunks}{hidden}",
        &[400],
        &[404],
    ),
    (
        "X- before the name",
        "{put}{close}X-Transfer-Encoding: chunked\r\n{cl}{born}{hidden}",
        &[204],
        &[404],
    ),
    (
        "named by Connection",
        "{put}Connection: close, Transfer-Encoding\r\n{te}{chunks}{hidden}",
        &[204],
        &[404],
    ),
    ("of a GET", "{get}{close}{te}{chunks}{hidden}", &[200], &[200]),
    (
        "of a GET, as its only chunk",
        "{get}{close}{te}5f\r\n{hidden}\r\n0\r\n\r\n{hidden}",
        &[200],
        &[200],
    ),
    (
        "leading comma",
        "{put}{close}Transfer-Encoding: ,chunked\r\n\r\n{chunks}{hidden}",
        &[204],
        &[404],
    ),
    (
        "unknown, then chunked",
        "{put}{close}Transfer-Encoding: cow\r\n{te}{chunks}{hidden}",
        &[204],
        &[404],
    ),
];

/// Content-Length. RFC 9112, section 6.3: digits alone, and once or the same again
/// (RFC 9110, section 8.6); section 9.3: what follows a body that is not read is no
/// request, so the connection ends.
const LENGTHS: &[Case] = &[
    ("space before colon", "{put}Content-Length : 28\r\n\r\n{born}{hidden}", &[400], &[400]),
    ("folded", "{put}Content-Length: 28\r\n 0\r\n\r\n{born}{hidden}", &[400], &[400]),
    ("VT", "{put}Content-Length: 28\u{b}\r\n\r\n{born}{hidden}", &[400], &[400]),
    ("underscored digits", "{put}Content-Length: 2_8\r\n\r\n{born}{hidden}", &[400], &[400]),
    ("point", "{put}Content-Length: 28.0\r\n\r\n{born}{hidden}", &[400], &[400]),
    ("octal", "{put}Content-Length: 0o34\r\n\r\n{born}{hidden}", &[400], &[400]),
    ("other digits", "{put}Content-Length: \u{b2}8\r\n\r\n{born}{hidden}", &[400], &[400]),
    ("minus zero", "{get}{close}Content-Length: -0\r\n\r\n{hidden}", &[400], &[400]),
    ("quoted", "{put}Content-Length: \"28\"\r\n\r\n{born}{hidden}", &[400], &[400]),
    (
        "three, one differs",
        "{put}Content-Length: 28\r\nContent-Length: 28\r\nContent-Length: 0\r\n\r\n{born}{hidden}",
        &[400],
        &[400],
    ),
    ("twice the same", "{put}{close}Content-Length: 28\r\n{cl}{born}{hidden}", &[204], &[404]),
    ("leading zeros", "{put}{close}Content-Length: 0028\r\n\r\n{born}{hidden}", &[204], &[404]),
    (
        "many zeros",
        "{put}{close}Content-Length: 000000000000000000000000000000028\r\n\r\n{born}{hidden}",
        &[204],
        &[404],
    ),
    ("no space, tabs", "{put}{close}Content-Length:28\t\r\n\r\n{born}{hidden}", &[204], &[404]),
    (
        "in Connection",
        "{put}Connection: close, Content-Length\r\n{cl}{born}{hidden}",
        &[204],
        &[404],
    ),
    ("underscore", "{put}{close}Content_Length: 9\r\n{cl}{born}{hidden}", &[204], &[404]),
    ("GET body", "{get}{close}Content-Length: 95\r\n\r\n{hidden}", &[200], &[200]),
    (
        "HEAD body",
        "HEAD {target} HTTP/1.1\r\n{host}{close}Content-Length: 95\r\n\r\n{hidden}",
        &[200],
        &[200],
    ),
    (
        "OPTIONS body",
        "OPTIONS {target} HTTP/1.1\r\n{host}{close}Content-Length: 95\r\n\r\n{hidden}",
        &[204],
        &[405],
    ),
    (
        "expect",
        "{get}{close}Expect: 100-continue\r\nContent-Length: 95\r\n\r\n{hidden}",
        &[200],
        &[200],
    ),
    ("expect put", "{put}{close}Expect: 100-continue\r\n{cl}{born}{hidden}", &[100, 204], &[404]),
    ("expect other", "{put}{close}Expect: 200-ok\r\n{cl}{born}{hidden}", &[204], &[404]),
    ("garbage after", "{put}{cl}{born}}}}}\r\n\r\n{hidden}", &[204, 400], &[404]),
    ("no length", "{put}{close}\r\n{born}\r\n\r\n{hidden}", &[400], &[404]),
    ("1.0 no length", "PUT /hello/John HTTP/1.0\r\n\r\n{born}{hidden}", &[400], &[404]),
];

/// Chunks. RFC 9112, section 7.1: CRLF after the size and after the data; section
/// 7.1.2: what a trailer says of the framing is not heeded. The admin listener looks
/// at no body.
const CHUNKS: &[Case] = &[
    ("no end of data", "{put}{te}1c\r\n{born}0\r\n\r\n{hidden}", &[400], &[404]),
    ("CR end of data", "{put}{te}1c\r\n{born}\r0\r\n\r\n{hidden}", &[400], &[404]),
    ("LF end of data", "{put}{te}1c\r\n{born}\n0\r\n\r\n{hidden}", &[400], &[404]),
    ("LF after size", "{put}{te}1c\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    ("LF in extension", "{put}{te}1c;a\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    ("CR in extension", "{put}{te}1c;a\rb\r\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    ("CRs after size", "{put}{te}1c\r\r\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    ("size only ext", "{put}{te};a\r\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    ("last chunk LF", "{put}{te}1c\r\n{born}\r\n0\n\n{hidden}", &[400], &[404]),
    ("last chunk CRLF LF", "{put}{te}1c\r\n{born}\r\n0\r\n\n{hidden}", &[204, 400], &[404]),
    (
        "17 digits",
        "{put}{close}{te}0000000000000001c\r\n{born}\r\n0\r\n\r\n{hidden}",
        &[204],
        &[404],
    ),
    ("space ext", "{put}{close}{te}1c \t;a\r\n{born}\r\n0\r\n\r\n{hidden}", &[204], &[404]),
    ("space in", "{put}{close}{te}1 c\r\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    ("space before", "{put}{close}{te} 1c\r\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    ("quoted CRLF ext", "{put}{close}{te}1c;a=\"\r\n{born}\r\n0\r\n\r\n{hidden}", &[204], &[404]),
    ("NUL ext", "{put}{close}{te}1c;\0\r\n{born}\r\n0\r\n\r\n{hidden}", &[204], &[404]),
    (
        "trailer framing",
        "{put}{close}{te}1c\r\n{born}\r\n0\r\nContent-Length: 95\r\n{te}{hidden}",
        &[204],
        &[404],
    ),
    ("trailer hidden", "{put}{close}{te}1c\r\n{born}\r\n0\r\n{hidden}", &[400], &[404]),
    ("trailer NUL", "{put}{close}{te}1c\r\n{born}\r\n0\r\nX: \0\r\n\r\n{hidden}", &[400], &[404]),
    (
        "trailer space colon",
        "{put}{close}{te}1c\r\n{born}\r\n0\r\nX : y\r\n\r\n{hidden}",
        &[400],
        &[404],
    ),
    (
        "trailer fold",
        "{put}{close}{te}1c\r\n{born}\r\n0\r\nX: y\r\n z\r\n\r\n{hidden}",
        &[400],
        &[404],
    ),
    ("trailer LF", "{put}{close}{te}1c\r\n{born}\r\n0\r\nX: y\n\r\n{hidden}", &[204], &[404]),
];

/// The first line. RFC 9112, section 2.2: empty lines before it are skipped; section
/// 3: single spaces, and else it is refused; section 2.3: two digits of a version.
const LINES: &[Case] = &[
    ("leading CRLF", "\r\n\r\n{get}{close}\r\n", &[200], &[200]),
    ("lower case method", "get {target} HTTP/1.1\r\n{host}{close}\r\n", &[405], &[405]),
    ("tab", "GET\t{target} HTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("tab 2", "GET {target}\tHTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("VT", "GET {target}\u{b}HTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("two spaces before version", "GET {target}  HTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("space after version", "GET {target} HTTP/1.1 \r\n{host}{close}\r\n", &[400], &[400]),
    ("CR CR LF", "GET {target} HTTP/1.1\r\r\n{host}{close}\r\n", &[400], &[400]),
    ("nothing between", "GET{target}HTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("version 1.10", "GET {target} HTTP/1.10\r\n{host}{close}\r\n", &[400], &[400]),
    ("version 01.1", "GET {target} HTTP/01.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("version 1", "GET {target} HTTP/1\r\n{host}{close}\r\n", &[400], &[400]),
    ("version 2.0", "GET {target} HTTP/2.0\r\n{host}{close}\r\n", &[400], &[400]),
    ("version lower", "GET {target} http/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("ICY", "GET {target} ICY/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("method with bracket", "G(T {target} HTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("method with colon", "GET: {target} HTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("no method", "{target} HTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("response", "HTTP/1.1 200 OK\r\n{host}{close}\r\n", &[400], &[400]),
    ("utf-8 BOM", "\u{ef}\u{bb}\u{bf}{get}{close}\r\n", &[400], &[400]),
    ("proxy protocol", "PROXY TCP4 10.0.0.1 10.0.0.2 1234 80\r\n{get}{close}\r\n", &[400], &[400]),
    ("proxy protocol 2", "\r\n\r\n\0\r\nQUIT\n\u{21}\u{11}\0\u{c}", &[400], &[400]),
    ("SMTP", "EHLO localhost\r\n\r\n", &[400], &[400]),
    ("SSH", "SSH-2.0-OpenSSH_9.2\r\n\r\n", &[400], &[400]),
    ("RDP", "\u{3}\0\0\u{13}\u{e}\u{e0}\0\0\0\0\0\u{1}\0\u{8}\0\u{3}\0\0\0", &[400], &[400]),
    ("redis", "*1\r\n$4\r\nPING\r\n\r\n", &[400], &[400]),
    ("http2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0", &[], &[]),
];

/// Targets. RFC 9112, section 3.2.2: a whole URL is taken by every server; RFC 9110,
/// section 9.3.6 and 9.3.8: there is no tunnel and no echo; RFC 3986, section 6.2.2:
/// no path is decoded twice, or made another one.
const TARGETS: &[Case] = &[
    ("absolute", "GET http://localhost{target} HTTP/1.1\r\n{host}{close}\r\n", &[200], &[200]),
    (
        "absolute other host",
        "GET http://example.org{target} HTTP/1.1\r\n{host}{close}\r\n",
        &[200],
        &[200],
    ),
    (
        "absolute https",
        "GET https://localhost{target} HTTP/1.1\r\n{host}{close}\r\n",
        &[200],
        &[200],
    ),
    (
        "absolute user",
        "GET http://me:secret@localhost{target} HTTP/1.1\r\n{host}{close}\r\n",
        &[200],
        &[200],
    ),
    ("absolute no path", "GET http://localhost HTTP/1.1\r\n{host}{close}\r\n", &[200], &[404]),
    ("absolute file", "GET file:///etc/passwd HTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("absolute no host", "GET http:/// HTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    (
        "absolute bad port",
        "GET http://localhost:99999{target} HTTP/1.1\r\n{host}{close}\r\n",
        &[200],
        &[200],
    ),
    ("authority CONNECT", "CONNECT localhost:22 HTTP/1.1\r\n{host}{close}\r\n", &[404], &[404]),
    (
        "CONNECT hidden",
        "CONNECT localhost:22 HTTP/1.1\r\n{host}{close}\r\n{hidden}",
        &[404],
        &[404],
    ),
    ("CONNECT /", "CONNECT {target} HTTP/1.1\r\n{host}{close}\r\n", &[405], &[405]),
    ("authority GET", "GET localhost:80 HTTP/1.1\r\n{host}{close}\r\n", &[404], &[404]),
    ("word", "GET hello/John HTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("asterisk GET", "GET * HTTP/1.1\r\n{host}{close}\r\n", &[404], &[404]),
    ("asterisk OPTIONS", "OPTIONS * HTTP/1.1\r\n{host}{close}\r\n", &[204], &[404]),
    ("TRACE", "TRACE {target} HTTP/1.1\r\n{host}{close}X-Secret: secret\r\n\r\n", &[405], &[405]),
    ("fragment", "GET {target}#x HTTP/1.1\r\n{host}{close}\r\n", &[200], &[200]),
    ("query", "GET {target}?../../x&%00 HTTP/1.1\r\n{host}{close}\r\n", &[200], &[200]),
    ("only query", "GET ?x HTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("dots", "GET /.{target} HTTP/1.1\r\n{host}{close}\r\n", &[404], &[404]),
    ("dots up", "GET /hello/..{target} HTTP/1.1\r\n{host}{close}\r\n", &[404], &[404]),
    ("dots as name", "GET /hello/.. HTTP/1.1\r\n{host}{close}\r\n", &[400], &[404]),
    ("encoded dots", "GET /hello/%2e%2e HTTP/1.1\r\n{host}{close}\r\n", &[400], &[404]),
    ("encoded dots up", "GET /%2e%2e{target} HTTP/1.1\r\n{host}{close}\r\n", &[404], &[404]),
    ("encoded path", "GET /%68ealth HTTP/1.1\r\n{host}{close}\r\n", &[404], &[404]),
    ("encoded livez", "GET /%6civez HTTP/1.1\r\n{host}{close}\r\n", &[404], &[404]),
    ("encoded slash", "GET /hello%2fJohn HTTP/1.1\r\n{host}{close}\r\n", &[404], &[404]),
    ("encoded slash 2", "GET /hello/%2e%2e%2fhealth HTTP/1.1\r\n{host}{close}\r\n", &[400], &[404]),
    ("backslash", "GET /hello\\John HTTP/1.1\r\n{host}{close}\r\n", &[404], &[404]),
    ("encoded twice", "GET /hello/%254a HTTP/1.1\r\n{host}{close}\r\n", &[400], &[404]),
    ("overlong", "GET /hello/%c1%8a HTTP/1.1\r\n{host}{close}\r\n", &[400], &[404]),
    ("overlong dot", "GET /hello/%c0%ae%c0%ae HTTP/1.1\r\n{host}{close}\r\n", &[400], &[404]),
    ("five bytes", "GET /hello/%f8%88%80%80%80 HTTP/1.1\r\n{host}{close}\r\n", &[400], &[404]),
    ("past unicode", "GET /hello/%f4%90%80%80 HTTP/1.1\r\n{host}{close}\r\n", &[400], &[404]),
    ("%u", "GET /hello/%u004a HTTP/1.1\r\n{host}{close}\r\n", &[400], &[404]),
    ("crlf", "GET /hello/a%0d%0aSet-Cookie:%20a HTTP/1.1\r\n{host}{close}\r\n", &[400], &[404]),
    ("raw utf-8", "GET /hello/Jos\u{c3}\u{a9} HTTP/1.1\r\n{host}{close}\r\n", &[404], &[404]),
    ("semicolon", "GET {target};a=b HTTP/1.1\r\n{host}{close}\r\n", &[404], &[404]),
    ("double slash", "GET /{target} HTTP/1.1\r\n{host}{close}\r\n", &[404], &[404]),
    ("brackets", "GET /<script>{}|^`\" HTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("DEL", "GET /\u{7f} HTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
    ("ESC", "GET /\u{1b}[2J HTTP/1.1\r\n{host}{close}\r\n", &[400], &[400]),
];

/// Fields. RFC 9110, section 5.5: no control character in a value; RFC 9112, section
/// 3.2: one Host, which can be one; RFC 9110, section 7.8: an offer to speak another
/// protocol may be left unanswered.
const FIELDS: &[Case] = &[
    ("NUL in name", "{get}{close}X\0: y\r\n\r\n", &[400], &[400]),
    ("DEL in name", "{get}{close}X\u{7f}: y\r\n\r\n", &[400], &[400]),
    ("space in name", "{get}{close}X y: z\r\n\r\n", &[400], &[400]),
    ("bracket in name", "{get}{close}X(y): z\r\n\r\n", &[400], &[400]),
    ("utf-8 in name", "{get}{close}\u{c3}\u{a9}: z\r\n\r\n", &[400], &[400]),
    ("empty name", "{get}{close}: z\r\n\r\n", &[400], &[400]),
    ("SOH in value", "{get}{close}X: \u{1}\r\n\r\n", &[400], &[400]),
    ("ESC in value", "{get}{close}X: \u{1b}[2J\r\n\r\n", &[400], &[400]),
    ("DEL in value", "{get}{close}X: \u{7f}\r\n\r\n", &[400], &[400]),
    ("folded tab", "{get}{close}X: y\r\n\tz\r\n\r\n", &[400], &[400]),
    ("CR CR LF", "{get}{close}X: y\r\r\n\r\n", &[400], &[400]),
    ("space line first", "GET {target} HTTP/1.1\r\n \r\n{host}{close}\r\n", &[400], &[400]),
    ("obs-text in value", "{get}{close}X: \u{ff}\r\n\r\n", &[200], &[200]),
    ("empty value", "{get}{close}X:\r\n\r\n", &[200], &[200]),
    ("tab in value", "{get}{close}X: a\tb\r\n\r\n", &[200], &[200]),
    (
        "upgrade h2c",
        "{get}Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n{hidden}",
        &[200],
        &[200],
    ),
    (
        "upgrade h2c then preface",
        "{get}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[200],
        &[200],
    ),
    (
        "upgrade websocket",
        "{get}Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{hidden}",
        &[200],
        &[200],
    ),
    (
        "method override",
        "GET /hello/Hidden HTTP/1.1\r\n{host}{close}X-HTTP-Method-Override: PUT\r\n{cl}{born}",
        &[404],
        &[404],
    ),
    (
        "original URL",
        "{get}{close}X-Original-URL: /nowhere\r\nX-Rewrite-URL: /nowhere\r\n\r\n",
        &[200],
        &[200],
    ),
    (
        "1.0 keep-alive",
        "GET {target} HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET {target} HTTP/1.0\r\n\r\n{hidden}",
        &[200, 200],
        &[200, 200],
    ),
    ("Connection twice", "{get}Connection: keep-alive\r\n{close}\r\n{hidden}", &[200], &[200]),
    ("Host empty", "GET {target} HTTP/1.1\r\nHost:\r\n{close}\r\n", &[200], &[200]),
    ("Host ipv6", "GET {target} HTTP/1.1\r\nHost: [::1]:8080\r\n{close}\r\n", &[200], &[200]),
    ("Host two words", "GET {target} HTTP/1.1\r\nHost: a b\r\n{close}\r\n", &[400], &[400]),
    ("Host path", "GET {target} HTTP/1.1\r\nHost: a/b\r\n{close}\r\n", &[400], &[400]),
    ("Host user", "GET {target} HTTP/1.1\r\nHost: a@b\r\n{close}\r\n", &[400], &[400]),
    ("Host list", "GET {target} HTTP/1.1\r\nHost: a, b\r\n{close}\r\n", &[400], &[400]),
    ("Host bad port", "GET {target} HTTP/1.1\r\nHost: a:b\r\n{close}\r\n", &[400], &[400]),
    ("Host none", "GET {target} HTTP/1.1\r\n{close}\r\n", &[400], &[400]),
    ("Host two", "{get}{host}{close}\r\n", &[400], &[400]),
];

#[test]
fn each_request_of_the_corpus_gets_its_answers_and_smuggles_nothing() {
    let service = Service::start(&[]);
    let groups = [
        ("Transfer-Encoding", CODINGS),
        ("Content-Length", LENGTHS),
        ("chunks", CHUNKS),
        ("first line", LINES),
        ("target", TARGETS),
        ("field", FIELDS),
    ];
    for (group, cases) in groups {
        for (name, sent, public, admin) in cases {
            let listeners = [(service.address, "/", public), (service.admin, "/livez", admin)];
            for (listener, target, expected) in listeners {
                let sent = bytes(sent, target);
                for piece in [sent.len(), 1] {
                    let mut statuses = replay(listener, &sent, piece);
                    // hyper closes without a word when all of HTTP/2's preface is there
                    // at once, and says that it is no request when a part of it is.
                    if name.ends_with("preface") && statuses.last() == Some(&400) {
                        statuses.pop();
                    }
                    assert_eq!(statuses, **expected, "{group}: {name}, at {target} by {piece}");
                }
            }
            service.get("/hello/Hidden").expect_status(404);
        }
    }
    println!(
        "{} requests, each in 4 ways",
        groups.map(|(_, cases)| cases.len()).iter().sum::<usize>()
    );
    expect_unharmed(&service);
}

#[test]
fn the_admin_listener_has_the_same_limits() {
    let service = Service::start(&[]);
    let long = "a".repeat(HEAD_BYTES_MAX);
    for sent in [
        format!("GET /{long} HTTP/1.1\r\n{{host}}\r\n"),
        format!("{long} / HTTP/1.1\r\n{{host}}\r\n"),
        format!("{{get}}X: {long}\r\n\r\n"),
        format!("{{get}}{}\r\n", "X: y\r\n".repeat(100)),
    ] {
        let sent = bytes(&sent, "/livez");
        assert_eq!(replay(service.admin, &sent, sent.len()), [431], "{}", &sent.escape_ascii());
    }
    expect_unharmed(&service);
}

/// Random bytes: pieces of the corpus, cut and joined at random.
#[test]
fn random_pieces_of_the_corpus_do_no_harm() {
    const REQUESTS: u64 = 2000;
    let service = Service::start(&[]);
    let all = [CODINGS, LENGTHS, CHUNKS, LINES, TARGETS, FIELDS].concat();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |limit: usize| {
        // xorshift64: the same requests in every run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % limit as u64).unwrap()
    };
    for number in 0..REQUESTS {
        let mut sent = Vec::new();
        for _ in 0..1 + below(3) {
            let (_, case, ..) = all[below(all.len())];
            let case = bytes(case, "/");
            let from = if below(2) == 0 { 0 } else { below(case.len()) };
            sent.extend(&case[from..from + below(case.len() - from + 1)]);
        }
        if !sent.is_empty() && below(2) == 0 {
            let at = below(sent.len());
            sent[at] = below(256).try_into().unwrap();
        }
        let listener = if number % 4 == 0 { service.admin } else { service.address };
        let mut stream = connect(listener);
        // It may have been refused before all was sent.
        let _ = stream.write_all(&sent);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        for status in statuses(&mut stream) {
            assert!(status < 500, "{status} for {}", sent.escape_ascii());
        }
    }
    expect_unharmed(&service);
}

/// Sends `sent` in pieces, and returns the statuses of all answers. The listener must close
/// the connection by itself.
fn replay(listener: SocketAddr, sent: &[u8], piece: usize) -> Vec<u16> {
    let mut stream = connect(listener);
    for piece in sent.chunks(piece) {
        // It may have been refused already.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    statuses(&mut stream)
}

/// The statuses of all answers until the server closes, which it must.
fn statuses(stream: &mut TcpStream) -> Vec<u16> {
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).expect("the server closes the connection");
    let answers = String::from_utf8(answers).unwrap();
    // Bodies hold no such thing, and HEAD has none.
    answers.split("HTTP/1.").skip(1).map(|answer| answer[2..5].parse().unwrap()).collect()
}

/// Expects that both listeners still serve, that nothing panicked, and that no connection
/// is left open.
fn expect_unharmed(service: &Service) {
    service.get("/").expect_status(200);
    wait_until("all connections are closed", || {
        let metrics = service.ask_admin("/metrics").expect_status(200).body;
        assert!(!metrics.contains(r#"status="5"#), "{metrics}");
        for listener in ["public", "admin"] {
            let panics = format!("hello_birthday_http_panics_total{{listener=\"{listener}\"}}");
            assert_eq!(value(&metrics, &panics), 0.0);
        }
        let open = |listener: &str| {
            value(&metrics, &format!("hello_birthday_http_connections{{listener=\"{listener}\"}}"))
        };
        // The connection that asks is open.
        (open("public") == 0.0 && open("admin") == 1.0).then_some(())
    });
}

/// The bytes of `sent`, whose characters up to U+00FF stand for one byte each.
fn bytes(sent: &str, target: &str) -> Vec<u8> {
    let parts = PARTS.into_iter().chain([("{target}", target)]);
    let sent = parts.fold(sent.to_owned(), |sent, (part, text)| sent.replace(part, text));
    sent.chars().map(|character| u8::try_from(character).unwrap()).collect()
}
