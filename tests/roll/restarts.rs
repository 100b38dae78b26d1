//! Restarts on one host, whose sockets are systemd's: requests wait there meanwhile.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::alone;
use crate::harness::{BINARY, Service, new_folder, random};
use crate::load::{Load, Manner, TODAY};

const RESTARTS: usize = 50;

#[test]
fn fifty_restarts_refuse_and_fail_no_request() {
    let _alone = alone();
    let folder = new_folder();
    let sockets = ["127.0.0.1:0"; 2].map(|address| TcpListener::bind(address).unwrap());
    let mut service = start(&folder, &sockets);
    let load = Load::start(service.address, Manner::Strict);
    for _ in 0..RESTARTS {
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(20 + random(80)));
        service.stop();
        service = start(&folder, &sockets);
    }
    let seen = load.stop();
    println!("{RESTARTS} restarts: {seen}");
    seen.expect_no_failure();
    seen.expect_nothing_lost([service.address]);
    service.stop();
}

/// Passes sockets as systemd does: from descriptor 3 on (sd_listen_fds(3)). A shell
/// moves them there, and is then replaced by the service.
fn start(folder: &Arc<TempDir>, [public, admin]: &[TcpListener; 2]) -> Service {
    let descriptor = |socket: &TcpListener| OwnedFd::from(socket.try_clone().unwrap());
    let script = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", BINARY, "--today", TODAY]);
    command.stdin(descriptor(public)).stdout(descriptor(admin));
    Service::spawn(folder, command)
}
