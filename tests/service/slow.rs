//! Clients that take their time: those that may are waited for, the others are
//! cut off, and neither keeps anybody else waiting.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Answer, Client, PATIENCE, Service, read_to_end};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const SLOW_HEADS: &str =
    r#"hello_birthday_http_connections_cut_off_total{listener="public",phase="head"}"#;
const SLOW_ANSWERS: &str =
    r#"hello_birthday_http_connections_cut_off_total{listener="public",phase="answer"}"#;
const OPEN: &str = r#"hello_birthday_http_connections{listener="public"}"#;

/// Slow clients are given 10 s; half of it allows for the coarse clock that connections are
/// measured by, and which a busy machine delays.
const GIVEN_MIN: Duration = Duration::from_secs(5);

#[test]
fn a_request_that_comes_a_byte_a_second_is_cut_off() {
    let service = Service::start(&[]);
    let head = "PUT /hello/John HTTP/1.1\r\nHost: localhost\r\n";
    let body = r#"{"dateOfBirth":"1990-05-20"}"#;
    let cases = [
        ("head", String::new(), GET),
        ("head", GET.to_owned(), GET),
        ("head", String::new(), "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"),
        ("body", format!("{head}Content-Length: 28\r\n\r\n"), body),
        ("body", format!("{head}Transfer-Encoding: chunked\r\n\r\n"), "1c;an=extension\r\n"),
    ];
    thread::scope(|scope| {
        for (what, at_once, slowly) in &cases {
            let service = &service;
            scope.spawn(move || {
                let mut stream = service.connect();
                stream.write_all(at_once.as_bytes()).unwrap();
                if at_once == GET {
                    Answer::read(&mut stream).unwrap().expect_status(200);
                }
                let elapsed = send_a_byte_a_second(service, &mut stream, slowly.as_bytes());
                let answer = Answer::parse(read_to_end(&mut stream)).expect_problem(408, what);
                assert_eq!(answer.header("connection"), Some("close"));
                assert!(elapsed > GIVEN_MIN, "{what}: {elapsed:?}");
            });
        }
    });
    assert_eq!([SLOW_HEADS, SLOW_ANSWERS].map(|it| service.metric(it)), [3.0, 0.0]);
    service.get("/hello/John").expect_status(404);
}

#[test]
fn a_body_that_comes_a_byte_at_a_time_takes_no_more_memory_than_another() {
    const PIECES: usize = 2000;
    let service = Service::start(&[]);
    let before = memory_kib(&service);
    let mut streams: Vec<TcpStream> = (0..10).map(|_| service.connect()).collect();
    let head = "PUT /hello/John HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8192\r\n\r\n";
    for stream in &mut streams {
        stream.write_all(head.as_bytes()).unwrap();
    }
    let mut other = Client::new(service.address);
    for _ in 0..PIECES {
        for stream in &mut streams {
            stream.write_all(b" ").unwrap();
        }
        // It is served after the bytes that came before its request were read.
        other.send("GET", "/", "").unwrap().expect_status(200);
    }
    let more = memory_kib(&service).saturating_sub(before);
    assert!(more < 8 * 1024, "{more} KiB more for {} bytes", PIECES * streams.len());
}

fn memory_kib(service: &Service) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Sends `bytes` until there is an answer, and gives how long that took. Others
/// must be served meanwhile.
fn send_a_byte_a_second(service: &Service, stream: &mut TcpStream, bytes: &[u8]) -> Duration {
    let began = Instant::now();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    for byte in bytes {
        stream.write_all(&[*byte]).unwrap();
        service.get("/").expect_status(200);
        // Waits for an answer for as long as the pause between two bytes lasts.
        if let Ok(length) = stream.peek(&mut [0]) {
            assert_eq!(length, 1, "closed without an answer");
            break;
        }
    }
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    began.elapsed()
}

#[test]
fn a_client_that_reads_no_answers_is_cut_off() {
    let service = Service::start(&[]);
    let requests = GET.replace("GET /", "GET /openapi.json").repeat(1000);
    let mut stream = service.connect();
    let began = Instant::now();
    // Waits once the buffers of both sides are full, and until the server closes.
    let error = loop {
        if let Err(error) = stream.write_all(requests.as_bytes()) {
            break error;
        }
    };
    let elapsed = began.elapsed();
    assert!(
        matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "not cut off after {elapsed:?}: {error}"
    );
    assert!(elapsed > GIVEN_MIN, "{elapsed:?}");
    assert_eq!([SLOW_HEADS, SLOW_ANSWERS].map(|it| service.metric(it)), [0.0, 1.0]);
    assert_eq!(service.metric(OPEN), 0.0);
    service.get("/").expect_status(200);
}
