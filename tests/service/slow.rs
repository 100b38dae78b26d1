//! Slow clients: they are waited for as long as the limits allow, then cut off, and delay
//! no other client.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use jiff::fmt::rfc2822;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::harness::{
    Answer, Client, PATIENCE, Service, exchange, read_answers, read_to_end, request, value,
    wait_until,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const SLOW_HEADS: &str =
    r#"hello_birthday_http_connections_timed_out_total{listener="public",phase="head"}"#;
const SHED_REQUESTS: &str = r#"hello_birthday_http_requests_shed_total{listener="public"}"#;
const SLOW_BODIES: &str =
    r#"hello_birthday_http_requests_total{method="PUT",route="/hello/{username}",status="408"}"#;
const SLOW_ANSWERS: &str =
    r#"hello_birthday_http_connections_timed_out_total{listener="public",phase="response"}"#;
const OPEN: &str = r#"hello_birthday_http_connections{listener="public"}"#;

/// Slow clients are given 10 s; half of it allows for the coarse clock that connections are
/// measured by, and which a busy machine delays.
const GIVEN_MIN: Duration = Duration::from_secs(5);

#[test]
fn a_request_at_a_byte_per_second_times_out() {
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

/// Responses to requests that reach no handler.
#[test]
fn a_response_written_without_hyper_has_the_headers_of_others() {
    allow_many_files();
    let service = Service::start(&[]);
    let not_found = request("GET", "/nowhere", "Connection: close\r\n", "");
    let others = || exchange(service.address, not_found.as_bytes()).expect_status(404);
    let date = |answer: &Answer| rfc2822::parse(answer.header("date").expect("a date")).unwrap();
    let before = others();
    let expect_headers = |mut stream: TcpStream, status, what| {
        let answer = Answer::parse(read_to_end(&mut stream)).expect_problem(status, what);
        for (name, _) in &before.headers {
            assert!(answer.header(name).is_some(), "{status}: no {name} in {answer:?}");
        }
        let dates = [&before, &answer, &others()].map(date);
        assert!(dates.is_sorted(), "{status}: {dates:?}");
        assert_eq!(answer.header("connection"), Some("close"));
    };
    let send = |bytes: &str| {
        let mut stream = service.connect();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream
    };

    // Requests of 15 KiB whose bodies do not come are handled until the time for these is over.
    let padding = format!("X: {}\r\n", "x".repeat(15 * 1024));
    let large = request("PUT", "/hello/John", &padding, " ");
    let [head, half_a_head] = [" ", "\r\n\r\n "].map(|end| large.strip_suffix(end).unwrap());
    for (start, clients, status, what) in [
        (head, 600, 503, "too many large requests"),
        (half_a_head, 1200, 408, "too many incomplete requests"),
    ] {
        let streams = (0..clients).map(|_| send(start)).collect();
        expect_headers(first_that_is_told(streams, what), status, what);
    }
    expect_headers(send("G"), 408, "head of the request");
}

/// The first of these whose answer says `what`.
fn first_that_is_told(mut streams: Vec<TcpStream>, what: &str) -> TcpStream {
    for stream in &streams {
        stream.set_nonblocking(true).unwrap();
    }
    let is_told = |stream: &TcpStream| {
        let mut answer = [0; 1024];
        let length = stream.peek(&mut answer).unwrap_or(0);
        String::from_utf8_lossy(&answer[..length]).contains(what)
    };
    let first = wait_until(what, || streams.iter().position(is_told));
    let stream = streams.swap_remove(first);
    stream.set_nonblocking(false).unwrap();
    stream
}

/// Without a bound they would take 130 to 210 MiB.
#[test]
fn unfinished_requests_of_5000_clients_leave_the_service_below_128_mib() {
    const CLIENTS: usize = 5000;
    const UNFINISHED_BYTES_MAX: usize = 16 * 1024 * 1024;
    allow_many_files();
    let header = format!("X: {}", "x".repeat(12 * 1024));
    let body = " ".repeat(8000);
    let put = "PUT /hello/John HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8192\r\n";
    for start in [
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{header}"),
        format!("{GET}GET / HTTP/1.1\r\nHost: localhost\r\n{header}"),
        format!("{put}\r\n{body}"),
        format!("{put}{header}\r\n\r\n{body}"),
    ] {
        let service = Service::start(&[]);
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut stream = service.connect();
            stream.write_all(start.as_bytes()).unwrap();
            clients.push(stream);
        }
        let shed_min = CLIENTS - UNFINISHED_BYTES_MAX / (start.len() - GET.len());
        wait_until("enough are cut off", || {
            let metrics = service.ask_admin("/metrics").expect_status(200).body;
            assert_eq!(value(&metrics, SLOW_ANSWERS), 0.0);
            // On a slow machine some may time out first.
            let cut_off = [SHED_REQUESTS, SLOW_HEADS, SLOW_BODIES].map(|it| value(&metrics, it));
            (cut_off.iter().sum::<f64>() >= shed_min as f64).then_some(())
        });
        let oldest = read_answers(&mut clients[0]).pop().expect("an answer");
        assert_eq!(oldest.header("connection"), Some("close"));
        oldest.expect_status(408);
        service.get("/").expect_status(200);
        let peak = memory_kib(&service, "VmHWM") / 1024;
        println!("{peak} MiB");
        assert!(peak < 128, "{peak} MiB");
    }
}

#[test]
fn heads_that_have_begun_take_little_memory() {
    const CLIENTS: usize = 5000;
    allow_many_files();
    let service = Service::start(&[]);
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| service.connect()).collect();
    for start in ["G", "ET / HT"] {
        for client in &mut clients {
            client.write_all(start.as_bytes()).unwrap();
        }
    }
    wait_until("all are open", || (service.metric(OPEN) >= CLIENTS as f64).then_some(()));
    // What was sent before has been read by then.
    let rest = GET.strip_prefix("GET / HT").unwrap();
    for client in clients.iter_mut().rev().take(10) {
        client.write_all(rest.as_bytes()).unwrap();
        Answer::read(client).unwrap().expect_status(200);
    }
    // With hyper's buffers it is 130 MiB.
    let peak = memory_kib(&service, "VmHWM") / 1024;
    println!("{peak} MiB");
    assert!(peak < 64, "{peak} MiB");
}

#[test]
fn a_body_sent_byte_by_byte_takes_no_more_memory_than_another() {
    const PIECES: usize = 2000;
    let service = Service::start(&[]);
    let before = memory_kib(&service, "VmRSS");
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
        // It is served after the service has read all bytes sent before its request.
        other.send("GET", "/", "").unwrap().expect_status(200);
    }
    let more = memory_kib(&service, "VmRSS").saturating_sub(before);
    assert!(more < 8 * 1024, "{more} KiB more for {} bytes", PIECES * streams.len());
}

fn allow_many_files() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
}

/// KiB of memory: `VmRSS` is the current size, `VmHWM` the peak.
fn memory_kib(service: &Service, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Sends a byte per second until there is an answer, and returns how long that took. Other
/// clients must be served meanwhile.
fn send_a_byte_a_second(service: &Service, stream: &mut TcpStream, bytes: &[u8]) -> Duration {
    let began = Instant::now();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    for byte in bytes {
        stream.write_all(&[*byte]).unwrap();
        service.get("/").expect_status(200);
        // Waits for an answer during the pause between two bytes.
        if let Ok(length) = stream.peek(&mut [0]) {
            assert_eq!(length, 1, "closed without an answer");
            break;
        }
    }
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    began.elapsed()
}

#[test]
fn a_client_that_reads_no_responses_is_cut_off() {
    let service = Service::start(&[]);
    let requests = GET.replace("GET /", "GET /openapi.json").repeat(1000);
    let mut stream = service.connect();
    let began = Instant::now();
    // Blocks once the buffers of both sides are full, until the server closes.
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
