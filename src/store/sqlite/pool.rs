//! Pools of connections that read. A pool replaces a connection that failed, and bounds the wait
//! for it.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use rusqlite::Connection;
use scheduled_thread_pool::ScheduledThreadPool;

use super::SqliteError;
use super::file::DatabaseFile;

/// How long a batch may wait for a connection, which takes a millisecond unless another process
/// holds a lock.
const POOL_CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Opens the connections of a file's pools. They fail so seldom that one thread is enough for all.
#[derive(Clone)]
pub(super) struct Connector(Arc<ScheduledThreadPool>);

impl Connector {
    pub fn new() -> Connector {
        Connector(Arc::new(ScheduledThreadPool::new(1)))
    }

    pub fn pool(
        &self,
        file: &DatabaseFile,
        size: u32,
        lock_wait: LockWait,
    ) -> r2d2::Pool<Connections> {
        r2d2::Pool::builder()
            .max_size(size)
            .max_lifetime(None)
            .idle_timeout(None)
            .thread_pool(self.0.clone())
            .connection_timeout(POOL_CONNECT_TIMEOUT)
            // The error that matters is the one that `get` returns.
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(Connections { file: file.clone(), lock_wait })
    }

    /// Blocks until the connection that is being opened, if any, is closed, but no longer than a
    /// batch may wait for one. Call it after the pools are dropped, which does not wait for that.
    pub fn finish(&self) {
        let (sender, finished) = channel::<()>();
        // Runs after the job in progress.
        self.0.execute(move || drop(sender));
        // Nothing is sent: the wait ends when the sender is dropped.
        let _ = finished.recv_timeout(POOL_CONNECT_TIMEOUT);
    }
}

pub(super) struct Connections {
    file: DatabaseFile,
    lock_wait: LockWait,
}

/// What a connection does where another holds a lock that it needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LockWait {
    Poll,
    None,
}

pub(super) struct PooledReader {
    pub inner: Connection,
    /// Whether its last batch failed, so that another takes its place.
    pub failed: bool,
}

impl r2d2::ManageConnection for Connections {
    type Connection = PooledReader;
    type Error = SqliteError;

    fn connect(&self) -> Result<PooledReader, SqliteError> {
        let inner = self.file.reader()?;
        if self.lock_wait == LockWait::None {
            inner.busy_timeout(Duration::ZERO).map_err(|error| self.file.explain(error))?;
        }
        Ok(PooledReader { inner, failed: false })
    }

    fn is_valid(&self, _: &mut PooledReader) -> Result<(), SqliteError> {
        // Every batch finds out for itself.
        Ok(())
    }

    fn has_broken(&self, reader: &mut PooledReader) -> bool {
        reader.failed
    }
}
