//! Requests that are not quite HTTP: they are refused and harm nobody.

use std::io::Write;

use hello_birthday::http::server::HEAD_BYTES_MAX;

use crate::harness::{Answer, Service, half_close, read_answers, wait_until};
use crate::hostile::expect_unharmed;

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;
const BORN_CHUNKED: &str = "1c\r\n{\"dateOfBirth\":\"1990-05-20\"}\r\n0\r\n\r\n";

#[test]
fn what_is_no_request_at_all_gets_no_answer() {
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
    send(&service, "GET / HTTP/1.1\nHost: localhost\nConnection: close\n\n").expect_status(200);
}

#[test]
fn a_head_over_16_kib_or_100_headers_is_431_and_one_below_is_read() {
    let service = Service::start(&[]);
    let start = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let of_bytes = |bytes: usize| {
        format!("{start}X: {}\r\n\r\n", "a".repeat(bytes - start.len() - "X: \r\n\r\n".len()))
    };
    let of_headers = |count: usize| format!("{start}{}\r\n", "X: y\r\n".repeat(count - 2));
    for (head, status) in [
        (of_bytes(HEAD_BYTES_MAX - 1), 200),
        (of_headers(100), 200),
        (of_bytes(HEAD_BYTES_MAX + 1), 431),
        (of_headers(101), 431),
        (format!("{start}X: {}", "a".repeat(5 * HEAD_BYTES_MAX)), 431),
    ] {
        send(&service, &head).expect_status(status);
    }
    expect_unharmed(&service);
}

#[test]
fn a_request_names_one_host() {
    let service = Service::start(&[]);
    for hosts in ["", "Host: localhost\r\nHost: localhost\r\n", "Host: a\r\nX: y\r\nHost: b\r\n"] {
        let request = format!("PUT /hello/John HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        send(&service, &request).expect_problem(400, "exactly one Host");
    }
    send(&service, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n").expect_status(400);
    // This one knows no Host.
    send(&service, "GET / HTTP/1.0\r\n\r\n").expect_status(200);
}

#[test]
fn a_body_cut_short_saves_nothing() {
    let service = Service::start(&[]);
    let cases = [
        ("Content-Length: 28", ""),
        ("Content-Length: 28", "{"),
        // JSON, and yet not all that was announced.
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
        answers.remove(0).expect_problem(400, "cut short or badly chunked");

        drop(begin());
        wait_until("the connection is closed", || {
            let open = service.metric(r#"hello_birthday_http_connections{listener="public"}"#);
            (open == 0.0).then_some(())
        });
        service.get("/hello/John").expect_status(404);
    }
    expect_unharmed(&service);
}

/// Sends `request`, and reads the one answer to it; the server must close.
fn send(service: &Service, request: &str) -> Answer {
    let mut stream = service.connect();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answers = read_answers(&mut stream);
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0)
}
