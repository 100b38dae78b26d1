//! The database file: created, connected to, locked.

use std::fs::{self, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, OFlags, fcntl_lock, statvfs};

use super::SqliteError;
use super::journal::{self, Journal, JournalChoice};
use super::turns::{Turn, Turns};
use crate::files::{FileId, beside, file_id, folder_of, follow};
use crate::store::STORE_TIMEOUT;
use crate::store::database_url::SqliteUrl;
use crate::store::schema::Migrate;

/// How long to wait for another process's lock. Shorter than a request's timeout, so that most
/// batches fail with the cause rather than without.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(4);
const _: () = assert!(LOCK_TIMEOUT.as_millis() < STORE_TIMEOUT.as_millis());

/// Milliseconds between two attempts to get a lock. SQLite itself waits longer after each attempt,
/// up to 100 ms, so that it starves beside a process that takes the lock again and again. Over a
/// network an attempt is a round trip to the server. Random, so that processes do not keep step.
const LOCAL_LOCK_POLL_MS: RangeInclusive<u64> = 1..=3;
const NETWORK_LOCK_POLL_MS: RangeInclusive<u64> = 5..=10;

/// KiB of pages that a connection keeps. The inner pages of a million users
/// fit, which leaves one read of the file for each.
const CACHE_KIB: i32 = 2048;

/// Bytes of pages in the write-ahead log before they are copied back. A page that changes often is
/// copied once for all its changes, and saves wait for the copy: of 64 at a time, with pages of
/// 1 KiB, fewer than one in a hundred.
const CHECKPOINT_BYTES: u32 = 16 * 1024 * 1024;

/// Bytes that a save may need in the database, its journal and the log: a few pages each.
const ROOM_BYTES_MIN: u64 = 64 * 1024;

/// Bytes the write-ahead log may keep on disk after a burst.
const WAL_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// A database file that has been checked and has this release's schema.
#[derive(Debug, Clone)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    pub journal: Journal,
    id: FileId,
    lock_poll_ms: RangeInclusive<u64>,
    /// Of those in this process that read and commit.
    pub turns: Turns,
}

impl DatabaseFile {
    /// Creates the file if it is missing, and migrates it, as far as `migrate` allows. Refuses a
    /// file that it must not touch, and leaves it as it was.
    pub fn prepare(
        url: &SqliteUrl,
        choice: JournalChoice,
        migrate: Migrate,
    ) -> Result<DatabaseFile, SqliteError> {
        let may_create = url.may_create && migrate != Migrate::Check;
        let file = DatabaseFile::locate(&SqliteUrl { may_create, ..url.clone() }, choice)?;
        file.migrate(migrate)?;
        Ok(file)
    }

    /// Finds the file, or creates it if `url` allows that, whatever its schema is.
    pub fn locate(url: &SqliteUrl, choice: JournalChoice) -> Result<DatabaseFile, SqliteError> {
        if url.path.is_dir() {
            return Err(SqliteError::IsAFolder(url.path.clone()));
        }
        let path = resolve(&url.path)?;
        if url.may_create {
            ensure_not_lost(&path)?;
            create_if_missing(&path)?;
        } else if !path.exists() {
            return Err(SqliteError::Missing(path));
        }
        let is_local = journal::is_local(&path)?;
        let journal = Journal::choose(choice, is_local)
            .ok_or_else(|| SqliteError::WalOnNetwork(path.clone()))?;
        let id = file_id(&path).map_err(|_| SqliteError::Moved(path.clone()))?;
        let lock_poll_ms = if is_local { LOCAL_LOCK_POLL_MS } else { NETWORK_LOCK_POLL_MS };
        Ok(DatabaseFile { path, journal, id, lock_poll_ms, turns: Turns::default() })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a connection that writes.
    pub fn writer(&self) -> Result<Connection, SqliteError> {
        let connection = self.connect()?;
        let explain = |error| self.explain(error);
        // Flushed to disk at every commit, in either journal.
        set(&connection, "synchronous", "full").map_err(explain)?;
        // A page that is split would keep copies of rows that moved to another, and so outlive users
        // who are erased (<https://www.sqlite.org/pragma.html#pragma_secure_delete>).
        set(&connection, "secure_delete", "fast").map_err(explain)?;
        if self.journal == Journal::Wal {
            let page_bytes = connection.pragma_query_value(None, "page_size", |row| row.get(0));
            let page_bytes: u32 = page_bytes.map_err(explain)?;
            let pages = CHECKPOINT_BYTES / page_bytes;
            set(&connection, "wal_autocheckpoint", pages).map_err(explain)?;
            set(&connection, "journal_size_limit", WAL_BYTES_MAX).map_err(explain)?;
        } else {
            // Pages stay in memory until the commit: to write one earlier would lock readers out
            // before it is the writer's turn (<https://www.sqlite.org/pragma.html#pragma_cache_spill>).
            set(&connection, "cache_spill", false).map_err(explain)?;
        }
        Ok(connection)
    }

    /// Opens a connection that reads. Only its statements are read-only: SQLite
    /// itself must be able to roll back what a killed process left behind.
    pub fn reader(&self) -> Result<Connection, SqliteError> {
        let connection = self.connect()?;
        set(&connection, "query_only", true).map_err(|error| self.explain(error))?;
        Ok(connection)
    }

    /// Connects to the file as it was prepared.
    fn connect(&self) -> Result<Connection, SqliteError> {
        let connection = self.open()?;
        self.verify_and_set_journal(&connection)?;
        set(&connection, "cache_size", -CACHE_KIB).map_err(|error| self.explain(error))?;
        Ok(connection)
    }

    pub(super) fn open(&self) -> Result<Connection, SqliteError> {
        self.ensure_not_replaced()?;
        // Never recreates a missing file: an empty database would hide the loss.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let explain = |error| self.explain(error);
        let mut connection = Connection::open_with_flags(&self.path, flags).map_err(explain)?;
        // Nothing was read yet, so no log of another file was applied to this one.
        self.ensure_not_replaced()?;
        connection.busy_handler(Some(self.lock_poll())).map_err(explain)?;
        // Where it may not write a file, SQLite opens it for reading.
        if connection.is_readonly("main").map_err(explain)? {
            return Err(SqliteError::ReadOnly(self.path.clone()));
        }
        Ok(connection)
    }

    /// What SQLite is to do while a lock is held by somebody else: wait, up to the timeout.
    fn lock_poll(&self) -> impl FnMut(i32) -> bool + Send + 'static {
        let poll_ms = self.lock_poll_ms.clone();
        let mut began = Instant::now();
        move |attempts| {
            if attempts == 0 {
                began = Instant::now();
            }
            lock_pause(began.elapsed(), &poll_ms).map(sleep).is_some()
        }
    }

    /// Begins a transaction that writes. The journal is locked for as long as the returned file is
    /// open, which must be until the transaction has ended.
    ///
    /// A host that an NFS server has not heard of for its lease loses its locks, and others go on.
    /// When it is back, its kernel fails writes to files that it had locked; but SQLite locks only
    /// the database, so without this lock the journal could be overwritten with stale pages, and
    /// rolled back by the next process that opens the file. The lock is shared: nobody waits for it.
    pub fn begin_write(&self, connection: &Connection) -> Result<Option<fs::File>, SqliteError> {
        self.ensure_not_replaced()?;
        let journal = match self.journal {
            Journal::Wal => None,
            Journal::Truncate => Some(self.open_journal()?),
        };
        self.lock(&journal)?;
        execute(connection, "begin immediate").map_err(|error| self.explain(error))?;
        // To find out whether a journal is to be rolled back, SQLite may have opened and closed it
        // meanwhile, which releases all locks of this process on it (fcntl(2)).
        self.lock(&journal)?;
        Ok(journal)
    }

    /// Waits for the turn to read or to commit, which only a rollback journal asks for.
    pub fn wait_for_turn(&self) -> Option<Turn> {
        (self.journal == Journal::Truncate).then(|| self.turns.wait())
    }

    fn open_journal(&self) -> Result<fs::File, SqliteError> {
        let path = beside(&self.path, "-journal");
        let mut options = OpenOptions::new();
        // SQLite follows no link to a journal either, which may lead root to any file.
        options.read(true).write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let opened = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // SQLite gives an empty one the permissions of the database.
                options.create(true).mode(0o600).open(&path).inspect(|file| self.give_owner(file))
            }
            opened => opened,
        };
        opened.map_err(|error| SqliteError::Journal(self.path.clone(), error))
    }

    /// Gives a journal that root creates the owner of the database, as SQLite does when it writes
    /// to one. Otherwise the service could not open it.
    fn give_owner(&self, journal: &fs::File) {
        if rustix::process::geteuid().is_root()
            && let Ok(database) = fs::metadata(&self.path)
        {
            // A server of NFS may refuse this to root. It stores the file as another user's then.
            let _ = fchown(journal, Some(database.uid()), Some(database.gid()));
        }
    }

    fn lock(&self, journal: &Option<fs::File>) -> Result<(), SqliteError> {
        let Some(journal) = journal else { return Ok(()) };
        fcntl_lock(journal, FlockOperation::NonBlockingLockShared)
            .map_err(|error| SqliteError::Journal(self.path.clone(), error.into()))
    }

    /// Fails if the file at the path is not the one that was prepared. What is written to a file
    /// that was moved away would be lost; and its log, applied to the file that replaced it, would
    /// damage that one.
    pub fn ensure_not_replaced(&self) -> Result<(), SqliteError> {
        match file_id(&self.path) {
            Ok(id) if id == self.id => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(SqliteError::Folder(folder_of(&self.path).into(), error))
            }
            _ => Err(SqliteError::Moved(self.path.clone())),
        }
    }

    /// Fails if the disk has no room for a save.
    pub fn ensure_room(&self) -> Result<(), SqliteError> {
        match statvfs(&self.path) {
            Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM_BYTES_MIN => {
                Err(SqliteError::DiskFull(self.path.clone()))
            }
            // A file system that does not tell may have room.
            _ => Ok(()),
        }
    }

    /// What an error of SQLite means for this file.
    pub fn explain(&self, error: rusqlite::Error) -> SqliteError {
        SqliteError::new(self.path.clone(), error)
    }
}

/// How long to pause before the next attempt to get a lock; `None` once that has been waited for
/// long enough.
fn lock_pause(waited: Duration, poll_ms: &RangeInclusive<u64>) -> Option<Duration> {
    let is_in_time = waited < LOCK_TIMEOUT;
    is_in_time.then(|| Duration::from_millis(rand::random_range(poll_ms.clone())))
}

/// The path without links, which may lead to another file system. A bare
/// `:memory:` or `file:...` would also mean something else to SQLite.
fn resolve(path: &Path) -> Result<PathBuf, SqliteError> {
    if let Ok(path) = path.canonicalize() {
        return Ok(path);
    }
    let path = follow(path);
    let folder = folder_of(&path);
    let resolved =
        folder.canonicalize().map_err(|error| SqliteError::Folder(folder.into(), error))?;
    Ok(resolved.join(path.file_name().unwrap_or_default()))
}

/// Fails if a log or a rollback journal is left, but not its file: with an empty file in its place,
/// SQLite would delete what they hold.
fn ensure_not_lost(path: &Path) -> Result<(), SqliteError> {
    for left in ["-wal", "-journal"].map(|ending| beside(path, ending)) {
        let holds_pages = fs::metadata(&left).is_ok_and(|left| left.len() > 0);
        // Looked for in this order: another process that starts creates the file first.
        if holds_pages && !path.exists() {
            return Err(SqliteError::Lost(path.into(), left));
        }
    }
    Ok(())
}

/// Creates a file that only this user may read, as it will hold personal data.
/// SQLite gives its journals the same permissions.
fn create_if_missing(path: &Path) -> Result<(), SqliteError> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match created {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            Err(SqliteError::DiskFull(path.into()))
        }
        Err(_) => Err(SqliteError::ReadOnly(path.into())),
    }
}

pub(super) fn set(
    connection: &Connection,
    pragma: &str,
    value: impl rusqlite::ToSql,
) -> rusqlite::Result<()> {
    // Some pragmas answer with a row, some with none.
    connection.pragma_update(None, pragma, value)
}

/// Executes a statement that returns no rows, parsed once per connection.
pub(super) fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn pauses_between_attempts_to_get_a_lock_are_random_and_never_grow() {
        for (poll_ms, range) in [(LOCAL_LOCK_POLL_MS, 1..=3), (NETWORK_LOCK_POLL_MS, 5..=10)] {
            for waited in [Duration::ZERO, LOCK_TIMEOUT - Duration::from_millis(1)] {
                let pauses: BTreeSet<_> =
                    (0..1000).map(|_| lock_pause(waited, &poll_ms).unwrap().as_millis()).collect();
                assert!(pauses.iter().copied().eq(range.clone()), "{pauses:?} after {waited:?}");
            }
            assert_eq!(lock_pause(LOCK_TIMEOUT, &poll_ms), None);
        }
    }

    #[test]
    fn connections_wait_for_locks_with_these_pauses_and_not_with_those_of_sqlite() {
        for choice in [JournalChoice::Wal, JournalChoice::Truncate] {
            let folder = TempDir::new().unwrap();
            let url = SqliteUrl { path: folder.path().join("users.db"), may_create: true };
            let file = DatabaseFile::prepare(&url, choice, Migrate::Auto).unwrap();
            for connection in [file.writer().unwrap(), file.reader().unwrap()] {
                // It is zero as soon as another handler takes the place of SQLite's own.
                let own = connection.pragma_query_value(None, "busy_timeout", |row| row.get(0));
                assert_eq!(own, Ok(0));
            }
        }
    }

    #[test]
    fn a_log_is_copied_back_after_16_mib_whatever_its_pages() {
        // A file that had a rollback journal keeps its larger pages.
        for (first, page_bytes) in [(JournalChoice::Wal, 1024), (JournalChoice::Truncate, 4096)] {
            let folder = TempDir::new().unwrap();
            let url = SqliteUrl { path: folder.path().join("users.db"), may_create: true };
            DatabaseFile::prepare(&url, first, Migrate::Auto).unwrap();
            let file = DatabaseFile::prepare(&url, JournalChoice::Wal, Migrate::Auto).unwrap();
            let writer = file.writer().unwrap();
            let pragma =
                |name| writer.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).unwrap();
            assert_eq!(pragma("page_size"), page_bytes);
            assert_eq!(pragma("wal_autocheckpoint") * page_bytes, 16 * 1024 * 1024);
        }
    }
}
