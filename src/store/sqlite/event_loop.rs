//! Lookups on the event loop, which saves the hand-over to a thread and back.

use std::time::Duration;

use tokio::time::Instant;

use super::file::DatabaseFile;
use super::pool::Connections;
use super::queries::{find_all, in_transaction};
use super::worker::WorkerThread;
use crate::domain::{DateOfBirth, Username};
use crate::store::batch::{Backend, BatchError};

/// How long a batch may hold up the event loop. One whose pages are in memory takes a few
/// microseconds for each request; one that must wait for a disk takes longer than this.
const FAST_BATCH_MAX: Duration = Duration::from_micros(500);

/// Fast batches in a row after which the event loop executes them again. A disk that was waited
/// for once will most likely be waited for again.
const FAST_BATCHES_MIN: u32 = 64;

/// Executes lookups on the event loop while they are fast, and on a thread while they are not.
pub(super) struct EventLoopReader {
    file: DatabaseFile,
    pool: r2d2::Pool<Connections>,
    thread: WorkerThread<Username, Option<DateOfBirth>>,
    fast: FastBatches,
}

/// How many batches in a row were fast.
struct FastBatches(u32);

impl EventLoopReader {
    pub fn new(
        file: DatabaseFile,
        pool: r2d2::Pool<Connections>,
        thread: WorkerThread<Username, Option<DateOfBirth>>,
    ) -> EventLoopReader {
        EventLoopReader { file, pool, thread, fast: FastBatches(FAST_BATCHES_MIN) }
    }

    /// `None` where that fails, or would have to wait for a lock or a connection.
    fn find_at_once(&self, usernames: &[Username]) -> Option<Vec<Option<DateOfBirth>>> {
        self.file.ensure_not_replaced().ok()?;
        let mut connection = self.pool.try_get()?;
        connection.failed = true;
        let found = match usernames {
            // A statement alone is a transaction.
            [_] => find_all(&connection.inner, usernames),
            _ => in_transaction(&connection.inner, |connection| find_all(connection, usernames)),
        };
        connection.failed = found.is_err();
        found.ok()
    }
}

impl Backend<Username, Option<DateOfBirth>> for EventLoopReader {
    async fn run(
        &mut self,
        usernames: Vec<Username>,
        deadline: Instant,
    ) -> Result<Vec<Option<DateOfBirth>>, BatchError> {
        let began = Instant::now();
        // The thread waits where that is needed, and tells why a batch fails.
        let at_once = if self.fast.are_enough() { self.find_at_once(&usernames) } else { None };
        let found = match at_once {
            Some(found) => Ok(found),
            None => self.thread.run(usernames, deadline).await,
        };
        self.fast.note(began.elapsed());
        found
    }

    async fn close(self) {
        self.thread.close().await;
    }
}

impl FastBatches {
    /// Whether the event loop may execute the next batch.
    fn are_enough(&self) -> bool {
        self.0 >= FAST_BATCHES_MIN
    }

    fn note(&mut self, elapsed: Duration) {
        self.0 = if elapsed <= FAST_BATCH_MAX { self.0.saturating_add(1) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_batch_sends_the_next_ones_to_the_thread() {
        let mut fast = FastBatches(FAST_BATCHES_MIN);
        fast.note(FAST_BATCH_MAX);
        assert!(fast.are_enough());
        fast.note(FAST_BATCH_MAX + Duration::from_micros(1));
        for _ in 0..FAST_BATCHES_MIN {
            assert!(!fast.are_enough());
            fast.note(FAST_BATCH_MAX);
        }
        assert!(fast.are_enough());
    }
}
