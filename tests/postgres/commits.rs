//! A client of the database itself, which tells how long nobody could have saved, whatever the
//! service does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::cluster::can_commit;

/// Between two attempts, each of which starts a process: often enough for a time of seconds.
const PAUSE: Duration = Duration::from_millis(100);

/// Commits that are attempted again and again, each on a connection of its own.
pub struct Commits {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Commits {
    /// Attempts them in `database`, a URL or what else libpq takes.
    pub fn start(database: String) -> Commits {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let (mut longest, mut last) = (Duration::ZERO, Instant::now());
            loop {
                let is_last = stopped.load(Ordering::Relaxed);
                let has_committed = can_commit(&database);
                longest = longest.max(last.elapsed());
                if has_committed {
                    last = Instant::now();
                }
                if is_last {
                    return longest;
                }
                thread::sleep(PAUSE);
            }
        });
        Commits { stop, thread }
    }

    /// The longest time without a commit.
    pub fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
