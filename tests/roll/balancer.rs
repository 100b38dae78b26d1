//! The load balancer: HAProxy in the role of the cloud's Application Load Balancer.
//!
//! It checks every instance's readiness, sends a request to the instance with the fewest
//! in flight, retries none, and keeps connections to clients and instances open.

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

/// Instances that can be registered at once.
const TARGETS_MAX: usize = 8;

/// What the balancer waits for, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From one check of a healthy instance to the next. A check may also take this long to
    /// connect.
    pub check_interval: Duration,
    /// The answer to a check.
    pub check: Duration,
    pub connect: Duration,
    /// The answer to a request.
    pub answer: Duration,
}

/// A busy machine does not make a healthy instance miss these, three times in a row. A
/// refused connection is noticed at once all the same.
pub const UNHURRIED: Timeouts = Timeouts {
    check_interval: Duration::from_secs(1),
    check: Duration::from_secs(4),
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(15),
};

/// A running load balancer.
pub struct Balancer {
    child: Child,
    /// Where clients send their requests.
    pub address: SocketAddr,
    commands: PathBuf,
    free: Mutex<Vec<usize>>,
    _folder: TempDir,
}

/// A registered instance.
pub struct Target(usize);

/// What the balancer thinks of a target.
#[derive(Debug, PartialEq, Eq)]
pub enum Health {
    /// It gets traffic.
    Healthy,
    /// It answers, but that it is not ready.
    NotReady,
    /// It was not asked yet, or does not answer.
    Unhealthy,
}

impl Balancer {
    /// Starts a balancer without instances.
    #[allow(dead_code, reason = "some choose their timeouts")]
    pub fn start() -> Balancer {
        Balancer::start_with(UNHURRIED)
    }

    /// Starts a balancer with other timeouts.
    pub fn start_with(timeouts: Timeouts) -> Balancer {
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
  timeout check {check}ms
  retries 0
frontend clients
  bind fd@3
  default_backend instances
backend instances
  balance leastconn
  option httpchk GET /readyz
  default-server inter {interval}ms fastinter 100ms downinter 100ms rise 2 fall 3
{servers}",
            commands = commands.display(),
            connect = timeouts.connect.as_millis(),
            answer = timeouts.answer.as_millis(),
            check = timeouts.check.as_millis(),
            interval = timeouts.check_interval.as_millis(),
        );
        fs::write(&configuration, text).unwrap();

        // It inherits its socket, so that no other process takes the port first.
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let child = Command::new("sh")
            .args(["-c", "exec 3<&0 </dev/null; exec haproxy -q -db -f \"$0\""])
            .arg(&configuration)
            .stdin(OwnedFd::from(socket))
            .spawn()
            .unwrap();
        let free = Mutex::new((0..TARGETS_MAX).collect());
        let mut balancer = Balancer { child, address, commands, free, _folder: folder };
        wait_until("HAProxy starts (on Debian: apt-get install haproxy)", || {
            let ended = balancer.child.try_wait().unwrap();
            assert!(ended.is_none(), "haproxy (on Debian: apt-get install haproxy): {ended:?}");
            UnixStream::connect(&balancer.commands).ok()
        });
        balancer
    }

    /// Registers an instance. It gets traffic once it is found healthy.
    pub fn register(&self, address: SocketAddr, admin: SocketAddr) -> Target {
        let place = self.free.lock().unwrap().remove(0);
        let (ip, port, admin) = (address.ip(), address.port(), admin.port());
        for setting in [
            format!("addr {ip} port {port}"),
            format!("check-port {admin}"),
            // Out of maintenance it would count as healthy without a check.
            "state drain".to_owned(),
            "health down".to_owned(),
            "state ready".to_owned(),
        ] {
            self.set(place, &setting);
        }
        Target(place)
    }

    /// Whether the target gets traffic by now, and why not.
    pub fn health(&self, target: &Target) -> Health {
        let is = |column, word| self.column(column)[target.0].split(' ').any(|it| it == word);
        // As in "UP", or "UP 1/3" once a check has failed.
        if is("status", "UP") {
            Health::Healthy
        } else if is("check_status", "L7STS") {
            Health::NotReady
        } else {
            Health::Unhealthy
        }
    }

    /// How many instances have had requests, as long as no more than [`TARGETS_MAX`] were
    /// ever registered.
    pub fn instances_with_requests(&self) -> usize {
        self.column("stot").iter().filter(|requests| *requests != "0").count()
    }

    /// How often instances were taken out because they failed checks.
    pub fn times_taken_out(&self) -> usize {
        self.column("chkdown").iter().map(|times| times.parse::<usize>().unwrap_or(0)).sum()
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

    /// Sends the instance no new request. Those in flight go on.
    pub fn deregister(&self, target: &Target) {
        self.set(target.0, "state drain");
    }

    /// Waits until the instance has no request in flight.
    pub fn wait_until_idle(&self, target: &Target) {
        wait_until("the last request is answered", || {
            (self.column("scur")[target.0] == "0").then_some(())
        });
    }

    /// Removes the instance.
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
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
