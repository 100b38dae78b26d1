//! Lookups on the event loop, which saves the hand-over to a thread and back.

use std::time::Duration;

use tokio::time::Instant;

use super::file::DatabaseFile;
use super::pool::Connections;
use super::queries::{find_all, in_transaction};
use super::worker::WorkerThread;
use crate::domain::{DateOfBirth, Username};
use crate::store::batch::{Backend, BatchError};

/// A batch that held up the event loop for longer had most likely to wait for a disk. One whose
/// pages are in memory takes about a microsecond for each request. That a lookup waits is known
/// only afterwards: a disk that stalls holds up the event loop once, for as long as it stalls.
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
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;

    use jiff::civil::date;
    use rusqlite::Connection;
    use tempfile::TempDir;
    use tokio::join;
    use tokio::sync::Mutex;
    use tokio::time::advance;

    use super::super::journal::JournalChoice;
    use super::super::pool::{Connector, LockWait};
    use super::super::worker::{Begin, BlockingBackend};
    use super::*;
    use crate::store::database_url::SqliteUrl;
    use crate::store::schema::Migrate;

    /// Longer than anything takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// On a stopped clock only what advances it is slow.
    const SLOW: Duration = FAST_BATCH_MAX.saturating_add(Duration::from_micros(1));

    /// Finds everyone in a file without anyone. Its batches wait while the lock is held.
    struct FindsAll(Arc<Mutex<()>>);

    impl BlockingBackend<Username, Option<DateOfBirth>> for FindsAll {
        type Transaction = ();

        fn begin(&mut self) -> Result<(), BatchError> {
            Ok(())
        }

        fn run(
            &mut self,
            (): (),
            usernames: Vec<Username>,
            _: Instant,
        ) -> Result<Vec<Option<DateOfBirth>>, BatchError> {
            let _held = self.0.blocking_lock();
            Ok(vec![Some(DateOfBirth::from_stored(date(1990, 5, 20))); usernames.len()])
        }
    }

    /// Where a batch is executed.
    #[derive(Debug, PartialEq, Eq)]
    enum Place {
        EventLoop,
        Thread,
    }

    /// A reader with one connection to a file without users.
    struct Fixture {
        reader: EventLoopReader,
        thread_held: Arc<Mutex<()>>,
        path: PathBuf,
        _folder: TempDir,
    }

    impl Fixture {
        fn new(journal: JournalChoice) -> Fixture {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("users.db");
            let url = SqliteUrl { path: path.clone(), may_create: true };
            let file = DatabaseFile::prepare(&url, journal, Migrate::Auto).unwrap();
            let pool = Connector::new().pool(&file, 1, LockWait::None);
            let thread_held = Arc::new(Mutex::new(()));
            let thread =
                WorkerThread::start("reader", Begin::WithRun, FindsAll(thread_held.clone()));
            let reader = EventLoopReader::new(file, pool, thread.unwrap());
            let fixture = Fixture { reader, thread_held, path, _folder: folder };
            drop(fixture.take_connection());
            fixture
        }

        /// Takes the connection, which is opened on another thread.
        fn take_connection(&self) -> r2d2::PooledConnection<Connections> {
            self.reader.pool.get_timeout(PATIENCE).unwrap()
        }

        async fn run(&mut self) -> Place {
            let usernames = ["Ann", "John"].map(|name| Username::parse(name).unwrap());
            let found = self.reader.run(usernames.into(), Instant::now() + PATIENCE).await;
            match *found.unwrap() {
                [None, None] => Place::EventLoop,
                [Some(_), Some(_)] => Place::Thread,
                ref found => panic!("{found:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fast_batches_run_on_the_event_loop_and_those_after_a_slow_one_on_the_thread() {
        let mut fixture = Fixture::new(JournalChoice::Wal);
        for _ in 0..2 * FAST_BATCHES_MIN {
            assert_eq!(fixture.run().await, Place::EventLoop);
        }
        let connection = fixture.take_connection();
        let thread_held = fixture.thread_held.clone().lock_owned().await;
        let slow = async {
            advance(SLOW).await;
            drop(thread_held);
        };
        assert_eq!(join!(fixture.run(), slow).0, Place::Thread);
        drop(connection);
        for _ in 0..FAST_BATCHES_MIN {
            assert_eq!(fixture.run().await, Place::Thread);
        }
        assert_eq!(fixture.run().await, Place::EventLoop);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_finds_no_free_connection_runs_on_the_thread() {
        let mut fixture = Fixture::new(JournalChoice::Wal);
        let connection = fixture.take_connection();
        assert_eq!(fixture.run().await, Place::Thread);
        drop(connection);
        assert_eq!(fixture.run().await, Place::EventLoop);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_meets_a_lock_runs_on_the_thread_rather_than_wait() {
        /// How long the lock is held for a batch that waits for it.
        const HELD_FOR: Duration = Duration::from_millis(100);
        // Only with this journal can a test keep others from reading.
        let mut fixture = Fixture::new(JournalChoice::Truncate);
        let began = std::time::Instant::now();
        loop {
            drop(fixture.take_connection());
            let locked = Connection::open(&fixture.path).unwrap();
            locked.execute_batch("begin exclusive").unwrap();
            let (answered, waiting) = channel::<()>();
            let release = thread::spawn(move || {
                let _ = waiting.recv_timeout(HELD_FOR);
                drop(locked);
            });
            let place = fixture.run().await;
            drop(answered);
            release.join().unwrap();
            // On a busy machine the lock may be gone before the batch runs.
            if place == Place::Thread {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "every batch waits for the lock");
        }
    }

    #[test]
    fn a_slow_batch_sends_the_next_ones_to_the_thread() {
        let mut fast = FastBatches(FAST_BATCHES_MIN);
        fast.note(FAST_BATCH_MAX);
        assert!(fast.are_enough());
        fast.note(SLOW);
        for _ in 0..FAST_BATCHES_MIN {
            assert!(!fast.are_enough());
            fast.note(FAST_BATCH_MAX);
        }
        assert!(fast.are_enough());
    }
}
