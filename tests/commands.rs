//! Commands that tests run, each with a timeout.

use std::process::{Command, Output};

/// No command takes longer, not even one that fetches packages.
const COMMAND_SECONDS_MAX: u32 = 1800;

/// A command that ends in time.
pub fn command(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.arg("--kill-after=10").arg(COMMAND_SECONDS_MAX.to_string()).arg(program);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// Runs `command`, which must succeed, and gives what it printed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `ip` with these words.
#[allow(dead_code, reason = "no test target needs all of it")]
pub fn ip(arguments: &str) {
    run(command("ip").args(arguments.split(' ')));
}

/// All that a command printed.
pub fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}", text(&output.stdout), text(&output.stderr))
}
