//! A cache in front of the service: Varnish as it comes, which stores for two minutes what does
//! not forbid it.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use crate::harness::{Answer, PATIENCE, Service, new_folder, request, wait_until};

struct Varnish {
    child: Child,
    /// Where it listens.
    socket: PathBuf,
    _folder: Arc<TempDir>,
}

impl Varnish {
    fn before(service: &Service) -> Varnish {
        let folder = new_folder();
        let socket = folder.path().join("socket");
        let mut command = Command::new("varnishd");
        command.args(["-F", "-j", "none", "-T", "none", "-s", "default,8m"]);
        command.arg("-a").arg(&socket).arg("-b").arg(service.address.to_string());
        command.arg("-n").arg(folder.path().join("varnish"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("varnishd is installed");
        let varnish = Varnish { child, socket, _folder: folder };
        wait_until("Varnish answers", || varnish.try_ask("GET", "/openapi.json", "").ok());
        varnish
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.try_ask(method, path, body).unwrap()
    }

    fn try_ask(&self, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request(method, path, "Connection: close\r\n", body).as_bytes())?;
        Answer::read(&mut stream)
    }
}

impl Drop for Varnish {
    fn drop(&mut self) {
        // Its worker ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether it is from the cache: then the header has the id of the request that stored it too.
fn is_hit(answer: &Answer) -> bool {
    answer.header("x-varnish").unwrap().contains(' ')
}

#[test]
fn a_cache_hides_no_save_and_no_outage() {
    let service = Service::start(&["--today", "2025-05-20"]);
    let varnish = Varnish::before(&service);
    // It does store what it may.
    varnish.ask("GET", "/", "").expect_status(200);
    assert!(is_hit(&varnish.ask("GET", "/", "").expect_status(200)));

    varnish.ask("GET", "/hello/John", "").expect_status(404);
    let body = r#"{"dateOfBirth":"1990-05-20"}"#;
    varnish.ask("PUT", "/hello/John", body).expect_status(204);
    let answer = varnish.ask("GET", "/hello/John", "").expect_status(200);
    assert!(answer.body.contains("Happy birthday!"), "{}", answer.body);
    let body = r#"{"dateOfBirth":"1990-05-21"}"#;
    varnish.ask("PUT", "/hello/John", body).expect_status(204);
    let answer = varnish.ask("GET", "/hello/John", "").expect_status(200);
    assert!(answer.body.contains("in 1 day(s)"), "{}", answer.body);

    for path in ["/health", "/hello/J1", "/nothing"] {
        let first = varnish.ask("GET", path, "");
        let second = varnish.ask("GET", path, "").expect_status(first.status);
        assert!(!is_hit(&second), "{path}");
    }
}
