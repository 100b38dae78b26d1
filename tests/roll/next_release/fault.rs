//! What is wrong with this release, where `FAULT` says that something is.

use std::thread::{available_parallelism, sleep, spawn};
use std::time::Duration;

/// How long all looks well, of a release that crashes and of one that is slow.
const CRASHES_AFTER: Duration = Duration::from_secs(60);
const SLOW_AFTER: Duration = Duration::from_secs(2);

/// How long a slow release keeps its event loops from all else, again and again.
const BLOCKS: Duration = Duration::from_secs(3);

/// Whether the instance never gets ready.
pub fn is_unready() -> bool {
    has("unready")
}

/// Lets the fault show, once it serves.
pub fn begin() {
    if has("crash") {
        spawn(|| {
            sleep(CRASHES_AFTER);
            std::process::abort();
        });
    }
    if has("slow") {
        // Enough of them that no event loop is free.
        for _ in 0..available_parallelism().map_or(1, |processors| processors.get()) {
            tokio::spawn(async {
                tokio::time::sleep(SLOW_AFTER).await;
                loop {
                    sleep(BLOCKS);
                    tokio::task::yield_now().await;
                }
            });
        }
    }
}

fn has(fault: &str) -> bool {
    std::env::var("FAULT").is_ok_and(|faults| faults == fault)
}
