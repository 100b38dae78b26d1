//! Servers under measurement: processes of their own, watched from outside.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// No server takes longer to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
pub struct Server {
    child: Child,
    /// Where it serves.
    pub address: SocketAddr,
    /// From the start of the process to `READY=1`.
    pub ready_after: Duration,
}

impl Server {
    /// Starts `command`, which tells systemd's socket when and where it is ready.
    pub fn start(mut command: Command, folder: &Path) -> Server {
        let socket = folder.join("notify");
        let _ = fs::remove_file(&socket);
        let notifications = UnixDatagram::bind(&socket).expect("a socket in a new folder");
        notifications.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let began = Instant::now();
        let child = command
            .env("NOTIFY_SOCKET", &socket)
            .current_dir(folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut message = [0; 4096];
        loop {
            let length = notifications.recv(&mut message).expect("READY=1 in time");
            let ready_after = began.elapsed();
            let message = String::from_utf8_lossy(&message[..length]);
            if !message.lines().any(|line| line == "READY=1") {
                continue;
            }
            let address = message
                .split_once("serving on ")
                .and_then(|(_, rest)| rest.split([',', '\n']).next()?.parse().ok())
                .expect("the status names the address");
            return Server { child, address, ready_after };
        }
    }

    /// Seconds of processor time used so far.
    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.child.id())
    }

    /// MiB of memory in use now.
    pub fn resident_mib(&self) -> f64 {
        let status = self.read("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
        let kib: f64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
        kib / 1024.0
    }

    fn read(&self, file: &str) -> String {
        read(self.child.id(), file)
    }
}

/// Seconds of processor time that a process has used so far, in user and system mode.
pub fn cpu_seconds(process: u32) -> f64 {
    let stat = read(process, "stat");
    // The name, which may hold anything, ends with the last parenthesis.
    let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
    let ticks: f64 =
        fields.skip(11).take(2).map(|field| field.parse::<f64>().expect("ticks")).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

fn read(process: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{process}/{file}")).expect("it still runs")
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
