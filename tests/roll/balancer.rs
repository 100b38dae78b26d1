//! The load balancer: HAProxy, as the Application Load Balancer of the cloud.
//!
//! It asks each instance whether it may get traffic, sends a request to who has the
//! fewest under way, tries none twice, and keeps connections to both sides.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{PATIENCE, wait_until};

/// A check begins this long after the one before: fifty times as often as in the cloud,
/// where a roll may take its minutes.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// A check without an answer has failed after this.
const CHECK_TIMEOUT: Duration = Duration::from_millis(500);

/// Checks in a row after which an instance gets traffic, and gets none.
const HEALTHY_CHECKS: u32 = 2;
const UNHEALTHY_CHECKS: u32 = 3;

/// Within this an instance that answers no more gets no more traffic.
pub const NOTICED_MAX: Duration = Duration::from_millis(
    UNHEALTHY_CHECKS as u64 * (CHECK_INTERVAL.as_millis() + CHECK_TIMEOUT.as_millis()) as u64,
);

/// How long an instance may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an instance may take to answer: a little longer than it takes at most.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);

/// Instances that it may know at once.
const TARGETS_MAX: usize = 8;

/// A running load balancer.
pub struct Balancer {
    child: Child,
    /// Where clients send their requests.
    pub address: SocketAddr,
    commands: PathBuf,
    free: Mutex<Vec<usize>>,
    _folder: TempDir,
}

/// An instance that was registered.
pub struct Target(usize);

/// What the balancer thinks of a target.
#[derive(Debug, PartialEq, Eq)]
pub enum Health {
    Healthy,
    Unhealthy,
}

impl Balancer {
    /// Starts a balancer that knows no instance.
    pub fn start() -> Balancer {
        let folder = TempDir::new().unwrap();
        let commands = folder.path().join("commands");
        let configuration = folder.path().join("haproxy.cfg");
        let servers: String = (0..TARGETS_MAX)
            .map(|place| format!("  server instance{place} 127.0.0.1:1 check port 1 disabled\n"))
            .collect();
        let text = format!(
            "global
  stats socket {commands} level admin
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect {connect}ms
  timeout client 60s
  timeout server {answer}ms
  timeout check {check_timeout}ms
  retries 0
frontend clients
  bind fd@3
  default_backend instances
backend instances
  balance leastconn
  option httpchk GET /readyz
  default-server inter {interval}ms rise {HEALTHY_CHECKS} fall {UNHEALTHY_CHECKS}
{servers}",
            commands = commands.display(),
            connect = CONNECT_TIMEOUT.as_millis(),
            answer = ANSWER_TIMEOUT.as_millis(),
            check_timeout = CHECK_TIMEOUT.as_millis(),
            interval = CHECK_INTERVAL.as_millis(),
        );
        fs::write(&configuration, text).unwrap();

        // It is given its socket, so that nobody takes the port before it does.
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let child = Command::new("sh")
            .args(["-c", "exec 3<&0 </dev/null; exec haproxy -q -db -f \"$0\""])
            .arg(&configuration)
            .stdin(OwnedFd::from(socket))
            .spawn()
            .unwrap();
        let free = Mutex::new((0..TARGETS_MAX).rev().collect());
        let mut balancer = Balancer { child, address, commands, free, _folder: folder };
        wait_until("HAProxy starts (on Debian: apt-get install haproxy)", || {
            let ended = balancer.child.try_wait().unwrap();
            assert!(ended.is_none(), "haproxy (on Debian: apt-get install haproxy): {ended:?}");
            UnixStream::connect(&balancer.commands).ok()
        });
        balancer
    }

    /// Makes an instance known. It gets traffic once it is found healthy.
    pub fn register(&self, address: SocketAddr, admin: SocketAddr) -> Target {
        let place = self.free.lock().unwrap().pop().expect("a free place");
        let (ip, port, admin) = (address.ip(), address.port(), admin.port());
        for setting in [
            format!("addr {ip} port {port}"),
            format!("check-port {admin}"),
            // Out of maintenance it would count as healthy unasked.
            "state drain".to_owned(),
            "health down".to_owned(),
            "state ready".to_owned(),
        ] {
            self.set(place, &setting);
        }
        Target(place)
    }

    /// Whether the target gets traffic by now.
    pub fn health(&self, target: &Target) -> Health {
        // As in "UP", or "UP 1/3" once a check has failed.
        match self.column("status")[target.0].split(' ').next() {
            Some("UP") => Health::Healthy,
            _ => Health::Unhealthy,
        }
    }

    /// How many instances have had requests, as long as no more than it may know at once
    /// were registered.
    pub fn instances_with_requests(&self) -> usize {
        self.column("stot").iter().filter(|requests| *requests != "0").count()
    }

    /// What its statistics say of each place.
    fn column(&self, column: &str) -> Vec<String> {
        let table = self.command("show stat");
        let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let head = lines.next().unwrap();
        let column = head.iter().position(|name| *name == column).unwrap();
        let places = lines.filter(|line| line.get(1).is_some_and(|it| it.starts_with("instance")));
        places.map(|line| line[column].to_owned()).collect()
    }

    /// Gives the instance no new request. Those under way go on.
    pub fn deregister(&self, target: &Target) {
        self.set(target.0, "state drain");
    }

    /// Knows the instance no more.
    pub fn forget(&self, target: Target) {
        self.set(target.0, "state maint");
        self.free.lock().unwrap().push(target.0);
    }

    fn set(&self, place: usize, setting: &str) {
        let answer = self.command(&format!("set server instances/instance{place} {setting}"));
        // It says what it changed of addresses, and nothing of the rest.
        let is_done = ["change", "updated"].iter().any(|done| answer.contains(done));
        let is_done = is_done || answer.trim().is_empty();
        assert!(is_done, "{setting}: {answer}");
    }

    fn command(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(&self.commands).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(stream, "{command}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
