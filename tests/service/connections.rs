//! Many requests on one connection, and how a connection ends.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use crate::harness::{
    Answer, BINARY, Client, PATIENCE, Service, half_close, new_folder, read_answers, read_to_end,
    value, wait_until,
};

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

#[test]
fn pipelined_requests_are_answered_in_order() {
    let service = Service::start(&["--today", "2025-05-13"]);
    let mut requests = String::new();
    for day in 14..=28 {
        let body = format!(r#"{{"dateOfBirth":"1990-05-{day}"}}"#);
        requests += &request("PUT /hello/John", "", &body);
        requests += &request("GET /hello/John", "", "");
        requests += &request("GET /hello/Nobody", "", "");
    }
    requests += &request("GET /", "Connection: close\r\n", "");
    let mut stream = service.connect();
    stream.write_all(requests.as_bytes()).unwrap();
    let mut answers = read_answers(&mut stream).into_iter();
    for days in 1..=15 {
        answers.next().unwrap().expect_status(204);
        let message = format!("Hello, John! Your birthday is in {days} day(s)");
        answers.next().unwrap().expect_json(json!({ "message": message }));
        answers.next().unwrap().expect_status(404);
    }
    answers.next().unwrap().expect_json(json!({ "message": "Hello, world!" }));
    assert!(answers.next().is_none());
}

#[test]
fn an_idle_connection_is_kept_for_as_long_as_the_flag_says() {
    let [patient, hasty] =
        ["2h", "1s"].map(|timeout| Service::start(&["--keep-alive-timeout", timeout]));
    let get = request("GET /", "", "");
    let [kept, mut closed] = [&patient, &hasty].map(|service| {
        let mut stream = service.connect();
        stream.write_all(get.as_bytes()).unwrap();
        Answer::read(&mut stream).unwrap().expect_status(200);
        stream
    });
    assert_eq!(read_to_end(&mut closed), b"");
    kept.set_nonblocking(true).unwrap();
    let nothing = kept.peek(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "it was opened before the other");
}

#[test]
fn an_unread_body_is_not_taken_for_a_request() {
    let service = Service::start(&[]);
    let hidden = request("PUT /hello/John", "", BORN);
    let length = format!("Content-Length: {}\r\n", hidden.len());
    for length in [&*length, "Content-Length: 9000\r\n", "Transfer-Encoding: chunked\r\n"] {
        // The buffer of a head over 8 KiB is freed once it is answered.
        for padding in [0, 12 * 1024] {
            let padding = "x".repeat(padding);
            let mut stream = service.connect();
            let head =
                format!("PUT /no HTTP/1.1\r\nHost: localhost\r\nX: {padding}\r\n{length}\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            let answer = Answer::read(&mut stream).unwrap().expect_status(404);
            assert_eq!(answer.header("connection"), Some("close"));
            stream.write_all(hidden.as_bytes()).unwrap();
            assert_eq!(read_to_end(&mut stream), b"", "{length} after {} bytes", head.len());
            service.get("/hello/John").expect_status(404);
        }
    }
}

#[test]
fn bytes_after_the_last_request_are_not_answered() {
    let service = Service::start(&[]);
    let cases = [
        (request("GET /", "Connection: close\r\n", ""), &[200][..]),
        (request("PUT /hello/J1", "Connection: close\r\n", BORN), &[400]),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), &[200]),
        (request("GET /", "", "") + "garbage\r\n\r\n", &[200, 400]),
    ];
    for (requests, statuses) in cases {
        let mut stream = service.connect();
        let follower = request("PUT /hello/John", "", BORN);
        stream.write_all(format!("{requests}{follower}").as_bytes()).unwrap();
        let answers = read_answers(&mut stream);
        let answered: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(answered, statuses, "{requests:?}");
        service.get("/hello/John").expect_status(404);
    }
}

#[test]
fn a_client_that_has_closed_its_sending_side_is_answered() {
    let service = Service::start(&[]);
    let cases = [
        ("PUT /hello/John", BORN, 204),
        ("GET /hello/John", "", 200),
        ("GET /openapi.json", "", 200),
        ("DELETE /hello/John", "", 405),
    ];
    for (line, body, status) in cases {
        let mut stream = service.connect();
        stream.write_all(request(line, "", body).as_bytes()).unwrap();
        half_close(&stream);
        let mut answers = read_answers(&mut stream);
        assert_eq!(answers.len(), 1, "{line}");
        answers.remove(0).expect_status(status);
    }
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let service = Service::start(&[]);
    let mut stream = service.connect();
    stream.write_all(head("PUT /hello/John", "Expect: 100-continue\r\n", 28).as_bytes()).unwrap();
    Answer::read(&mut stream).unwrap().expect_status(100);
    stream.write_all(BORN.as_bytes()).unwrap();
    Answer::read(&mut stream).unwrap().expect_status(204);
    service.get("/hello/John").expect_status(200);
}

#[test]
fn a_response_before_the_end_of_the_body_closes_the_connection() {
    let service = Service::start(&[]);
    let cases = [
        ("PUT /hello/John", 8193, 413),
        ("PUT /nowhere", 28, 404),
        ("POST /hello/John", 28, 405),
        ("GET /", 28, 200),
    ];
    for (line, length, status) in cases {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let mut stream = service.connect();
            stream.write_all(head(line, expect, length).as_bytes()).unwrap();
            match &read_answers(&mut stream)[..] {
                [answer] => {
                    assert_eq!(answer.status, status, "{line} {expect}");
                    assert_eq!(answer.header("connection"), Some("close"), "{line} {expect}");
                }
                answers => panic!("{line} {expect}: {answers:?}"),
            }
        }
    }
}

#[test]
fn a_rejected_body_leaves_the_connection_open() {
    let service = Service::start(&[]);
    let mut stream = service.connect();
    for (line, body) in [("PUT /hello/J1", BORN), ("PUT /hello/John", "{}")] {
        stream.write_all(head(line, "", body.len()).as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let answer = Answer::read(&mut stream).unwrap().expect_status(400);
        assert_eq!(answer.header("connection"), None);
    }
    stream.write_all(request("GET /", "", "").as_bytes()).unwrap();
    Answer::read(&mut stream).unwrap().expect_status(200);
}

#[test]
fn a_chunked_body_leaves_the_connection_open() {
    let service = Service::start(&[]);
    let mut stream = service.connect();
    let head = "PUT /hello/John HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    for trailer in ["", "X: y\r\n"] {
        let chunks = format!("{:x}\r\n{BORN}\r\n0\r\n{trailer}\r\n", BORN.len());
        stream.write_all(format!("{head}{chunks}").as_bytes()).unwrap();
        let answer = Answer::read(&mut stream).unwrap().expect_status(204);
        assert_eq!(answer.header("connection"), None);
    }
    stream.write_all(request("GET /hello/John", "", "").as_bytes()).unwrap();
    Answer::read(&mut stream).unwrap().expect_status(200);
}

#[test]
fn a_client_that_is_still_sending_can_read_why_its_body_is_rejected() {
    let service = Service::start(&[]);
    let bytes = "x".repeat(8192);
    for (header, piece) in [
        ("Content-Length: 600000", bytes.clone()),
        ("Transfer-Encoding: chunked", format!("2000\r\n{bytes}\r\n")),
    ] {
        let mut stream = service.connect();
        let head = format!("PUT /hello/John HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n");
        stream.write_all(format!("{head}{piece}{piece}").as_bytes()).unwrap();
        wait_for_answer(&stream);
        for _ in 0..30 {
            stream.write_all(piece.as_bytes()).unwrap();
        }
        let mut answers = read_answers(&mut stream);
        assert_eq!(answers.len(), 1, "{header}");
        let answer = answers.remove(0).expect_problem(413, "8192 bytes");
        assert_eq!(answer.header("connection"), Some("close"), "{header}");
    }
}

#[test]
fn without_file_descriptors_connections_wait_and_no_loop_is_busy() {
    let service = Service::start(&[]);
    // It connects while file descriptors are left.
    let mut admin = Client::new(service.admin);
    let mut accept_errors = || {
        let metrics = admin.send("GET", "/metrics", "").unwrap().expect_status(200).body;
        value(&metrics, r#"hello_birthday_http_accept_errors_total{listener="public"}"#)
    };
    assert_eq!(accept_errors(), 0.0);
    leave_descriptors(&service, 8);

    let began = Instant::now();
    let mut served = Vec::new();
    let mut waiting = loop {
        let mut stream = service.connect();
        stream.write_all(request("GET /", "", "").as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let is_served = wait_until("it is served or left to wait", || {
            let is_served = stream.peek(&mut [0]).is_ok();
            (is_served || accept_errors() > 0.0).then_some(is_served)
        });
        stream.set_nonblocking(false).unwrap();
        if !is_served {
            break stream;
        }
        served.push(stream);
    };
    let errors = wait_until("it tries again", || Some(accept_errors()).filter(|it| *it >= 10.0));
    // The service pauses for 50 ms after each error, on a machine of any speed.
    let pauses = began.elapsed().as_millis() as f64 / 50.0;
    assert!(errors <= pauses + 1.0, "{errors} errors in the time of {pauses} pauses");
    let log = service.wait_for_log("cannot accept connections");
    assert_eq!(log.matches("cannot accept connections").count(), 1);

    drop(served);
    wait_for_answer(&waiting);
    Answer::read(&mut waiting).unwrap().expect_status(200);
    service.get("/").expect_status(200);
}

/// A complete request.
fn request(line: &str, headers: &str, body: &str) -> String {
    head(line, headers, body.len()) + body
}

fn head(line: &str, headers: &str, length: usize) -> String {
    format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n")
}

fn wait_for_answer(stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.peek(&mut [0]).unwrap();
}

/// Limits the service to `count` more open files.
fn leave_descriptors(service: &Service, count: usize) {
    let open = fs::read_dir(format!("/proc/{}/fd", service.pid())).unwrap();
    let names = open.map(|file| file.unwrap().file_name().into_string().unwrap());
    let open: Vec<u64> = names.map(|name| name.parse().unwrap()).collect();
    // Open files above the limit stay open; the kernel hands out the lowest free number.
    let limit = (0..).filter(|number| !open.contains(number)).nth(count);
    let limit = Rlimit { current: limit, maximum: limit };
    prlimit(Some(service.pid()), Resource::Nofile, limit).unwrap();
}

#[test]
fn idle_clients_leave_files_for_the_database() {
    let mut command = Command::new("sh");
    // This journal is opened for every commit.
    command.arg("-c").arg(format!("ulimit -n 200; exec {BINARY} --sqlite-journal truncate"));
    let service = Service::spawn(&new_folder(), command);
    let mut client = Client::new(service.address);
    client.send("PUT", "/hello/John", BORN).unwrap().expect_status(204);
    let _idle: Vec<TcpStream> = (0..200).map(|_| service.connect()).collect();
    let open = || service.metric(r#"hello_birthday_http_connections{listener="public"}"#);
    wait_until("there is no place left", || (open() == 72.0).then_some(()));
    for born in ["1990-05-21", "1990-05-22", "1990-05-23"] {
        let body = format!(r#"{{"dateOfBirth":"{born}"}}"#);
        client.send("PUT", "/hello/John", &body).unwrap().expect_status(204);
    }
    assert_eq!(
        service.metric(r#"hello_birthday_http_accept_errors_total{listener="public"}"#),
        0.0
    );
}
