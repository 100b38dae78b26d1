//! The database file: opened, checked, brought to this release's schema.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use rustix::fs::{FlockOperation, fcntl_lock};

use super::journal::{Journal, JournalChoice};
use crate::store::DEADLINE;
use crate::store::schema::{self, Found, Migrate, Migration};

/// This release's schema, in steps.
const MIGRATIONS: &[Migration] =
    &[Migration { sql: include_str!("migrations/0001_users.sql"), works_with: 1 }];

/// Marks a file as ours: "HBDY" (<https://www.sqlite.org/pragma.html#pragma_application_id>).
const APPLICATION_ID: i32 = 0x4842_4459;

/// How long to wait for another process's lock. Within a request's deadline, so
/// that most hear why they failed.
const LOCK_WAIT: Duration = Duration::from_secs(4);
const _: () = assert!(LOCK_WAIT.as_millis() < DEADLINE.as_millis());

/// KiB of pages that a connection keeps. The inner pages of a million users
/// fit, which leaves one read of the file for each.
const CACHE_KIB: i32 = 2048;

/// Frames in the write-ahead log before they are copied back. A page that
/// changes often is copied once for all its changes.
const CHECKPOINT_FRAMES: u32 = 4000;

/// Bytes the write-ahead log may keep on disk after a burst.
const WAL_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// Why a database file cannot be used: one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path names a folder.
    #[error("{} is a folder: name a file in it, as in sqlite:{}/hello-birthday.db", .0.display(), .0.display())]
    IsAFolder(PathBuf),
    /// The folder is missing or out of reach.
    #[error("cannot reach the folder {}: create it, or mount its file system, and allow this user into it", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// This user may not write the file or its folder.
    #[error("cannot write {}: allow this user to write the file and its folder", .0.display())]
    ReadOnly(PathBuf),
    /// Some other file.
    #[error("{} is not a SQLite database: it was left as it is; name another file", .0.display())]
    NotADatabase(PathBuf),
    /// A database whose pages do not fit together.
    #[error("{} is damaged: restore it from a backup", .0.display())]
    Damaged(PathBuf),
    /// A database of another program.
    #[error("{} is the database of another program: it was left as it is; name another file", .0.display())]
    NotOurs(PathBuf),
    /// A database that this release must not touch.
    #[error("{} was made by a newer release that this one cannot work beside: it was left as it is; run the newer release", .0.display())]
    MadeByNewerRelease(PathBuf),
    /// There is no file, and none may be made.
    #[error("there is no file {}: name one that is there, or make it with hello-birthday --migrate=only", .0.display())]
    Missing(PathBuf),
    /// The schema is not there, and may not be made.
    #[error("{} lacks this release's schema: make it with hello-birthday --migrate=only", .0.display())]
    NotMigrated(PathBuf),
    /// The journal cannot be opened or locked.
    #[error("cannot lock the journal of {}: allow this user to write it and its folder, on a file system with locks", .0.display())]
    Journal(PathBuf, #[source] io::Error),
    /// No room to write.
    #[error("no space is left on the disk of {}: free some and start again", .0.display())]
    DiskFull(PathBuf),
    /// Another process keeps it locked.
    #[error("another process keeps {} locked: stop it, or let it finish, and start again", .0.display())]
    Locked(PathBuf),
    /// Other processes use another journal.
    #[error("other processes use {} with another journal than {}: stop them, or give every instance the same --sqlite-journal", .0.display(), .1.as_str())]
    JournalInUse(PathBuf, Journal),
    /// WAL was asked for where it loses data.
    #[error("{} is on a network file system, where WAL loses data, or on one not known as local: leave out --sqlite-journal wal", .0.display())]
    WalOnNetwork(PathBuf),
    /// The file was moved, replaced or deleted while in use.
    #[error("{} was moved, replaced or deleted while in use: put it back; or stop the service, delete {}-wal and {}-shm, and start it again", .0.display(), .0.display(), .0.display())]
    Moved(PathBuf),
    /// Anything else that SQLite reports.
    #[error("cannot use {}", .0.display())]
    Other(PathBuf, #[source] rusqlite::Error),
}

/// A database file that has been checked and has this release's schema.
#[derive(Debug, Clone)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    pub journal: Journal,
    identity: Identity,
}

/// The file system and the number that a file has in it: the same for as long
/// as it is the same file.
type Identity = (u64, u64);

impl DatabaseFile {
    /// Creates the file if it is missing, and migrates it, as far as `migrate`
    /// allows. Refuses a file that it must not touch, and leaves that one as it was.
    pub fn prepare(
        path: &Path,
        choice: JournalChoice,
        migrate: Migrate,
    ) -> Result<DatabaseFile, OpenError> {
        if path.is_dir() {
            return Err(OpenError::IsAFolder(path.into()));
        }
        let path = resolve(path)?;
        if migrate != Migrate::Check {
            create_if_missing(&path)?;
        } else if !path.exists() {
            return Err(OpenError::Missing(path));
        }
        let journal = Journal::choose(choice, &path)?;
        let identity = identity(&path).map_err(|_| OpenError::Moved(path.clone()))?;
        let file = DatabaseFile { path, journal, identity };
        file.migrate(migrate)?;
        Ok(file)
    }

    fn migrate(&self, how: Migrate) -> Result<(), OpenError> {
        let mut connection = self.open()?;
        let found = self.settle(&connection)?;
        if self.missing(found)?.next().is_none() {
            // Nothing to write, so no reason to wait for who writes.
            return Ok(());
        }
        if how == Migrate::Check {
            return Err(OpenError::NotMigrated(self.path.clone()));
        }
        let explain = |error| self.explain(error);
        let _journal = self.lock_journal()?;
        // Another instance may be migrating too: one waits, and finds it done.
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(explain)?;
        for (version, migration) in self.missing(self.check(&transaction)?)? {
            apply(&transaction, version, migration).map_err(explain)?;
        }
        transaction.commit().map_err(explain)
    }

    fn missing(
        &self,
        found: Found,
    ) -> Result<impl Iterator<Item = (u32, &'static Migration)>, OpenError> {
        schema::missing(found, MIGRATIONS)
            .map_err(|schema::MadeByNewerRelease| OpenError::MadeByNewerRelease(self.path.clone()))
    }

    /// Makes sure that the file is ours before anything is written to it, and
    /// gives it its journal.
    fn settle(&self, connection: &Connection) -> Result<Found, OpenError> {
        let lock =
            |mode| set(connection, "locking_mode", mode).map_err(|error| self.explain(error));
        // A WAL file that is to be converted is read by this process alone, and
        // so without the shared memory that other hosts would not see.
        if self.journal == Journal::Truncate {
            lock("exclusive")?;
        }
        self.check(connection)?;
        self.set_journal(connection)?;
        if self.journal == Journal::Truncate {
            // The lock goes with the next transaction.
            lock("normal")?;
        }
        self.check(connection)
    }

    /// Finds what schema the file has, or why it is not ours to use.
    fn check(&self, connection: &Connection) -> Result<Found, OpenError> {
        let (application_id, tables, found) =
            look(connection).map_err(|error| self.explain(error))?;
        let is_new = application_id == 0 && tables == 0;
        if application_id != APPLICATION_ID && !is_new {
            return Err(OpenError::NotOurs(self.path.clone()));
        }
        self.missing(found).map(|_| found)
    }

    fn set_journal(&self, connection: &Connection) -> Result<(), OpenError> {
        let started = Instant::now();
        // SQLite does not wait for other connections when it changes the mode
        // of a file, so the wait is here.
        loop {
            let result: rusqlite::Result<String> = connection.pragma_update_and_check(
                None,
                "journal_mode",
                self.journal.as_str(),
                |row| row.get(0),
            );
            match result {
                Ok(mode) if mode == self.journal.as_str() => return Ok(()),
                Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => {
                    return Err(self.explain(error));
                }
                _ if started.elapsed() > LOCK_WAIT => {
                    return Err(OpenError::JournalInUse(self.path.clone(), self.journal));
                }
                _ => sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Opens a connection that writes.
    pub fn writer(&self) -> Result<Connection, OpenError> {
        let connection = self.connect()?;
        let explain = |error| self.explain(error);
        // Flushed to disk at every commit, in either journal.
        set(&connection, "synchronous", "full").map_err(explain)?;
        if self.journal == Journal::Wal {
            set(&connection, "wal_autocheckpoint", CHECKPOINT_FRAMES).map_err(explain)?;
            set(&connection, "journal_size_limit", WAL_BYTES_MAX).map_err(explain)?;
        }
        Ok(connection)
    }

    /// Opens a connection that reads. Only its statements are read-only: SQLite
    /// itself must be able to roll back what a killed process left behind.
    pub fn reader(&self) -> Result<Connection, OpenError> {
        let connection = self.connect()?;
        set(&connection, "query_only", true).map_err(|error| self.explain(error))?;
        Ok(connection)
    }

    /// Connects to the file as it was prepared.
    fn connect(&self) -> Result<Connection, OpenError> {
        let connection = self.open()?;
        self.settle(&connection)?;
        set(&connection, "cache_size", -CACHE_KIB).map_err(|error| self.explain(error))?;
        Ok(connection)
    }

    fn open(&self) -> Result<Connection, OpenError> {
        self.check_in_place()?;
        // Never creates the file anew: an empty database in place of a lost one
        // would hide the loss.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let explain = |error| self.explain(error);
        let connection = Connection::open_with_flags(&self.path, flags).map_err(explain)?;
        // Nothing was read yet, so a log that belongs to another file was not
        // applied to this one.
        self.check_in_place()?;
        connection.busy_timeout(LOCK_WAIT).map_err(explain)?;
        // Where it may not write a file, SQLite opens it for reading.
        if connection.is_readonly("main").map_err(explain)? {
            return Err(OpenError::ReadOnly(self.path.clone()));
        }
        Ok(connection)
    }

    /// Locks the journal for as long as the returned file is open, which must be from
    /// before a transaction that writes.
    ///
    /// A host that NFS does not hear of for its lease loses its locks, and others go
    /// on. When it is back, its kernel fails what is written to files that it had
    /// locked, but SQLite locks only the database: the journal would still get what
    /// the database was before all that the others did, and whoever opened the file
    /// next would roll it back to that. With a lock on the journal, older than that on
    /// the database, neither gets anything. It is a shared one: nobody waits for it.
    pub fn lock_journal(&self) -> Result<Option<fs::File>, OpenError> {
        if self.journal != Journal::Truncate {
            return Ok(None);
        }
        let mut path = self.path.clone().into_os_string();
        path.push("-journal");
        let lock = || {
            // SQLite gives an empty one the permissions of the database.
            let mut options = OpenOptions::new();
            let journal = options.read(true).write(true).create(true).mode(0o600).open(path)?;
            fcntl_lock(&journal, FlockOperation::NonBlockingLockShared)?;
            Ok(Some(journal))
        };
        lock().map_err(|error| OpenError::Journal(self.path.clone(), error))
    }

    /// Fails if the file at the path is not the one that was prepared. What is
    /// written to a file that was moved away would be lost; and its log, applied
    /// to the file that replaced it, would damage that one.
    pub fn check_in_place(&self) -> Result<(), OpenError> {
        match identity(&self.path) {
            Ok(identity) if identity == self.identity => Ok(()),
            _ => Err(OpenError::Moved(self.path.clone())),
        }
    }

    /// Says what an error of SQLite means for this file.
    pub fn explain(&self, error: rusqlite::Error) -> OpenError {
        let path = self.path.clone();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => OpenError::NotADatabase(path),
            Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged(path),
            Some(ErrorCode::CannotOpen) if !path.exists() => OpenError::Moved(path),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                OpenError::ReadOnly(path)
            }
            Some(ErrorCode::DiskFull) => OpenError::DiskFull(path),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked(path),
            _ => OpenError::Other(path, error),
        }
    }
}

/// The path without links, which may lead to another file system. A bare
/// `:memory:` or `file:...` would also mean something else to SQLite.
fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    if let Ok(path) = path.canonicalize() {
        return Ok(path);
    }
    let folder = match path.parent() {
        Some(folder) if folder != "" => folder,
        _ => Path::new("."),
    };
    let resolved =
        folder.canonicalize().map_err(|error| OpenError::Folder(folder.into(), error))?;
    Ok(resolved.join(path.file_name().unwrap_or_default()))
}

/// Creates a file that only this user may read, as it will hold personal data.
/// SQLite gives its journals the same permissions.
fn create_if_missing(path: &Path) -> Result<(), OpenError> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match created {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            Err(OpenError::DiskFull(path.into()))
        }
        Err(_) => Err(OpenError::ReadOnly(path.into())),
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn set(connection: &Connection, pragma: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
    // Some pragmas answer with a row, some with none.
    connection.pragma_update(None, pragma, value)
}

fn look(connection: &Connection) -> rusqlite::Result<(i32, u32, Found)> {
    // The tables first: an instance that migrates the file right now commits them
    // with the application id, which is thus there wherever they are.
    let tables =
        connection.query_row("select count(*) from sqlite_schema", [], |row| row.get(0))?;
    let application_id = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let found = if application_id == APPLICATION_ID {
        connection.query_row(
            "select coalesce(max(version), 0), coalesce(max(works_with), 0) from schema_versions",
            [],
            |row| Ok(Found { version: row.get(0)?, works_with: row.get(1)? }),
        )?
    } else {
        Found::default()
    };
    Ok((application_id, tables, found))
}

fn apply(connection: &Connection, version: u32, migration: &Migration) -> rusqlite::Result<()> {
    if version == 1 {
        set(connection, "application_id", APPLICATION_ID)?;
        connection.execute_batch(
            "create table schema_versions (
                 version integer primary key,
                 works_with integer not null
             ) strict",
        )?;
    }
    connection.execute_batch(migration.sql)?;
    connection
        .execute("insert into schema_versions values (?1, ?2)", (version, migration.works_with))
        .map(drop)
}
