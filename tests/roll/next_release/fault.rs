//! What is wrong with this release, if `FAULT` says that something is.

use std::thread::{available_parallelism, sleep};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// Longer than the instance is left running.
const HANG: Duration = Duration::from_secs(600);

/// Whether the instance never gets ready.
pub fn is_unready() -> bool {
    has("unready")
}

/// Lets the fault show once SIGUSR1 comes.
pub fn begin() {
    let mut begin = signal(SignalKind::user_defined1()).expect("a signal");
    tokio::spawn(async move {
        begin.recv().await;
        if has("crash") {
            std::process::abort();
        }
        if has("hang") {
            // Enough of them that no event loop is free.
            for _ in 0..available_parallelism().map_or(1, |processors| processors.get()) {
                tokio::spawn(async { sleep(HANG) });
            }
        }
    });
}

fn has(fault: &str) -> bool {
    std::env::var("FAULT").is_ok_and(|faults| faults == fault)
}
