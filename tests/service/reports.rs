//! Error reports, to an error tracker of the tests' own.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rusqlite::Connection;
use rustix::process::Signal;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sentry_types::protocol::v7::{Envelope, Event};
use tempfile::TempDir;

use crate::harness::{BINARY, PATIENCE, Service, new_folder, run, wait_until};

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

/// Accepts reports and answers each of them alike.
struct Tracker {
    address: SocketAddr,
    reports: Receiver<Report>,
}

struct Report {
    head: String,
    body: Vec<u8>,
}

impl Report {
    /// What an error tracker makes of it.
    fn event(&self) -> Event<'static> {
        let envelope = Envelope::from_slice(&self.body).expect("an envelope");
        envelope.event().expect("an event").clone()
    }
}

impl Tracker {
    fn start(answer: &'static str) -> Tracker {
        Tracker::start_with(answer, None)
    }

    /// Over TLS if there is a configuration for it.
    fn start_with(answer: &'static str, tls: Option<Arc<ServerConfig>>) -> Tracker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (received, reports) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let report = match &tls {
                    Some(config) => {
                        let connection = ServerConnection::new(config.clone()).unwrap();
                        serve(&mut StreamOwned::new(connection, stream), answer)
                    }
                    None => serve(&mut stream, answer),
                };
                // A client that does not trust the certificate sends none.
                if report.is_ok_and(|report| received.send(report).is_err()) {
                    return;
                }
            }
        });
        Tracker { address, reports }
    }

    fn dsn(&self) -> String {
        format!("http://hunter2@{}/42", self.address)
    }

    fn next(&self) -> Report {
        self.reports.recv_timeout(PATIENCE).expect("a report")
    }

    fn received(&self) -> usize {
        self.reports.try_iter().count()
    }
}

/// Reads a request and answers it.
fn serve(stream: &mut (impl Read + Write), answer: &str) -> std::io::Result<Report> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.split_once("content-length: ").unwrap().1.split_once("\r\n").unwrap().0;
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body)?;
    write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n")?;
    stream.flush()?;
    Ok(Report { head, body })
}

fn service(folder: &Arc<TempDir>, dsn: &str) -> Service {
    let mut command = Command::new(BINARY);
    command.env("HELLO_BIRTHDAY_SENTRY_DSN", dsn).arg("--sentry-environment=staging");
    Service::spawn(folder, command)
}

/// Makes all that `service` asks its database fail.
fn break_store(service: &Service) -> Connection {
    let outside = Connection::open(service.folder().path().join("hello-birthday.db")).unwrap();
    outside.execute_batch("alter table users rename to gone").unwrap();
    outside
}

fn outcome(service: &Service, outcome: &str) -> f64 {
    service.metric(&format!("hello_birthday_error_reports_total{{outcome=\"{outcome}\"}}"))
}

#[test]
fn a_failing_store_is_reported_once_with_its_place_and_without_what_was_asked() {
    let tracker = Tracker::start("200 OK");
    let service = service(&new_folder(), &tracker.dsn());
    service.save("Rumpelstiltskin", "1990-05-20");
    let outside = break_store(&service);
    for _ in 0..3 {
        service.get("/hello/Rumpelstiltskin").expect_status(503);
        service.put("/hello/Rumpelstiltskin", BORN).expect_status(503);
    }
    let reports = [tracker.next(), tracker.next()];
    let mut kinds = reports.each_ref().map(|report| report.event().tags["store.kind"].clone());
    kinds.sort();
    assert_eq!(kinds, ["read", "write"]);
    for report in &reports {
        assert!(report.head.starts_with("POST /api/42/envelope/ HTTP/1.1\r\n"), "{}", report.head);
        assert!(report.head.contains("sentry_version=7"), "{}", report.head);
        assert!(report.head.contains("sentry_key=hunter2"), "{}", report.head);
        let event = report.event();
        let [version, commit] = [env!("CARGO_PKG_VERSION"), env!("HELLO_BIRTHDAY_COMMIT")];
        assert_eq!(event.release.unwrap(), format!("hello-birthday@{version}+{commit}"));
        assert_eq!(event.environment.as_deref(), Some("staging"));
        let exception = &event.exception[0];
        assert_eq!(exception.value.as_deref(), Some("the store fails"));
        let frame = &exception.stacktrace.as_ref().unwrap().frames[0];
        assert!(frame.filename.as_ref().unwrap().starts_with("src/store/"));
        assert!(frame.lineno.is_some());
        let body = String::from_utf8_lossy(&report.body);
        for private in ["Rumpel", "1990", "users", "hunter2", ".db"] {
            assert!(!body.contains(private), "{private} is in {body}");
        }
    }
    wait_until("both are counted", || (outcome(&service, "sent") == 2.0).then_some(()));

    // It fails again, within a minute.
    outside.execute_batch("alter table gone rename to users").unwrap();
    service.save("Rumpelstiltskin", "1990-05-20");
    outside.execute_batch("alter table users rename to gone").unwrap();
    service.put("/hello/Rumpelstiltskin", BORN).expect_status(503);
    wait_until("it is counted", || (outcome(&service, "suppressed") >= 1.0).then_some(()));
    assert_eq!(tracker.received(), 0);
    assert!(!service.log().contains("hunter2"));
}

#[test]
fn nothing_is_reported_without_a_dsn() {
    let service = Service::start(&[]);
    let _outside = break_store(&service);
    service.get("/hello/John").expect_status(503);
    service.wait_for_log("the store fails");
    let metrics = service.ask_admin("/metrics").body;
    assert!(!metrics.contains("hello_birthday_error_reports"), "{metrics}");
}

#[test]
fn a_failed_start_is_reported_before_the_process_exits() {
    let tracker = Tracker::start("200 OK");
    let folder = new_folder();
    fs::write(folder.path().join("dsn"), format!("{}\n", tracker.dsn())).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["--database-url", "sqlite:/missing/users.db", "--sentry-dsn-file", "dsn"]);
    command.current_dir(folder.path());
    let (status, _, error) = run(command);
    assert_eq!(status.code(), Some(1), "{error}");
    let event = tracker.next().event();
    assert_eq!(event.environment.as_deref(), Some("production"));
    assert_eq!(event.exception[0].ty, "service failure");
    assert_eq!(event.tags["store.cause"], "the folder is inaccessible");
}

#[test]
fn reports_go_over_tls_to_a_tracker_that_the_machine_trusts() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let tracker = Tracker::start_with("200 OK", Some(Arc::new(config)));
    let folder = new_folder();
    let [trusted, other] = ["trusted.pem", "other.pem"].map(|name| folder.path().join(name));
    fs::write(&trusted, cert.pem()).unwrap();
    let stranger = generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert;
    fs::write(&other, stranger.pem()).unwrap();
    let start = |authorities| {
        let mut command = Command::new(BINARY);
        let dsn = format!("https://hunter2@localhost:{}/42", tracker.address.port());
        // As those who run a private certificate authority do.
        command.env("SSL_CERT_FILE", authorities).env("SENTRY_DSN", dsn);
        command.env("SENTRY_ENVIRONMENT", "staging");
        let service = Service::spawn(&new_folder(), command);
        drop(break_store(&service));
        service.get("/hello/John").expect_status(503);
        service
    };
    let service = start(&trusted);
    let event = tracker.next().event();
    assert_eq!(event.environment.as_deref(), Some("staging"));
    wait_until("it is counted", || (outcome(&service, "sent") == 1.0).then_some(()));

    let service = start(&other);
    wait_until("it fails", || (outcome(&service, "failed") == 1.0).then_some(()));
    service.wait_for_log("cannot report an error");
    assert_eq!(tracker.received(), 0);
}

#[test]
fn a_tracker_that_hangs_refuses_or_is_away_changes_nothing() {
    // The kernel accepts, and nobody answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = Tracker::start("403 Forbidden");
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [hanging.local_addr().unwrap(), refusing.address, away] {
        let mut service = service(&new_folder(), &format!("http://hunter2@{address}/42"));
        service.save("John", "1990-05-20");
        let outside = break_store(&service);
        service.get("/hello/John").expect_status(503);
        outside.execute_batch("alter table gone rename to users").unwrap();
        service.get("/hello/John").expect_status(200);
        if address != hanging.local_addr().unwrap() {
            wait_until("it fails", || (outcome(&service, "failed") == 1.0).then_some(()));
        }
        service.signal(Signal::TERM);
        assert!(service.wait().success(), "{}", service.log());
        assert!(!service.log().contains("hunter2"), "{}", service.log());
    }
}

#[test]
fn a_tracker_that_asks_for_a_pause_gets_one() {
    let tracker = Tracker::start("429 Too Many Requests\r\nretry-after: 3600");
    let service = service(&new_folder(), &tracker.dsn());
    let _outside = break_store(&service);
    service.get("/hello/John").expect_status(503);
    tracker.next();
    wait_until("it is counted", || (outcome(&service, "suppressed") == 1.0).then_some(()));
    service.put("/hello/John", BORN).expect_status(503);
    wait_until("it is not sent", || (outcome(&service, "suppressed") == 2.0).then_some(()));
    assert_eq!(tracker.received(), 0);
}

#[test]
fn a_text_that_is_no_dsn_is_a_usage_error_and_is_not_quoted() {
    let folder = new_folder();
    let file = folder.path().join("dsn");
    fs::write(&file, "https://hunter2\n").unwrap();
    let file = file.display().to_string();
    for (flag, complaint) in [
        ("--sentry-dsn=https://hunter2@host", "--sentry-dsn: not a Sentry DSN"),
        (&format!("--sentry-dsn-file={file}"), "not a Sentry DSN"),
        ("--sentry-dsn-file=/missing", "/missing: No such file"),
    ] {
        let mut command = Command::new(BINARY);
        command.arg(flag);
        let (status, _, error) = run(command);
        assert_eq!(status.code(), Some(2), "{flag}: {error}");
        assert!(error.contains(complaint), "{flag}: {error}");
        assert!(!error.contains("hunter2"), "{flag}: {error}");
    }
}

#[test]
fn reports_that_wait_are_sent_while_the_service_drains() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dsn = format!("http://hunter2@{}/42", listener.local_addr().unwrap());
    let mut service = service(&new_folder(), &dsn);
    drop(break_store(&service));
    service.get("/hello/John").expect_status(503);
    // The tracker is slow, so the report is on its way when the service stops.
    service.signal(Signal::TERM);
    service.wait_for_log("draining in-flight requests");
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    serve(&mut stream, "200 OK").unwrap().event();
    assert!(service.wait().success(), "{}", service.log());
}
