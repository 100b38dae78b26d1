//! Malformed requests: they are rejected, affect no other client, and no part of one is
//! taken for another request.

use std::io::Write;

use hello_birthday::http::server::HEAD_BYTES_MAX;

use crate::harness::{Answer, Service, half_close, read_answers, wait_until};

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;
const BORN_CHUNKED: &str = "1c\r\n{\"dateOfBirth\":\"1990-05-20\"}\r\n0\r\n\r\n";

/// A valid request, which may be hidden in the body of another.
const SMUGGLED: &str = "PUT /hello/Smuggled HTTP/1.1\r\nHost: localhost\r\n\
    Content-Length: 28\r\n\r\n{\"dateOfBirth\":\"1990-05-20\"}";

#[test]
fn malformed_requests_are_rejected() {
    let service = Service::start(&[]);
    let cases: &[&[u8]] = &[
        b"garbage\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n",
        b"get / http/1.1\r\nhost: localhost\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\rHost: localhost\r\r",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\0\0\0\0",
        b"\x01\x02\x03\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: local\0host\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
        // The first bytes of a TLS handshake.
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    ];
    for request in cases {
        let case = request.escape_ascii();
        match &send(&service, request)[..] {
            [answer] => expect_refused(answer, 400, &case.to_string()),
            answers => panic!("{case}: {answers:?}"),
        }
    }
    expect_unharmed(&service);
}

#[test]
fn an_incomplete_request_gets_no_answer() {
    let service = Service::start(&[]);
    let cases: &[&[u8]] = &[
        b"",
        b"\r\n\r\n",
        b"\n\n\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ];
    for request in cases {
        let mut stream = service.connect();
        stream.write_all(request).unwrap();
        half_close(&stream);
        let answers = read_answers(&mut stream);
        assert!(answers.is_empty(), "{}: {answers:?}", request.escape_ascii());
    }
    expect_unharmed(&service);
}

#[test]
fn a_line_may_end_with_a_line_feed_alone() {
    let service = Service::start(&[]);
    let answers = send(&service, b"GET / HTTP/1.1\nHost: localhost\nConnection: close\n\n");
    assert_eq!(statuses(&answers), [200]);
}

#[test]
fn a_head_over_16_kib_or_100_headers_is_431_and_one_below_is_read() {
    let service = Service::start(&[]);
    let padded = |before: &str, padding: usize, after: &str| {
        format!("{before}{}{after}", "a".repeat(padding))
    };
    let with_headers = |count: usize| {
        let ours = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        format!("{ours}{}\r\n", "X: y\r\n".repeat(count - 2))
    };
    let start = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: ";
    let end = "\r\n\r\n";
    let room = HEAD_BYTES_MAX - start.len() - end.len();
    for head in [padded(start, room - 1, end), with_headers(100)] {
        assert_eq!(statuses(&send(&service, head.as_bytes())), [200], "{} bytes", head.len());
    }
    let cases = [
        ("a header", padded(start, room + 1, end)),
        ("a header that does not end", padded(start, 5 * HEAD_BYTES_MAX, "")),
        ("headers", with_headers(101)),
        ("a path", padded("GET /", HEAD_BYTES_MAX, " HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        ("a method", padded("", HEAD_BYTES_MAX, "")),
    ];
    for (what, head) in cases {
        match &send(&service, head.as_bytes())[..] {
            [answer] => expect_refused(answer, 431, what),
            answers => panic!("{what}: {answers:?}"),
        }
    }
    expect_unharmed(&service);
}

#[test]
fn a_request_names_one_host() {
    let service = Service::start(&[]);
    for hosts in ["", "Host: localhost\r\nHost: localhost\r\n", "Host: a\r\nX: y\r\nHost: b\r\n"] {
        let request = format!("PUT /hello/John HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        let mut answers = send(&service, request.as_bytes());
        assert_eq!(answers.len(), 1, "{hosts:?}");
        answers.remove(0).expect_problem(400, "exactly one Host");
    }
    let answers = send(&service, b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(statuses(&answers), [200], "HTTP/1.0 knows no Host");
    let answers = send(&service, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(statuses(&answers), [400]);
}

#[test]
fn a_content_length_that_is_no_length_is_refused() {
    let service = Service::start(&[]);
    let cases = [
        "-1",
        "+28",
        "28, 28",
        "28, 5",
        "28;",
        "0x1c",
        "1e1",
        "twenty-eight",
        "",
        "18446744073709551616",
        "9999999999999999999999999999999999999999",
        "28\r\nContent-Length: 5",
        "5\r\nContent-Length: 28",
    ];
    for length in cases {
        let head = format!("PUT /hello/John HTTP/1.1\r\nContent-Length: {length}");
        let request = format!("{head}\r\nHost: localhost\r\n\r\n{BORN}");
        match &send(&service, request.as_bytes())[..] {
            [answer] => expect_refused(answer, 400, length),
            answers => panic!("{length:?}: {answers:?}"),
        }
    }
    for length in [u64::MAX, u64::MAX - 2, u64::MAX / 2, 8193] {
        let head = format!("PUT /hello/John HTTP/1.1\r\nContent-Length: {length}");
        let request = format!("{head}\r\nHost: localhost\r\n\r\n{BORN}");
        let answers = send(&service, request.as_bytes());
        assert!(matches!(statuses(&answers)[..], [413 | 431]), "{length}: {answers:?}");
    }
    service.get("/hello/John").expect_status(404);
    expect_unharmed(&service);
}

#[test]
fn a_request_hidden_in_the_body_of_another_is_not_answered() {
    let service = Service::start(&[]);
    let cases = [
        ("1.1", "Transfer-Encoding: chunked\r\nConnection: close", 204),
        ("1.1", "tRANSFER-eNCODING:\tCHUNKED\r\nConnection: close", 204),
        ("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 38", 204),
        ("1.1", "Content-Length: 38\r\nTransfer-Encoding: chunked", 204),
        ("1.1", "Content-Length: 5\r\nTransfer-Encoding: chunked", 204),
        ("1.1", "Content-Length: 500\r\nTransfer-Encoding: chunked", 204),
        ("1.1", "Transfer-Encoding: chunked\r\nContent-Length: -1", 204),
        ("1.1", "Transfer-Encoding: chunked, chunked\r\nConnection: close", 204),
        (
            "1.1",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nConnection: close",
            204,
        ),
        ("1.1", "Transfer-Encoding: gzip, chunked\r\nConnection: close", 204),
        ("1.1", "Transfer-Encoding: gzip", 400),
        ("1.1", "Transfer-Encoding: chunked, gzip", 400),
        ("1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
        ("1.1", "Transfer-Encoding: xchunked", 400),
        ("1.1", "Transfer-Encoding: \"chunked\"", 400),
        ("1.1", "Transfer-Encoding: \x0bchunked", 400),
        ("1.1", "Transfer-Encoding : chunked", 400),
        ("1.1", "Transfer-Encoding:", 400),
        ("1.1", "Content-Length: 38\r\nTransfer-Encoding: xchunked", 400),
        ("1.1", "Content-Length: 38\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("1.0", "Connection: keep-alive\r\nTransfer-Encoding: chunked", 400),
    ];
    for (version, headers, status) in cases {
        let head = format!("PUT /hello/John HTTP/{version}\r\nHost: localhost\r\n{headers}");
        let request = format!("{head}\r\n\r\n{BORN_CHUNKED}{SMUGGLED}");
        match &send(&service, request.as_bytes())[..] {
            [answer] => expect_refused(answer, status, headers),
            answers => panic!("{headers}: {answers:?}"),
        }
        service.get("/hello/Smuggled").expect_status(404);
    }
    expect_unharmed(&service);
}

#[test]
fn an_unread_body_is_not_taken_for_a_request() {
    let service = Service::start(&[]);
    for line in ["GET /", "DELETE /hello/John", "PUT /nowhere"] {
        for length in [SMUGGLED.len(), SMUGGLED.len() + 9000] {
            let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}");
            let request = format!("{head}\r\n\r\n{SMUGGLED}");
            let answers = send(&service, request.as_bytes());
            assert_eq!(answers.len(), 1, "{line}: {answers:?}");
            assert_eq!(answers[0].header("connection"), Some("close"), "{line}");
        }
    }
    service.get("/hello/Smuggled").expect_status(404);
    expect_unharmed(&service);
}

#[test]
fn a_badly_chunked_body_is_refused() {
    let service = Service::start(&[]);
    let chunks = |size: &str| format!("{size}\r\n{BORN}\r\n0\r\n\r\n");
    let trailers = |trailers: &str| format!("1c\r\n{BORN}\r\n0\r\n{trailers}\r\n");
    let refused = [
        chunks("-1"),
        chunks("+1c"),
        chunks("0x1c"),
        chunks("1g"),
        chunks(""),
        chunks("1b"),
        chunks("1d"),
        chunks("1000000000000001c"),
        chunks("1c;extended\n"),
        chunks(&format!("1c;{}", "x".repeat(20_000))),
        trailers("not a header\r\n"),
        trailers(&format!("X: {}\r\n", "y".repeat(20_000))),
        trailers(&"X: y\r\n".repeat(200)),
        BORN_CHUNKED.replace("\r\n", "\n"),
    ];
    for body in refused {
        let mut answers = send_chunks(&service, &body);
        assert_eq!(answers.len(), 1, "{body:?}: {answers:?}");
        answers.remove(0).expect_problem(400, "badly chunked");
        service.get("/hello/John").expect_status(404);
    }
    for body in [chunks("1C"), chunks("001c"), chunks("1c;a=b;c=\"d\""), trailers("X: y\r\n")] {
        assert_eq!(statuses(&send_chunks(&service, &body)), [204], "{body:?}");
    }
    expect_unharmed(&service);
}

#[test]
fn a_body_cut_short_saves_nothing() {
    let service = Service::start(&[]);
    let cases = [
        ("Content-Length: 28", ""),
        ("Content-Length: 28", "{"),
        // Valid JSON, but shorter than the announced length.
        ("Content-Length: 29", BORN),
        ("Transfer-Encoding: chunked", ""),
        ("Transfer-Encoding: chunked", "1c\r\n{"),
        ("Transfer-Encoding: chunked", "ffffffffffffffff\r\n{"),
        ("Transfer-Encoding: chunked", BORN_CHUNKED.trim_end()),
        ("Transfer-Encoding: chunked", BORN_CHUNKED.strip_suffix("0\r\n\r\n").unwrap()),
    ];
    for (header, body) in cases {
        let request = format!("PUT /hello/John HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n");
        let begin = || {
            let mut stream = service.connect();
            stream.write_all(format!("{request}{body}").as_bytes()).unwrap();
            stream
        };
        let mut half_closed = begin();
        half_close(&half_closed);
        let mut answers = read_answers(&mut half_closed);
        assert_eq!(answers.len(), 1, "{header} {body:?}: {answers:?}");
        answers.remove(0).expect_problem(400, "cut short");

        drop(begin());
        wait_until("the connection is closed", || {
            let open = service.metric(r#"hello_birthday_http_connections{listener="public"}"#);
            (open == 0.0).then_some(())
        });
        service.get("/hello/John").expect_status(404);
    }
    expect_unharmed(&service);
}

/// Sends `request` and reads all answers to it; the server must close.
fn send(service: &Service, request: &[u8]) -> Vec<Answer> {
    let mut stream = service.connect();
    stream.write_all(request).unwrap();
    read_answers(&mut stream)
}

fn send_chunks(service: &Service, body: &str) -> Vec<Answer> {
    let head = "PUT /hello/John HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        Transfer-Encoding: chunked";
    send(service, format!("{head}\r\n\r\n{body}").as_bytes())
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

/// Expects an answer that closes its connection.
#[track_caller]
fn expect_refused(answer: &Answer, status: u16, case: &str) {
    assert_eq!(answer.status, status, "{case:?}: {}", answer.body);
    assert_eq!(answer.header("connection"), Some("close"), "{case:?}");
}

/// Expects that other clients are still served, and that nothing panicked.
#[track_caller]
fn expect_unharmed(service: &Service) {
    service.get("/").expect_status(200);
    let metrics = service.ask_admin("/metrics").body;
    assert!(metrics.contains("hello_birthday_http_panics_total{listener=\"public\"} 0\n"));
    assert!(metrics.contains("hello_birthday_http_requests_in_flight 0\n"));
    assert!(!metrics.contains(r#"status="5"#), "{metrics}");
}
