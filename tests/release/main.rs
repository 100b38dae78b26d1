//! The binary that is shipped: one file that needs nothing beside it.

#[path = "../cargo.rs"]
mod cargo;
#[path = "../patience.rs"]
mod patience;
#[path = "../static_binary.rs"]
mod static_binary;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use patience::PATIENCE;
use static_binary::BINARY;

const BINARY_BYTES_MAX: u64 = 17 * 1024 * 1024 / 2;

#[test]
fn it_is_at_most_8_and_a_half_mib() {
    let bytes = fs::metadata(&*BINARY).expect("the binary is there").len();
    println!("static binary: {:.1} MiB", bytes as f64 / 1024.0 / 1024.0);
    assert!(bytes <= BINARY_BYTES_MAX, "{bytes} bytes");
}

#[test]
fn it_is_linked_statically() {
    let output = Command::new("ldd").arg(&*BINARY).output().expect("ldd comes with libc");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("statically linked") || said.contains("not a dynamic executable"),
        "{said}"
    );
}

#[test]
fn it_serves_in_an_empty_root() {
    let root = TempDir::new().expect("a folder");
    fs::copy(&*BINARY, root.path().join("hello-birthday")).expect("a copy");
    let log = root.path().join("log");
    let mut service = Running(start(root.path(), &log));
    let address = wait_for_address(&mut service.0, &log);

    let put = "PUT /hello/John HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
               Content-Length: 28\r\n\r\n{\"dateOfBirth\":\"1990-05-20\"}";
    assert!(exchange(&address, put).starts_with("HTTP/1.1 204 "));
    let get = "GET /hello/John HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(&address, get);
    assert!(answer.ends_with(r#"{"message":"Hello, John! Happy birthday!"}"#), "{answer}");

    assert!(root.path().join("users.db").exists());
}

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(root: &Path, log: &Path) -> Child {
    Command::new("unshare")
        .args(["--user", "--map-root-user", "chroot"])
        .arg(root)
        .arg("/hello-birthday")
        .args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
        // The zone data is in the binary too.
        .args(["--time-zone=Europe/Paris", "--today=2025-05-20"])
        .arg("--database-url=sqlite:/users.db")
        .stderr(File::create(log).expect("a file"))
        .spawn()
        .expect("unshare comes with every Linux")
}

fn wait_for_address(service: &mut Child, log: &Path) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = fs::read_to_string(log).expect("the log");
        if let Some((_, rest)) = said.split_once("serving on ") {
            return rest.split(',').next().expect("an address").to_owned();
        }
        let ended = service.try_wait().expect("a child");
        assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {said}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn exchange(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}
