//! The checks of `tests/smoke`, run on the real binary and on broken services.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rusqlite::Connection;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::harness::{PATIENCE, Service};

/// In order, as they are printed.
const CHECKS: [&str; 12] = [
    "greets the world",
    "is healthy",
    "offers the methods that it describes",
    "saves a date",
    "greets the saved user",
    "answers head without a body",
    "answers 404 for an unknown user",
    "refuses invalid dates",
    "refuses invalid names",
    "refuses invalid json",
    "lists the methods in allow",
    "does not serve admin paths",
];

#[test]
fn every_check_of_the_smoke_test_holds_of_this_service() {
    let service = Service::start(&[]);
    for _ in 0..2 {
        let output = smoke(&format!("http://{}", service.address)).output().unwrap();
        let expected: String = CHECKS.iter().map(|check| format!("ok   {check}\n")).collect();
        assert_eq!(told(&output), expected);
        assert!(output.status.success());
    }
    // It leaves one user behind.
    let file = service.folder().path().join("hello-birthday.db");
    let users = Connection::open(file).unwrap();
    let users: Vec<(String, String)> = users
        .prepare("select username, cast(date_of_birth as text) from users")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(users.len(), 1, "{users:?}");
    assert_eq!(users[0].0, "hellobirthdaysmoketest");
}

#[test]
fn the_days_to_the_birthday_are_checked() {
    // To the smoke test it is another day than to this service.
    let service = Service::start(&["--today", "2001-06-01"]);
    let output = smoke(&format!("http://{}", service.address)).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let failed: Vec<_> =
        told(&output).lines().filter(|line| line.starts_with("FAIL")).map(str::to_owned).collect();
    assert_eq!(failed, ["FAIL greets the saved user: the days to the birthday are wrong"]);
}

#[test]
fn no_check_holds_of_a_service_that_is_broken() {
    for (answer, reason) in [
        ("HTTP/1.1 503 -\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "status 503"),
        ("HTTP/1.1 200 -\r\nContent-Length: 9\r\nConnection: close\r\n\r\ncut", ""),
        ("SSH-2.0-OpenSSH_9.2\r\n", "no answer"),
        ("", "no answer"),
    ] {
        let address = stub(answer);
        let output = smoke(&format!("http://{address}")).output().unwrap();
        let told = told(&output);
        assert_eq!(output.status.code(), Some(1), "{answer}: {told}");
        for (line, check) in told.lines().zip(CHECKS) {
            let start = format!("FAIL {check}: ");
            assert!(line.starts_with(&start) && line.contains(reason), "{answer}: {line}");
        }
        assert_eq!(told.lines().count(), CHECKS.len());
    }
}

#[test]
fn a_service_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut smoke = smoke(&format!("http://{address}"));
    let output = smoke.env_remove("SMOKE_SECONDS").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(told(&output).matches("10 s were over").count(), CHECKS.len(), "{}", told(&output));
}

#[test]
fn over_tls_the_certificate_and_the_redirect_are_checked_too() {
    let service = Service::start(&[]);
    let redirect = stub(
        "HTTP/1.1 301 -\r\nLocation: https://localhost:443/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    let folder = TempDir::new().unwrap();
    for (days, redirects, failed) in [
        (90, redirect, &[][..]),
        (13, redirect, &["FAIL has a certificate that lasts: it ends in "][..]),
        (90, service.address, &["FAIL redirects http to https: status 200"][..]),
    ] {
        let (authority, address) = terminator(&folder, days, service.address);
        let mut smoke = smoke(&format!("https://localhost:{}", address.port()));
        // What is asked of port 80 goes by way of this.
        smoke.env("SSL_CERT_FILE", authority).env("http_proxy", format!("http://{redirects}"));
        let output = smoke.output().unwrap();
        let told = told(&output);
        let failures: Vec<_> = told.lines().filter(|line| line.starts_with("FAIL")).collect();
        assert_eq!(failures.len(), failed.len(), "{told}");
        for (line, start) in failures.iter().zip(failed) {
            assert!(line.starts_with(start), "{told}");
        }
        assert_eq!(told.lines().count(), CHECKS.len() + 2);
    }
    // A certificate of an authority that nobody trusts.
    let (_, address) = terminator(&folder, 90, service.address);
    let output = smoke(&format!("https://localhost:{}", address.port())).output().unwrap();
    assert!(!told(&output).contains("ok   "), "{}", told(&output));
}

#[test]
fn it_takes_one_url() {
    for arguments in [&[][..], &["localhost"], &["http://a/path"], &["ftp://a"], &["http://a", "b"]]
    {
        let mut smoke = smoke("");
        let output = Command::new(smoke.get_program()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(smoke.arg("--help").output().unwrap().status.success());
    }
}

fn smoke(url: &str) -> Command {
    let mut smoke = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/smoke"));
    for name in ["http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        smoke.env_remove(name).env_remove(name.to_uppercase());
    }
    // But for one test, a slow machine is no service that is broken.
    smoke.arg(url).env("SMOKE_SECONDS", PATIENCE.as_secs().to_string());
    smoke
}

fn told(output: &Output) -> String {
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Answers every connection with this.
fn stub(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // So that it is not reset before it has been read.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// Ends TLS as a load balancer does, with a certificate for so many days; gives the file of its
/// authority.
fn terminator(folder: &TempDir, days: i64, to: SocketAddr) -> (PathBuf, SocketAddr) {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new([]).unwrap();
    // Or its name would be that of all others, and OpenSSL would take each for its own issuer.
    authority.distinguished_name.push(DnType::CommonName, "authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let file = folder.path().join("authority.pem");
    fs::write(&file, authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    let own = KeyPair::generate().unwrap();
    let mut certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let end = date_time_ymd(1970, 1, 1) + Duration::from_secs((now + days * 86400) as u64);
    certificate.not_after = end;
    let certificate = certificate.signed_by(&own, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der()));
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Those who do not trust it say so and go.
            let _ = pass_on(&config, stream.unwrap(), to);
        }
    });
    (file, address)
}

/// Passes one request on, and its answer back.
fn pass_on(config: &Arc<ServerConfig>, client: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let connection = ServerConnection::new(Arc::clone(config)).unwrap();
    let mut client = StreamOwned::new(connection, client);
    let mut request = Vec::new();
    // Urllib sends the head and the body of a request in turn, and asks to close.
    let mut buffer = [0; 4096];
    loop {
        let read = client.read(&mut buffer)?;
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if read == 0 {
            return Ok(());
        }
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
            break;
        }
    }
    let mut service = TcpStream::connect(to)?;
    service.write_all(&request)?;
    let mut answer = Vec::new();
    service.read_to_end(&mut answer)?;
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}
