//! From the binary to a machine that serves: the units, the role, and an image made
//! with them that is booted and asked.
//!
//! The image is Debian's, made from this machine's own package sources, and boots its
//! own systemd in a container. That needs root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "of what starts the service by itself, the client is used")]
#[path = "../service/harness.rs"]
mod harness;
mod image;
mod machine;
#[path = "../service/openapi.rs"]
mod openapi;
#[path = "../static_binary.rs"]
mod static_binary;
#[expect(dead_code, reason = "here it is systemd that starts the service again")]
#[path = "../service/writers.rs"]
mod writers;

mod backup;
mod database;
mod lints;
mod packer;
mod role;
mod serving;
mod setbacks;
mod units;
mod verify;

use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

/// The database of a service that is started without a machine: none is.
fn database_url(_folder: &Path) -> Option<String> {
    None
}

/// No command takes longer, not even one that fetches packages.
const COMMAND_SECONDS_MAX: u32 = 600;

/// A command that ends in time.
fn command(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.arg("--kill-after=10").arg(COMMAND_SECONDS_MAX.to_string()).arg(program);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// Runs `command`, which must succeed, and gives what it printed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// All that a command printed.
fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}", text(&output.stdout), text(&output.stderr))
}

/// Asks each second until the answer is yes. For what takes its minutes by design.
fn wait_for(what: &str, limit: Duration, ask: impl Fn() -> bool) {
    let deadline = Instant::now() + limit;
    while !ask() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_secs(1));
    }
}
