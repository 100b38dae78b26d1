//! How long the store has not answered this instance.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When batches of any kind were tried and succeeded.
pub(super) struct Outage(Mutex<Batches>);

struct Batches {
    /// Those that have started and not ended. One that hangs neither succeeds nor fails.
    running: usize,
    /// Since when batches have been tried without success; `None` while none is tried.
    tried: Option<Instant>,
    succeeded: Instant,
}

impl Outage {
    /// No outage.
    pub fn new() -> Outage {
        Outage(Mutex::new(Batches { running: 0, tried: None, succeeded: Instant::now() }))
    }

    /// Records that a batch started at `start`.
    pub fn record_start(&self, start: Instant) {
        let mut batches = self.batches();
        batches.running += 1;
        batches.tried.get_or_insert(start);
    }

    /// Records that a batch ended at `end`, and whether it answered anyone in time.
    pub fn record_end(&self, end: Instant, is_success: bool) {
        let mut batches = self.batches();
        batches.running -= 1;
        if is_success {
            batches.succeeded = end;
            batches.tried = (batches.running > 0).then_some(end);
        }
    }

    /// How long batches have been tried without success.
    pub fn duration(&self) -> Duration {
        self.batches().tried.map_or(Duration::ZERO, |tried| tried.elapsed())
    }

    /// Time since the last success.
    pub fn since_success(&self) -> Duration {
        self.batches().succeeded.elapsed()
    }

    fn batches(&self) -> MutexGuard<'_, Batches> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
