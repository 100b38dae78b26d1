//! Requests that are not quite HTTP: they are refused and harm nobody.

use std::io::Write;

use hello_birthday::http::server::{HEAD_BYTES_MAX, HEADERS_MAX};

use crate::harness::{Answer, Service, half_close, read_answers, read_to_end, wait_until};
use crate::hostile::expect_unharmed;

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;
const BORN_CHUNKED: &str = "1c\r\n{\"dateOfBirth\":\"1990-05-20\"}\r\n0\r\n\r\n";

#[test]
fn what_is_no_request_at_all_gets_no_answer() {
    let service = Service::start(&[]);
    let cases: &[&[u8]] = &[b"", b"\r\n\r\n", b"\n\n\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n"];
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
fn http_2_without_asking_is_refused_with_a_frame_that_says_why() {
    let service = Service::start(&[]);
    let mut stream = service.connect();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    half_close(&stream);
    let frames = read_to_end(&mut stream);
    let (settings, goaway) = frames.split_at(9);
    assert_eq!(settings, b"\0\0\0\x04\0\0\0\0\0");
    let (head, payload) = goaway.split_at(9);
    let [_, _, length, kind, ..] = head else { panic!("{head:?}") };
    assert_eq!((usize::from(*length), *kind), (payload.len(), 7));
    // HTTP_1_1_REQUIRED (RFC 9113, section 7).
    assert_eq!(payload[4..8], [0, 0, 0, 0xd]);
    assert!(payload.ends_with(b"use HTTP/1.1 on this port."));
    expect_unharmed(&service);
}

#[test]
fn a_body_in_a_coding_that_is_not_understood_is_refused_and_says_so() {
    let service = Service::start(&[]);
    let length = BORN.len();
    let chunked = BORN_CHUNKED;
    for (headers, body, status, complaint) in [
        (format!("Content-Encoding: gzip\r\nContent-Length: {length}"), BORN, 415, "plain JSON"),
        (
            format!("Content-Encoding: br, gzip\r\nContent-Length: {length}"),
            BORN,
            415,
            "plain JSON",
        ),
        ("Transfer-Encoding: gzip, chunked".into(), chunked, 501, "chunked"),
        ("Transfer-Encoding: identity, chunked".into(), chunked, 501, "chunked"),
        ("Transfer-Encoding: chunked, chunked".into(), chunked, 501, "chunked"),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked".into(), chunked, 501, "chunked"),
    ] {
        let request =
            format!("PUT /hello/John HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n{body}");
        let answer = send(&service, &request).expect_problem(status, complaint);
        let accepted = (status == 415).then_some("identity");
        assert_eq!(answer.header("accept-encoding"), accepted, "{headers}");
        service.get("/hello/John").expect_status(404);
    }
    let identity = format!("Content-Encoding: identity\r\nContent-Length: {length}");
    for (headers, body) in [(&*identity, BORN), ("Transfer-Encoding: Chunked", chunked)] {
        let request = format!(
            "PUT /hello/John HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n\r\n{body}"
        );
        send(&service, &request).expect_status(204);
    }
    expect_unharmed(&service);
}

#[test]
fn a_line_may_end_with_a_line_feed_alone() {
    let service = Service::start(&[]);
    send(&service, "GET / HTTP/1.1\nHost: localhost\nConnection: close\n\n").expect_status(200);
}

#[test]
fn a_head_over_16_kib_or_128_headers_is_431_and_one_below_is_read() {
    let service = Service::start(&[]);
    let start = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let of_bytes = |bytes: usize| {
        format!("{start}X: {}\r\n\r\n", "a".repeat(bytes - start.len() - "X: \r\n\r\n".len()))
    };
    let of_headers = |count: usize| format!("{start}{}\r\n", "X: y\r\n".repeat(count - 2));
    for (head, status) in [
        (of_bytes(HEAD_BYTES_MAX - 1), 200),
        (of_headers(HEADERS_MAX), 200),
        (of_bytes(HEAD_BYTES_MAX + 1), 431),
        (of_headers(HEADERS_MAX + 1), 431),
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
