//! What the access log records of a request, and what it must not.

use serde_json::Value;

use crate::harness::{Service, exchange, wait_until};

const UUID: &str = "7f1d9c1e-8a86-4a51-9e2b-1f0a3c5d7e90";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ROOT: &str = "Root=1-67891233-abcdef012345678912345678";

/// The fields that a header may appear in.
const FIELDS: [&str; 3] = ["http.request_id", "traceparent", "amzn_trace_id"];

/// Sends `service` a request with `headers`, and returns its log line.
fn line_about(service: &Service, headers: &str) -> String {
    let about_requests = || {
        let log = service.log();
        // The last may not be whole yet.
        let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.filter(|line| line.contains("answered")).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = about_requests().len();
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    exchange(service.address, head.as_bytes()).expect_status(200);
    wait_until("the request is logged", || about_requests().into_iter().nth(before))
}

#[test]
fn the_access_log_keeps_the_ids_that_proxies_give_a_request() {
    let service = Service::start(&["--access-log"]);
    let trace = format!("Self=1-67891234-0123456789abcdef01234567;{ROOT}");
    let headers = format!(
        "X-Request-Id: {UUID}\r\ntraceparent: {TRACEPARENT}\r\nX-Amzn-Trace-Id: {trace}\r\n"
    );
    let line: Value = serde_json::from_str(&line_about(&service, &headers)).unwrap();
    assert_eq!(FIELDS.map(|field| line[field].as_str().unwrap()), [UUID, TRACEPARENT, &trace]);
    assert_eq!(line["http.status"], 200);

    let line: Value = serde_json::from_str(&line_about(&service, "")).unwrap();
    assert_eq!(FIELDS.map(|field| line.get(field)), [None; 3]);

    let service = Service::start(&["--access-log", "--log-format", "text"]);
    let line = line_about(&service, &headers);
    assert!([UUID, TRACEPARENT, &trace].iter().all(|id| line.contains(id)), "{line}");
}

#[test]
fn malformed_ids_are_not_logged() {
    let service = Service::start(&["--access-log"]);
    for name in ["X-Request-Id", "traceparent", "X-Amzn-Trace-Id"] {
        for value in [
            "Rumpelstiltskin",
            "Root=Rumpelstiltskin;Self=Rumpelstiltskin;Name=Rumpelstiltskin",
            "00-Rumpelstiltskin-Rumpelstiltskin-01",
            "0123456789abcdef\",\"http.route\":\"Rumpelstiltskin",
            "0123456789abcdef http.route=Rumpelstiltskin",
            &"0".repeat(4000),
        ] {
            let line = line_about(&service, &format!("{name}: {value}\r\n"));
            let fields: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(FIELDS.map(|field| fields.get(field)), [None; 3], "{name}: {value}");
            assert!(!line.contains("Rumpel") && line.len() < 400, "{line}");
        }
    }
    let called = format!("X-Amzn-Trace-Id: {ROOT};CalledFrom=Rumpelstiltskin\r\n");
    let line: Value = serde_json::from_str(&line_about(&service, &called)).unwrap();
    assert_eq!(line["amzn_trace_id"], ROOT);
    assert!(!service.log().contains("Rumpel"));
}
