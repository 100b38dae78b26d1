//! A corpus of requests that attackers and broken programs send: each of them is
//! replayed to both listeners, whole and byte by byte, and is answered as said
//! here or not at all. None smuggles a request past the one that is answered,
//! meets a bug, or keeps its connection.

use std::io::Write;

use crate::harness::{Service, connect};

/// A request, and the statuses of all answers until the listener closes.
struct Case {
    name: &'static str,
    sent: &'static str,
    public: &'static [u16],
    admin: &'static [u16],
}

/// What the parts in braces stand for; `{target}` is what a listener answers with 200.
const PARTS: [(&str, &str); 5] = [
    ("{host}", "Host: localhost\r\n"),
    ("{last}", "Host: localhost\r\nConnection: close\r\n"),
    ("{born}", r#"{"dateOfBirth":"1990-05-20"}"#),
    ("{chunks}", "1c\r\n{\"dateOfBirth\":\"1990-05-20\"}\r\n0\r\n\r\n"),
    (
        "{hidden}",
        "PUT /hello/Hidden HTTP/1.1\r\nHost: localhost\r\nContent-Length: 28\r\n\r\n\
         {\"dateOfBirth\":\"1990-05-20\"}",
    ),
];

/// Refused by either listener before it looks where the request wants to go.
const fn refused(name: &'static str, sent: &'static str) -> Case {
    Case { name, sent, public: &[400], admin: &[400] }
}

const fn answered(
    name: &'static str,
    sent: &'static str,
    public: &'static [u16],
    admin: &'static [u16],
) -> Case {
    Case { name, sent, public, admin }
}

/// RFC 9112, section 6.1: a coding that is not understood, or `chunked` that is
/// not the last, is refused; and section 6.3: so is what leaves the length open.
const CODINGS: &[Case] = &[
    refused("form feed", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding:\u{c}chunked\r\n\r\n{chunks}{hidden}"),
    refused("NUL after it", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\0\r\n\r\n{chunks}{hidden}"),
    refused("parameter", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked;a=b\r\n\r\n{chunks}{hidden}"),
    refused("comma", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked,\r\n\r\n{chunks}{hidden}"),
    refused("tab before colon", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding\t: chunked\r\n\r\n{chunks}{hidden}"),
    refused("folded", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding:\r\n chunked\r\n\r\n{chunks}{hidden}"),
    refused("folded identity", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n , identity\r\n\r\n{chunks}{hidden}"),
    refused("space before", "PUT /hello/John HTTP/1.1\r\n Transfer-Encoding: chunked\r\n{host}\r\n{chunks}{hidden}"),
    refused("bare CR", "PUT /hello/John HTTP/1.1\r\n{host}X: y\rTransfer-Encoding: chunked\r\nContent-Length: 28\r\n\r\n{born}{hidden}"),
    refused("NUL in name", "PUT /hello/John HTTP/1.1\r\n{host}Transfer\0-Encoding: chunked\r\n\r\n{chunks}{hidden}"),
    refused("no-break space", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\u{a0}\r\n\r\n{chunks}{hidden}"),
    refused("identity", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: identity\r\nContent-Length: 28\r\n\r\n{born}{hidden}"),
    answered("leading comma", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: ,chunked\r\n\r\n{chunks}{hidden}", &[204], &[404]),
    answered("bare LF", "PUT /hello/John HTTP/1.1\r\n{host}X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{chunks}{hidden}", &[204], &[404]),
    answered("unknown, then chunked", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{hidden}", &[204], &[404]),
    answered("underscore", "PUT /hello/John HTTP/1.1\r\n{last}Transfer_Encoding: chunked\r\nContent-Length: 38\r\n\r\n{chunks}{hidden}", &[400], &[404]),
    answered("X-", "PUT /hello/John HTTP/1.1\r\n{last}X-Transfer-Encoding: chunked\r\nContent-Length: 28\r\n\r\n{born}{hidden}", &[204], &[404]),
    answered("in Connection", "PUT /hello/John HTTP/1.1\r\n{host}Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{hidden}", &[204], &[404]),
    answered("of a GET", "GET {target} HTTP/1.1\r\n{last}Transfer-Encoding: chunked\r\n\r\n{chunks}{hidden}", &[200], &[200]),
    answered("of a GET 2", "GET {target} HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n9a\r\n{hidden}", &[200], &[200]),
];

const LENGTHS: &[Case] = &[
    refused("space before colon", "PUT /hello/John HTTP/1.1\r\n{host}Content-Length : 28\r\n\r\n{born}{hidden}"),
    refused("folded", "PUT /hello/John HTTP/1.1\r\n{host}Content-Length: 28\r\n 0\r\n\r\n{born}{hidden}"),
    refused("VT", "PUT /hello/John HTTP/1.1\r\n{host}Content-Length: 28\u{b}\r\n\r\n{born}{hidden}"),
    refused("underscored digits", "PUT /hello/John HTTP/1.1\r\n{host}Content-Length: 2_8\r\n\r\n{born}{hidden}"),
    refused("point", "PUT /hello/John HTTP/1.1\r\n{host}Content-Length: 28.0\r\n\r\n{born}{hidden}"),
    refused("octal", "PUT /hello/John HTTP/1.1\r\n{host}Content-Length: 0o34\r\n\r\n{born}{hidden}"),
    refused("other digits", "PUT /hello/John HTTP/1.1\r\n{host}Content-Length: \u{b2}8\r\n\r\n{born}{hidden}"),
    refused("minus zero", "GET {target} HTTP/1.1\r\n{last}Content-Length: -0\r\n\r\n{hidden}"),
    refused("quoted", "PUT /hello/John HTTP/1.1\r\n{host}Content-Length: \"28\"\r\n\r\n{born}{hidden}"),
    refused("three, one differs", "PUT /hello/John HTTP/1.1\r\n{host}Content-Length: 28\r\nContent-Length: 28\r\nContent-Length: 0\r\n\r\n{born}{hidden}"),
    answered("twice the same", "PUT /hello/John HTTP/1.1\r\n{last}Content-Length: 28\r\nContent-Length: 28\r\n\r\n{born}{hidden}", &[204], &[404]),
    answered("leading zeros", "PUT /hello/John HTTP/1.1\r\n{last}Content-Length: 0028\r\n\r\n{born}{hidden}", &[204], &[404]),
    answered("many zeros", "PUT /hello/John HTTP/1.1\r\n{last}Content-Length: 000000000000000000000000000000028\r\n\r\n{born}{hidden}", &[204], &[404]),
    answered("no space, tabs", "PUT /hello/John HTTP/1.1\r\n{last}Content-Length:28\t\r\n\r\n{born}{hidden}", &[204], &[404]),
    answered("in Connection", "PUT /hello/John HTTP/1.1\r\n{host}Connection: close, Content-Length\r\nContent-Length: 28\r\n\r\n{born}{hidden}", &[204], &[404]),
    answered("underscore", "PUT /hello/John HTTP/1.1\r\n{last}Content_Length: 9\r\nContent-Length: 28\r\n\r\n{born}{hidden}", &[204], &[404]),
    answered("GET body", "GET {target} HTTP/1.1\r\n{host}Content-Length: 97\r\n\r\n{hidden}", &[200], &[200]),
    answered("HEAD body", "HEAD {target} HTTP/1.1\r\n{host}Content-Length: 97\r\n\r\n{hidden}", &[200], &[200]),
    answered("OPTIONS body", "OPTIONS {target} HTTP/1.1\r\n{host}Content-Length: 97\r\n\r\n{hidden}", &[204], &[405]),
    answered("expect", "GET {target} HTTP/1.1\r\n{host}Expect: 100-continue\r\nContent-Length: 97\r\n\r\n{hidden}", &[200], &[200]),
    answered("expect put", "PUT /hello/John HTTP/1.1\r\n{host}Connection: close\r\nExpect: 100-continue\r\nContent-Length: 28\r\n\r\n{born}{hidden}", &[204], &[404]),
    answered("expect other", "PUT /hello/John HTTP/1.1\r\n{host}Connection: close\r\nExpect: 200-ok\r\nContent-Length: 28\r\n\r\n{born}{hidden}", &[204], &[404]),
    answered("garbage after", "PUT /hello/John HTTP/1.1\r\n{host}Content-Length: 28\r\n\r\n{born}}}}}\r\n\r\n{hidden}", &[204, 400], &[404]),
    answered("no length", "PUT /hello/John HTTP/1.1\r\n{last}\r\n{born}\r\n\r\n{hidden}", &[400], &[404]),
    answered("1.0 no length", "PUT /hello/John HTTP/1.0\r\n\r\n{born}{hidden}", &[400], &[404]),
];

const CHUNKS: &[Case] = &[
    answered("no end of data", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1c\r\n{born}0\r\n\r\n{hidden}", &[400], &[404]),
    answered("CR end of data", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1c\r\n{born}\r0\r\n\r\n{hidden}", &[400], &[404]),
    answered("LF end of data", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1c\r\n{born}\n0\r\n\r\n{hidden}", &[400], &[404]),
    answered("LF after size", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1c\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    answered("LF in extension", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1c;a\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    answered("CR in extension", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1c;a\rb\r\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    answered("CRs after size", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1c\r\r\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    answered("size only ext", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n;a\r\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    answered("last chunk LF", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1c\r\n{born}\r\n0\n\n{hidden}", &[400], &[404]),
    answered("last chunk CRLF LF", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1c\r\n{born}\r\n0\r\n\n{hidden}", &[400], &[404]),
    answered("17 digits", "PUT /hello/John HTTP/1.1\r\n{last}Transfer-Encoding: chunked\r\n\r\n0000000000000001c\r\n{born}\r\n0\r\n\r\n{hidden}", &[204], &[404]),
    answered("ffffffffffffffff", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{born}\r\n0\r\n\r\n{hidden}", &[413], &[404]),
    answered("two overflow", "PUT /hello/John HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1c\r\n{born}\r\nffffffffffffffff\r\n{born}\r\n0\r\n\r\n{hidden}", &[413], &[404]),
    answered("space ext", "PUT /hello/John HTTP/1.1\r\n{last}Transfer-Encoding: chunked\r\n\r\n1c \t;a\r\n{born}\r\n0\r\n\r\n{hidden}", &[204], &[404]),
    answered("space in", "PUT /hello/John HTTP/1.1\r\n{last}Transfer-Encoding: chunked\r\n\r\n1 c\r\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    answered("space before", "PUT /hello/John HTTP/1.1\r\n{last}Transfer-Encoding: chunked\r\n\r\n 1c\r\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    answered("quoted CRLF ext", "PUT /hello/John HTTP/1.1\r\n{last}Transfer-Encoding: chunked\r\n\r\n1c;a=\"\r\n{born}\r\n0\r\n\r\n{hidden}", &[204], &[404]),
    answered("NUL ext", "PUT /hello/John HTTP/1.1\r\n{last}Transfer-Encoding: chunked\r\n\r\n1c;\0\r\n{born}\r\n0\r\n\r\n{hidden}", &[400], &[404]),
    answered("trailer framing", "PUT /hello/John HTTP/1.1\r\n{last}Transfer-Encoding: chunked\r\n\r\n1c\r\n{born}\r\n0\r\nContent-Length: 97\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}", &[204], &[404]),
    answered("trailer hidden", "PUT /hello/John HTTP/1.1\r\n{last}Transfer-Encoding: chunked\r\n\r\n1c\r\n{born}\r\n0\r\n{hidden}", &[400], &[404]),
    answered("trailer NUL", "PUT /hello/John HTTP/1.1\r\n{last}Transfer-Encoding: chunked\r\n\r\n1c\r\n{born}\r\n0\r\nX: \0\r\n\r\n{hidden}", &[400], &[404]),
    answered("trailer space colon", "PUT /hello/John HTTP/1.1\r\n{last}Transfer-Encoding: chunked\r\n\r\n1c\r\n{born}\r\n0\r\nX : y\r\n\r\n{hidden}", &[400], &[404]),
    answered("trailer fold", "PUT /hello/John HTTP/1.1\r\n{last}Transfer-Encoding: chunked\r\n\r\n1c\r\n{born}\r\n0\r\nX: y\r\n z\r\n\r\n{hidden}", &[400], &[404]),
    answered("trailer LF", "PUT /hello/John HTTP/1.1\r\n{last}Transfer-Encoding: chunked\r\n\r\n1c\r\n{born}\r\n0\r\nX: y\n\r\n{hidden}", &[400], &[404]),
];

const LINES: &[Case] = &[
    answered("leading CRLF", "\r\n\r\nGET {target} HTTP/1.1\r\n{last}\r\n", &[200], &[200]),
    answered("lower case method", "get {target} HTTP/1.1\r\n{last}\r\n", &[405], &[405]),
    refused("tab", "GET\t{target} HTTP/1.1\r\n{last}\r\n"),
    refused("tab 2", "GET {target}\tHTTP/1.1\r\n{last}\r\n"),
    refused("VT", "GET {target}\u{b}HTTP/1.1\r\n{last}\r\n"),
    refused("two spaces before version", "GET {target}  HTTP/1.1\r\n{last}\r\n"),
    refused("space after version", "GET {target} HTTP/1.1 \r\n{last}\r\n"),
    refused("CR CR LF", "GET {target} HTTP/1.1\r\r\n{last}\r\n"),
    refused("nothing between", "GET{target}HTTP/1.1\r\n{last}\r\n"),
    refused("version 1.10", "GET {target} HTTP/1.10\r\n{last}\r\n"),
    refused("version 01.1", "GET {target} HTTP/01.1\r\n{last}\r\n"),
    refused("version 1", "GET {target} HTTP/1\r\n{last}\r\n"),
    refused("version 2.0", "GET {target} HTTP/2.0\r\n{last}\r\n"),
    refused("version lower", "GET {target} http/1.1\r\n{last}\r\n"),
    refused("ICY", "GET {target} ICY/1.1\r\n{last}\r\n"),
    refused("method with bracket", "G(T {target} HTTP/1.1\r\n{last}\r\n"),
    refused("method with colon", "GET: {target} HTTP/1.1\r\n{last}\r\n"),
    refused("no method", "{target} HTTP/1.1\r\n{last}\r\n"),
    refused("response", "HTTP/1.1 200 OK\r\n{last}\r\n"),
    refused("utf-8 BOM", "\u{ef}\u{bb}\u{bf}GET {target} HTTP/1.1\r\n{last}\r\n"),
    refused("proxy protocol", "PROXY TCP4 10.0.0.1 10.0.0.2 1234 80\r\nGET {target} HTTP/1.1\r\n{last}\r\n"),
    refused("proxy protocol 2", "\r\n\r\n\0\r\nQUIT\n\u{21}\u{11}\0\u{c}"),
    refused("SMTP", "EHLO localhost\r\n"),
    refused("SSH", "SSH-2.0-OpenSSH_9.2\r\n"),
    refused("RDP", "\u{3}\0\0\u{13}\u{e}\u{e0}\0\0\0\0\0\u{1}\0\u{8}\0\u{3}\0\0\0"),
    refused("redis", "*1\r\n$4\r\nPING\r\n"),
    refused("http2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0"),
];

const TARGETS: &[Case] = &[
    answered("absolute", "GET http://localhost{target} HTTP/1.1\r\n{last}\r\n", &[200], &[200]),
    answered("absolute other host", "GET http://example.org{target} HTTP/1.1\r\n{last}\r\n", &[200], &[200]),
    answered("absolute https", "GET https://localhost{target} HTTP/1.1\r\n{last}\r\n", &[200], &[200]),
    answered("absolute user", "GET http://me:secret@localhost{target} HTTP/1.1\r\n{last}\r\n", &[200], &[200]),
    answered("absolute no path", "GET http://localhost HTTP/1.1\r\n{last}\r\n", &[200], &[404]),
    answered("absolute file", "GET file:///etc/passwd HTTP/1.1\r\n{last}\r\n", &[400], &[400]),
    answered("absolute no host", "GET http:/// HTTP/1.1\r\n{last}\r\n", &[400], &[400]),
    answered("absolute bad port", "GET http://localhost:99999{target} HTTP/1.1\r\n{last}\r\n", &[400], &[400]),
    answered("authority CONNECT", "CONNECT localhost:22 HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("CONNECT hidden", "CONNECT localhost:22 HTTP/1.1\r\n{last}\r\n{hidden}", &[404], &[404]),
    answered("CONNECT /", "CONNECT {target} HTTP/1.1\r\n{last}\r\n", &[405], &[405]),
    answered("authority GET", "GET localhost:80 HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("word", "GET hello/John HTTP/1.1\r\n{last}\r\n", &[400], &[400]),
    answered("asterisk GET", "GET * HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("asterisk OPTIONS", "OPTIONS * HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("TRACE", "TRACE {target} HTTP/1.1\r\n{last}X-Secret: secret\r\n\r\n", &[405], &[405]),
    answered("fragment", "GET {target}#x HTTP/1.1\r\n{last}\r\n", &[400], &[400]),
    answered("query", "GET {target}?../../x&%00 HTTP/1.1\r\n{last}\r\n", &[200], &[200]),
    answered("only query", "GET ?x HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("dots", "GET /.{target} HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("dots up", "GET /hello/..{target} HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("dots as name", "GET /hello/.. HTTP/1.1\r\n{last}\r\n", &[400], &[404]),
    answered("encoded dots", "GET /hello/%2e%2e HTTP/1.1\r\n{last}\r\n", &[400], &[404]),
    answered("encoded dots up", "GET /%2e%2e{target} HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("encoded path", "GET /%68ealth HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("encoded livez", "GET /%6civez HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("encoded slash", "GET /hello%2fJohn HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("encoded slash 2", "GET /hello/%2e%2e%2fhealth HTTP/1.1\r\n{last}\r\n", &[400], &[404]),
    answered("backslash", "GET /hello\\John HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("encoded twice", "GET /hello/%254a HTTP/1.1\r\n{last}\r\n", &[400], &[404]),
    answered("overlong", "GET /hello/%c1%8a HTTP/1.1\r\n{last}\r\n", &[400], &[404]),
    answered("overlong dot", "GET /hello/%c0%ae%c0%ae HTTP/1.1\r\n{last}\r\n", &[400], &[404]),
    answered("five bytes", "GET /hello/%f8%88%80%80%80 HTTP/1.1\r\n{last}\r\n", &[400], &[404]),
    answered("past unicode", "GET /hello/%f4%90%80%80 HTTP/1.1\r\n{last}\r\n", &[400], &[404]),
    answered("%u", "GET /hello/%u004a HTTP/1.1\r\n{last}\r\n", &[400], &[404]),
    answered("crlf", "GET /hello/a%0d%0aSet-Cookie:%20a HTTP/1.1\r\n{last}\r\n", &[400], &[404]),
    answered("raw utf-8", "GET /hello/Jos\u{c3}\u{a9} HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("semicolon", "GET {target};a=b HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("double slash", "GET /{target} HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    answered("brackets", "GET /<script>{}|^`\" HTTP/1.1\r\n{last}\r\n", &[404], &[404]),
    refused("DEL", "GET /\u{7f} HTTP/1.1\r\n{last}\r\n"),
    refused("ESC", "GET /\u{1b}[2J HTTP/1.1\r\n{last}\r\n"),
];

const FIELDS: &[Case] = &[
    refused("NUL in name", "GET {target} HTTP/1.1\r\n{last}X\0: y\r\n\r\n"),
    refused("DEL in name", "GET {target} HTTP/1.1\r\n{last}X\u{7f}: y\r\n\r\n"),
    refused("space in name", "GET {target} HTTP/1.1\r\n{last}X y: z\r\n\r\n"),
    refused("bracket in name", "GET {target} HTTP/1.1\r\n{last}X(y): z\r\n\r\n"),
    refused("utf-8 in name", "GET {target} HTTP/1.1\r\n{last}\u{c3}\u{a9}: z\r\n\r\n"),
    refused("empty name", "GET {target} HTTP/1.1\r\n{last}: z\r\n\r\n"),
    refused("SOH in value", "GET {target} HTTP/1.1\r\n{last}X: \u{1}\r\n\r\n"),
    refused("ESC in value", "GET {target} HTTP/1.1\r\n{last}X: \u{1b}[2J\r\n\r\n"),
    refused("DEL in value", "GET {target} HTTP/1.1\r\n{last}X: \u{7f}\r\n\r\n"),
    refused("folded tab", "GET {target} HTTP/1.1\r\n{last}X: y\r\n\tz\r\n\r\n"),
    refused("CR CR LF", "GET {target} HTTP/1.1\r\n{last}X: y\r\r\n\r\n"),
    refused("space line first", "GET {target} HTTP/1.1\r\n \r\n{last}\r\n"),
    answered("obs-text in value", "GET {target} HTTP/1.1\r\n{last}X: \u{ff}\r\n\r\n", &[200], &[200]),
    answered("empty value", "GET {target} HTTP/1.1\r\n{last}X:\r\n\r\n", &[200], &[200]),
    answered("tab in value", "GET {target} HTTP/1.1\r\n{last}X: a\tb\r\n\r\n", &[200], &[200]),
    answered("upgrade h2c", "GET {target} HTTP/1.1\r\n{host}Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n{hidden}", &[200], &[200]),
    answered("upgrade h2c then preface", "GET {target} HTTP/1.1\r\n{host}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[200], &[200]),
    answered("upgrade websocket", "GET {target} HTTP/1.1\r\n{host}Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{hidden}", &[200], &[200]),
    answered("method override", "GET /hello/Hidden HTTP/1.1\r\n{last}X-HTTP-Method-Override: PUT\r\nContent-Length: 28\r\n\r\n{born}", &[404], &[404]),
    answered("original URL", "GET {target} HTTP/1.1\r\n{last}X-Original-URL: /nowhere\r\nX-Rewrite-URL: /nowhere\r\n\r\n", &[200], &[200]),
    answered("1.0 keep-alive", "GET {target} HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET {target} HTTP/1.0\r\n\r\n{hidden}", &[200, 200], &[200, 200]),
    answered("Connection twice", "GET {target} HTTP/1.1\r\n{host}Connection: keep-alive\r\nConnection: close\r\n\r\n{hidden}", &[200], &[200]),
    answered("Host empty", "GET {target} HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", &[200], &[200]),
    answered("Host ipv6", "GET {target} HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: close\r\n\r\n", &[200], &[200]),
    answered("Host two words", "GET {target} HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n", &[400], &[400]),
    answered("Host path", "GET {target} HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n", &[400], &[400]),
    answered("Host user", "GET {target} HTTP/1.1\r\nHost: a@b\r\nConnection: close\r\n\r\n", &[400], &[400]),
    answered("Host list", "GET {target} HTTP/1.1\r\nHost: a, b\r\nConnection: close\r\n\r\n", &[400], &[400]),
    answered("Host bad port", "GET {target} HTTP/1.1\r\nHost: a:b\r\nConnection: close\r\n\r\n", &[400], &[400]),
    answered("Host none", "GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n", &[400], &[400]),
    answered("Host two", "GET {target} HTTP/1.1\r\n{host}{host}Connection: close\r\n\r\n", &[400], &[400]),
];

const ALL: &[(&str, &[Case])] = &[("coding", CODINGS), ("length", LENGTHS), ("chunk", CHUNKS), ("line", LINES), ("target", TARGETS), ("field", FIELDS)];

#[test]
fn probe() {
    let service = Service::start(&[]);
    for (group, cases) in ALL {
        for case in *cases {
            for (listener, address, target, expected) in [
                ("public", service.address, "/", case.public),
                ("admin", service.admin, "/livez", case.admin),
            ] {
                for piece in [usize::MAX, 1] {
                    let sent = bytes(case.sent, target);
                    let mut stream = connect(address);
                    stream.set_read_timeout(Some(std::time::Duration::from_secs(3))).unwrap();
                    for piece in sent.chunks(piece.min(sent.len())) {
                        if stream.write_all(piece).is_err() { break; }
                    }
                    let mut got = Vec::new();
                    let error = std::io::Read::read_to_end(&mut stream, &mut got).err();
                    let text = String::from_utf8_lossy(&got);
                    let statuses: Vec<u16> = text.split("HTTP/1.1 ").chain([]).skip(1).map(|s| s[..3].parse().unwrap()).collect();
                    if statuses != expected || error.is_some() {
                        println!("{group} / {} on {listener} by {}: {statuses:?} {error:?}, expected {expected:?}", case.name, piece as i32);
                    }
                }
            }
            if service.get("/hello/Hidden").status != 404 { println!("SMUGGLED {group} {}", case.name); }
        }
    }
}

/// The bytes of `sent`, in which each character below U+0100 is one of them.
fn bytes(sent: &str, target: &str) -> Vec<u8> {
    let parts = PARTS.iter().copied().chain([("{target}", target)]);
    let sent = parts.fold(sent.to_owned(), |sent, (part, text)| sent.replace(part, text));
    sent.chars().map(|character| u8::try_from(character).unwrap()).collect()
}
