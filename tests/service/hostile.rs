//! A corpus of requests that attackers and broken programs send. Each is replayed to
//! both listeners, whole and byte by byte, and gets the answers that stand beside
//! it. None smuggles a request past another, meets a bug, or keeps its connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::harness::{Service, connect, value, wait_until};

/// A line begins with the statuses of all answers until the connection ends, of the public
/// listener and of the admin's. Then comes the request, in which `{}` stands for each of
/// those that the indented lines below it list.
const CORPUS: &str = r##"
# Transfer-Encoding, some in disguise. RFC 9112, section 6.1: what does not end with
# `chunked` has no known length, and is refused; section 5.1 and 5.2: so are a space before
# the colon, and a value that goes on in the next line.
400 400 {put}Transfer-Encoding{}\r\n\r\n{chunks}{hidden}
    :\x0cchunked | : \x0bchunked | : chunked\0 | : chunked\xa0 | : chunked;a=b | : chunked,
    :\r\n chunked | \t: chunked | \x20: chunked | \0: chunked | : | : gzip | : xchunked
    : "chunked" | : chunked, gzip | : chunked\r\nTransfer-Encoding: identity
    : chunked\r\n , identity | : identity\r\nContent-Length: 28
    : xchunked\r\nContent-Length: 38
400 400 {put}Content-Length: 38\r\nContent-Length: 5\r\n{coding}{chunks}{hidden}
204 404 {put}{close}{}\r\n\r\n{chunks}{hidden}
    Transfer-Encoding: chunked | tRANSFER-eNCODING:\tCHUNKED | Transfer-Encoding: ,chunked
    Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked
# A coding that is not understood.
501 404 {put}{close}{}\r\n\r\n{chunks}{hidden}
    Transfer-Encoding: gzip, chunked | Transfer-Encoding: chunked, chunked
    Transfer-Encoding: cow\r\nTransfer-Encoding: chunked
# Which of the two lengths counts is not in doubt, and still the connection ends.
204 404 {put}{}\r\n\r\n{chunks}{hidden}
    Transfer-Encoding: chunked\r\nContent-Length: 38
    Transfer-Encoding: chunked\r\nContent-Length: -1
    Content-Length: 5\r\nTransfer-Encoding: chunked
    Content-Length: 500\r\nTransfer-Encoding: chunked
    X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5
400 400 {put}X: y\rTransfer-Encoding: chunked\r\n{length}{born}{hidden}
204 404 {put}{close}X-Transfer-Encoding: chunked\r\n{length}{born}{hidden}
400 404 {put}{close}Transfer_Encoding: chunked\r\nContent-Length: 38\r\n\r\n{chunks}{hidden}
200 200 {get}{close}{coding}{}{hidden}
    {chunks} | 5f\r\n{hidden}\r\n0\r\n\r\n
400 400 PUT /hello/John HTTP/1.1\r\n Transfer-Encoding: chunked\r\n{host}\r\n{chunks}{hidden}
400 400 PUT /hello/John HTTP/1.0\r\nConnection: keep-alive\r\n{coding}{chunks}{hidden}

# Content-Length. RFC 9112, section 6.3: digits alone, and once or the same again (RFC 9110,
# section 8.6); section 9.3: what follows a body that is not read is no request, so the
# connection ends.
400 400 {put}Content-Length{}\r\n\r\n{born}{hidden}
    \x20: 28 | : | : 28\r\n 0 | : 28\x0b | : \xb28 | : -1 | : +28 | : 2_8 | : 28.0 | : 28;
    : 28, 28 | : 28, 5 | : 0o34 | : 0x1c | : 1e1 | : "28" | : twenty-eight
    : 18446744073709551616 | : 28\r\nContent-Length: 5 | : 5\r\nContent-Length: 28
    : 28\r\nContent-Length: 28\r\nContent-Length: 0
204 404 {put}{close}{}\r\n\r\n{born}{hidden}
    Content-Length: 28\r\nContent-Length: 28 | Content-Length:28\t
    Content-Length: 000000000000000000000000000000028
    Connection: Content-Length\r\nContent-Length: 28
    Content_Length: 9\r\nContent-Length: 28 | Expect: 200-ok\r\nContent-Length: 28
413 404 {put}Content-Length: {}\r\n\r\n{born}
    8193 | 9223372036854775807
100,204 404 {put}{close}Expect: 100-continue\r\n{length}{born}{hidden}
204,400 404 {put}{length}{born}}}\r\n\r\n{hidden}
400 404 {}\r\n{born}{hidden}
    {put}{close} | PUT /hello/John HTTP/1.0\r\n
# What does not need the body does not read it.
200 200 {}\r\n\r\n{hidden}
    {get}Content-Length: 95 | {get}Content-Length: 9095
    {get}Expect: 100-continue\r\nContent-Length: 95
    HEAD {target} HTTP/1.1\r\n{host}Content-Length: 95
400 400 {get}Content-Length: -0\r\n\r\n{hidden}
204 405 OPTIONS {target} HTTP/1.1\r\n{host}{length}{hidden}
405 404 DELETE /hello/John HTTP/1.1\r\n{host}{length}{hidden}
404 404 PUT /nowhere HTTP/1.1\r\n{host}{length}{hidden}
# So it is after a head over 8 KiB, whose buffer is freed once it is answered.
200 200 {get}{large}{}{hidden}
    {length} | {coding}1c\r\n
413 404 {put}{large}Content-Length: 8193\r\n\r\n{hidden}
404 404 PUT /nowhere HTTP/1.1\r\n{host}{large}{length}{hidden}

# Chunks. RFC 9112, section 7.1: CRLF after the size and after the data; section 7.1.2: what
# a trailer says of the framing is not heeded. The admin listener looks at no body.
400 404 {put}{coding}{}\r\n{born}\r\n0\r\n\r\n{hidden}
    {none} | -1 | +1c | 0x1c | 1g | 1b | 1d | 1 c | \x201c | 1c\r | ;a | 1c;a\n | 1c;a\rb
    1c;{long} | 1000000000000001c
204 404 {put}{close}{coding}{}\r\n{born}\r\n0\r\n\r\n{hidden}
    1C | 0000000000000001c | 1c \t;a | 1c;a=b;c="d" | 1c;a=" | 1c;\0
400 404 {put}{coding}1c{}\r\n\r\n{hidden}
    \r\n{born}0 | \r\n{born}\r0 | \r\n{born}\n0 | \n{born}\r\n0 | ;a\n{born}\r\n0
400 404 {put}{coding}1c\r\n{born}\r\n0\n\n{hidden}
204,400 404 {put}{coding}1c\r\n{born}\r\n0\r\n\n{hidden}
400 404 {put}{coding}1c\r\n{born}\r\n0\r\n{}\r\n\r\n{hidden}
    {hidden} | X: \0 | X : y | X: y\r\n z | no header | X: {long} | {many}
204 404 {put}{close}{coding}1c\r\n{born}\r\n0\r\n{}\r\n{hidden}
    X: y\r\n | X: y\n | Content-Length: 95\r\nTransfer-Encoding: chunked\r\n

# The first line. RFC 9112, section 2.2: empty lines before it are skipped; section 3:
# single spaces, and else it is refused; section 2.3: two digits of a version.
200 200 \r\n\r\n{get}{close}\r\n
405 405 {} {target} HTTP/1.1\r\n{host}{close}\r\n
    get | BREW | CONNECT | TRACE
400 400 {} {target} HTTP/1.1\r\n{host}\r\n
    G(T | GET: | \x20GET | GET\x20 | {none}
400 400 GET {target} {}\r\n{host}\r\n
    HTTP/1 | HTTP/1.10 | HTTP/01.1 | HTTP/0.9 | HTTP/1.2 | HTTP/2.0 | http/1.1 | ICY/1.1
400 400 {}\r\n{host}\r\n
    GET\t{target} HTTP/1.1 | GET {target}\tHTTP/1.1 | GET {target}\x0bHTTP/1.1
    GET {target}  HTTP/1.1 | GET {target} HTTP/1.1\x20 | GET {target} HTTP/1.1\r
    GET{target}HTTP/1.1 | GET {target} | {target} HTTP/1.1 | HTTP/1.1 200 OK | EHLO localhost
    \xef\xbb\xbfGET {target} HTTP/1.1 | PROXY TCP4 10.0.0.1 10.0.0.2 1234 80
# Other protocols: of proxies, RDP, TLS; and none.
400 400 {}
    \r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c | \x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03
    \x16\x03\x01\0\xa5\x01\0\0\xa1\x03\x03 | \0\0\0\0

# Targets. RFC 9112, section 3.2.2: a whole URL is taken by every server; RFC 9110, section
# 9.3.6 and 9.3.8: there is no tunnel and no echo; RFC 3986, section 6.2.2: no path is
# decoded twice, or made another one.
200 200 GET {} HTTP/1.1\r\n{host}{close}\r\n
    http://localhost{target} | http://example.org{target}
    https://me:secret@localhost:99999{target} | {target}#x | {target}?../../x&%00
200 404 GET http://localhost HTTP/1.1\r\n{host}{close}\r\n
400 400 GET {} HTTP/1.1\r\n{host}{close}\r\n
    file:///etc/passwd | http:/// | hello/John | ?x | /a b | /<script>{}|^`" | /\0 | /\x7f
    /\x1b[2J | /\xff\xfe
400 404 GET /hello/{} HTTP/1.1\r\n{host}{close}\r\n
    .. | %2e%2e | %2e%2e%2fhealth | %254a | %c1%8a | %f4%90%80%80 | %u004a | a%0d%0aX:%20y
404 404 GET {} HTTP/1.1\r\n{host}{close}\r\n
    * | localhost:80 | /{target} | /.{target} | /%2e%2e{target} | /hello/..{target}
    /%68ealth | /%6civez | /hello%2fJohn | /hello\x5cJohn | /hello/Jos\xc3\xa9 | {target};a=b
404 404 CONNECT localhost:22 HTTP/1.1\r\n{host}{close}\r\n{hidden}
204 404 OPTIONS * HTTP/1.1\r\n{host}{close}\r\n

# Fields. RFC 9110, section 5.5: no control character in a value; section 7.8: an offer to
# speak another protocol may be left unanswered.
400 400 {get}{close}{}\r\n\r\n
    X\0: y | X\x7f: y | X y: z | X : y | X(y): z | \xc3\xa9: z | : z | no colon | X: \0
    X: \x01 | X: \x1b[2J | X: \x7f | X: y\r\n z | X: y\r\n\tz | X: y\r | X: y\rZ: y
400 400 GET {target} HTTP/1.1\r\n \r\n{host}{close}\r\n
200 200 {get}{close}{}\r\n\r\n
    X: | X: \xff | X: a\tb | X-Original-URL: /nowhere\r\nX-Rewrite-URL: /nowhere
200 200 {get}{}\r\n\r\n{hidden}
    Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk
    Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbQ==
    Connection: keep-alive\r\nConnection: close
404 404 GET /hello/Hidden HTTP/1.1\r\n{host}{close}X-HTTP-Method-Override: PUT\r\n{length}{born}
200,200 200,200 GET {target} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{get}{close}\r\n{hidden}

# Heads that are too long, or have too many fields.
431 431 {}\r\n\r\n
    {get}X: {long} | {get}{many} | GET /{long} HTTP/1.1\r\n{host} | {long} / HTTP/1.1
"##;

/// What names in braces stand for, in this order. The target is one that the listener
/// answers with 200.
const PARTS: [(&str, &str); 10] = [
    ("{none}", ""),
    ("{get}", "GET {target} HTTP/1.1\r\n{host}"),
    ("{put}", "PUT /hello/John HTTP/1.1\r\n{host}"),
    ("{hidden}", "PUT /hello/Hidden HTTP/1.1\r\n{host}{length}{born}"),
    ("{coding}", "Transfer-Encoding: chunked\r\n\r\n"),
    ("{length}", "Content-Length: 28\r\n\r\n"),
    ("{host}", "Host: localhost\r\n"),
    ("{close}", "Connection: close\r\n"),
    ("{chunks}", "1c\r\n{born}\r\n0\r\n\r\n"),
    ("{born}", r#"{"dateOfBirth":"1990-05-20"}"#),
];

/// Bytes of `{large}`, which a request may have.
const LARGE: usize = 12_000;

/// Bytes of `{long}` and headers of `{many}`, which no request may have.
const LONG: usize = 20_000;
const MANY: usize = 200;

struct Case {
    /// As in the corpus.
    text: String,
    public: Vec<u16>,
    admin: Vec<u16>,
}

fn corpus() -> Vec<Case> {
    let statuses = |text: &str| text.split(',').map(|status| status.parse().unwrap()).collect();
    let mut cases = Vec::new();
    let mut head = [""; 3];
    for line in CORPUS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let requests = line.strip_prefix("    ");
        if requests.is_none() {
            head = line.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        }
        let [public, admin, shape] = head;
        if requests.is_some() || !shape.contains("{}") {
            cases.extend(requests.unwrap_or_default().split(" | ").map(|request| Case {
                text: shape.replacen("{}", request, 1),
                public: statuses(public),
                admin: statuses(admin),
            }));
        }
    }
    cases
}

#[test]
fn a_request_of_the_corpus_is_answered_as_said_and_smuggles_nothing() {
    let service = Service::start(&[]);
    let mut wrong = Vec::new();
    for Case { text, public, admin } in corpus() {
        let listeners = [(service.address, "/", public), (service.admin, "/livez", admin)];
        for (listener, target, expected) in listeners {
            let sent = bytes(&text, target);
            // Long ones not byte by byte, which would take longer than they are listened to.
            for piece in [sent.len(), 1 + sent.len() / 1000] {
                let answers = replay(listener, &sent, piece);
                let is_told = answers.contains("\r\nconnection: close\r\n");
                if statuses(&answers) != expected || !(is_told || text.contains("HTTP/1.0")) {
                    wrong.push(format!("{text} at {target} by {piece}: {answers}"));
                }
            }
        }
        service.get("/hello/Hidden").expect_status(404);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    expect_unharmed(&service);
}

/// The pieces are cut and joined at random, the same in every run.
#[test]
fn random_pieces_of_the_corpus_do_no_harm() {
    const REQUESTS: u64 = 2000;
    let service = Service::start(&[]);
    let all: Vec<_> = corpus().iter().map(|case| bytes(&case.text, "/")).collect();
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
            let case = &all[below(all.len())];
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
        let _ = stream.shutdown(Shutdown::Write);
        for status in statuses(&answers(&mut stream)) {
            assert!(status <= 501 && status != 500, "{status} for {}", sent.escape_ascii());
        }
    }
    expect_unharmed(&service);
}

/// Sends `sent` in pieces, and gives all answers.
fn replay(listener: SocketAddr, sent: &[u8], piece: usize) -> String {
    let mut stream = connect(listener);
    for piece in sent.chunks(piece) {
        // It may have been refused already.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    answers(&mut stream)
}

/// All answers until the server closes, which it must.
fn answers(stream: &mut TcpStream) -> String {
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("the server closes the connection");
    answers
}

fn statuses(answers: &str) -> Vec<u16> {
    // Bodies hold no such thing, and HEAD has none.
    answers.split("HTTP/1.").skip(1).map(|answer| answer[2..5].parse().unwrap()).collect()
}

/// Expects that both listeners serve, that nothing was a bug of theirs, and that
/// they have no connection left.
pub fn expect_unharmed(service: &Service) {
    service.get("/").expect_status(200);
    wait_until("all connections are closed", || {
        let metrics = service.ask_admin("/metrics").expect_status(200).body;
        let is_bug = |status: &str| metrics.contains(&format!("status=\"{status}\""));
        assert!(!["500", "503"].into_iter().any(is_bug), "{metrics}");
        for listener in ["public", "admin"] {
            let panics = format!("hello_birthday_http_panics_total{{listener=\"{listener}\"}}");
            assert_eq!(value(&metrics, &panics), 0.0);
        }
        let open = |listener: &str| {
            value(&metrics, &format!("hello_birthday_http_connections{{listener=\"{listener}\"}}"))
        };
        // The one that asks is open.
        (open("public") == 0.0 && open("admin") == 1.0).then_some(())
    });
}

/// The bytes of a request of the corpus.
fn bytes(text: &str, target: &str) -> Vec<u8> {
    let mut pieces = text.split('\\');
    let mut sent = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (byte, rest) = match piece.split_at(1) {
            ("r", rest) => (b'\r', rest),
            ("n", rest) => (b'\n', rest),
            ("t", rest) => (b'\t', rest),
            ("0", rest) => (b'\0', rest),
            (_, rest) => (u8::from_str_radix(&rest[..2], 16).unwrap(), &rest[2..]),
        };
        sent.push(char::from(byte));
        sent += rest;
    }
    let (long, many) = ("x".repeat(LONG), "X: y\r\n".repeat(MANY));
    let large = format!("X: {}\r\n", "x".repeat(LARGE));
    let others = [("{target}", target), ("{large}", &large), ("{long}", &long), ("{many}", &many)];
    let parts = PARTS.into_iter().chain(others);
    let sent = parts.fold(sent, |sent, (part, text)| sent.replace(part, text));
    // Every character stands for the byte with its number.
    sent.chars().map(|character| u8::try_from(character).unwrap()).collect()
}
