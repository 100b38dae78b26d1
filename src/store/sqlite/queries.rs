//! What a batch does to the file: one transaction for all its requests.

use std::fs;

use anyhow::ensure;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension};
use tokio::time::Instant;

use super::SqliteError;
use super::file::{DatabaseFile, execute};
use super::journal::Journal;
use super::pool::{Connections, Connector, LockWait};
use super::turns::Turn;
use super::worker::BlockingBackend;
use crate::domain::{DateOfBirth, Username};
use crate::store::batch::BatchError;
use crate::store::{OnConflict, User};

/// Executes saves, on the one connection that writes.
pub(super) struct Writer {
    file: DatabaseFile,
    /// Opened again after it failed.
    connection: Option<Connection>,
    connector: Connector,
}

/// A transaction that has the write lock.
pub(super) struct Write {
    connection: Connection,
    _journal: Option<fs::File>,
}

impl Writer {
    /// `connector` is what opens the connections of the file's readers.
    pub fn open(file: DatabaseFile, connector: Connector) -> Result<Writer, SqliteError> {
        let connection = Some(file.writer()?);
        Ok(Writer { file, connection, connector })
    }
}

impl BlockingBackend<User, ()> for Writer {
    type Transaction = Write;

    fn begin(&mut self) -> Result<Write, BatchError> {
        // Taken out: a connection that failed does not come back.
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.file.writer()?,
        };
        let journal = self.file.begin_write(&connection)?;
        Ok(Write { connection, _journal: journal })
    }

    /// Commits all saves, in their order, or none.
    fn run(
        &mut self,
        write: Write,
        saves: Vec<User>,
        deadline: Instant,
    ) -> Result<Vec<()>, BatchError> {
        ensure!(Instant::now() < deadline, "the write lock was granted too late");
        if saves.is_empty() {
            self.file.ensure_room()?;
        }
        let explain = |error| self.file.explain(error);
        save_all(&write.connection, &saves, OnConflict::Replace).map_err(explain)?;
        // Until here no reader is held up.
        let turn = self.file.wait_for_turn();
        execute(&write.connection, "commit").map_err(explain)?;
        drop(turn);
        // What went into a file that was replaced meanwhile is lost. Over NFS that may be seen
        // late: attributes are cached for up to a minute (nfs(5), "acregmax").
        self.file.ensure_not_replaced()?;
        self.connection = Some(write.connection);
        Ok(vec![(); saves.len()])
    }

    /// The last connection to a file moves the write-ahead log into it. That is this one, once the
    /// readers are closed and no connection is being opened for them.
    fn close(self) {
        if self.file.journal == Journal::Wal {
            self.connector.finish();
        }
        drop(self.connection);
    }
}

pub(super) fn save_all(
    connection: &Connection,
    saves: &[User],
    on_conflict: OnConflict,
) -> rusqlite::Result<()> {
    let mut save = connection.prepare_cached(match on_conflict {
        // A date that stays the same is not written, so a batch of such saves
        // leaves the file alone.
        OnConflict::Replace => {
            "insert into users (username, date_of_birth) values (?1, ?2)
             on conflict (username) do update set date_of_birth = excluded.date_of_birth
             where date_of_birth <> excluded.date_of_birth"
        }
        OnConflict::Keep => {
            "insert into users (username, date_of_birth) values (?1, ?2)
             on conflict (username) do nothing"
        }
    })?;
    for User { username, born } in saves {
        save.execute((username.as_str(), born.date().to_string()))?;
    }
    Ok(())
}

/// Executes lookups. The readers of a file share a pool of connections.
pub(super) struct Reader {
    file: DatabaseFile,
    pool: r2d2::Pool<Connections>,
}

/// A view of the database.
pub(super) struct Read {
    connection: r2d2::PooledConnection<Connections>,
    _turn: Option<Turn>,
}

impl Reader {
    /// Makes as many readers as `number` says.
    pub fn open(
        file: &DatabaseFile,
        number: u32,
        connector: &Connector,
    ) -> Result<Vec<Reader>, SqliteError> {
        // The first connection and batch are made here for the sake of their errors.
        find_all(&file.reader()?, &[Username::probe()]).map_err(|error| file.explain(error))?;
        let pool = connector.pool(file, number, LockWait::Poll);
        let reader = || Reader { file: file.clone(), pool: pool.clone() };
        Ok(std::iter::repeat_with(reader).take(number as usize).collect())
    }
}

impl BlockingBackend<Username, Option<DateOfBirth>> for Reader {
    type Transaction = Read;

    fn begin(&mut self) -> Result<Read, BatchError> {
        // The pool would keep trying to connect.
        self.file.ensure_not_replaced()?;
        let explain = |error| self.file.explain(error);
        // Before the turn, as a new connection may take seconds.
        let mut connection = self.pool.get()?;
        let turn = self.file.wait_for_turn();
        // Assume failure until success, so that a panic discards the connection.
        connection.failed = true;
        execute(&connection.inner, "begin").map_err(explain)?;
        if self.file.journal == Journal::Truncate {
            // Locks the file, which over a network takes most of the time. From then on nobody
            // commits, unless another process has given it a write-ahead log.
            find_all(&connection.inner, &[Username::probe()]).map_err(explain)?;
            if has_log(&connection.inner).map_err(explain)? {
                execute(&connection.inner, "commit").map_err(explain)?;
                execute(&connection.inner, "begin").map_err(explain)?;
            }
        }
        Ok(Read { connection, _turn: turn })
    }

    /// Finds all users in one view of the database, which is as new as this call.
    fn run(
        &mut self,
        mut read: Read,
        usernames: Vec<Username>,
        _: Instant,
    ) -> Result<Vec<Option<DateOfBirth>>, BatchError> {
        let explain = |error| self.file.explain(error);
        let found = find_all(&read.connection.inner, &usernames).map_err(explain)?;
        execute(&read.connection.inner, "commit").map_err(explain)?;
        read.connection.failed = false;
        Ok(found)
    }
}

pub(super) fn find_all(
    connection: &Connection,
    usernames: &[Username],
) -> rusqlite::Result<Vec<Option<DateOfBirth>>> {
    let mut find =
        connection.prepare_cached("select date_of_birth from users where username = ?1")?;
    usernames
        .iter()
        .map(|username| {
            find.query_row([username.as_str()], |row| row.get::<_, StoredDate>(0))
                .optional()
                .map(|found| found.map(|StoredDate(born)| born))
        })
        .collect()
}

/// Does `work` in a transaction that reads. rusqlite's own transactions parse their SQL every time.
pub(super) fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    execute(connection, "begin")?;
    finish(connection, work)
}

/// Does `work` in the transaction that has begun, and commits it, or rolls it back if that fails.
pub(super) fn finish<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let done = work(connection).and_then(|done| execute(connection, "commit").map(|()| done));
    if done.is_err() && !connection.is_autocommit() {
        // Fails only where the connection does.
        let _ = execute(connection, "rollback");
    }
    done
}

/// Whether the file has a write-ahead log by now.
fn has_log(connection: &Connection) -> rusqlite::Result<bool> {
    let mut journal = connection.prepare_cached("pragma journal_mode")?;
    journal.query_row([], |row| Ok(row.get_ref(0)?.as_str()? == Journal::Wal.as_str()))
}

/// A date as SQLite keeps it.
pub(super) struct StoredDate(pub DateOfBirth);

impl FromSql for StoredDate {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<StoredDate> {
        DateOfBirth::from_stored_text(value.as_str()?)
            .map(StoredDate)
            .ok_or(FromSqlError::InvalidType)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::thread;
    use std::time::Duration;

    use jiff::civil::date;
    use tempfile::TempDir;

    use super::super::journal::JournalChoice;
    use super::*;
    use crate::store::Migrate;
    use crate::store::database_url::SqliteUrl;

    /// Longer than anything takes on the slowest machine.
    const PATIENCE: Duration = Duration::from_secs(120);

    fn url(path: &Path) -> SqliteUrl {
        SqliteUrl { path: path.to_owned(), may_create: true }
    }

    fn born(year: i16) -> DateOfBirth {
        DateOfBirth::from_stored(date(year, 5, 20))
    }

    fn ann() -> Username {
        Username::parse("Ann").unwrap()
    }

    fn save(year: i16) -> Vec<User> {
        vec![User { username: ann(), born: born(year) }]
    }

    fn later() -> Instant {
        Instant::now() + PATIENCE
    }

    fn reader(file: &DatabaseFile) -> Reader {
        Reader::open(file, 1, &Connector::new()).unwrap().pop().unwrap()
    }

    fn writer(file: DatabaseFile) -> Writer {
        Writer::open(file, Connector::new()).unwrap()
    }

    fn find(reader: &mut Reader) -> Vec<Option<DateOfBirth>> {
        let read = reader.begin().unwrap();
        reader.run(read, vec![ann()], later()).unwrap()
    }

    #[test]
    fn requests_that_join_a_read_see_what_was_committed_before() {
        let (wal, truncate) = (JournalChoice::Wal, JournalChoice::Truncate);
        for (choice, then) in [(wal, wal), (truncate, truncate), (truncate, wal)] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("users.db");
            let file = DatabaseFile::prepare(&url(&path), choice, Migrate::Auto).unwrap();
            let mut reader = reader(&file);
            assert_eq!(find(&mut reader), [None]);
            // Opens it as another process would, and changes it if it has another journal.
            let file = DatabaseFile::prepare(&url(&path), then, Migrate::Auto).unwrap();
            let other = file.writer().unwrap();
            save_all(&other, &save(1990), OnConflict::Replace).unwrap();
            other.busy_timeout(Duration::ZERO).unwrap();
            let read = reader.begin().unwrap();
            // A save that is acknowledged now must be found by a request that joins after it.
            let saves = save_all(&other, &save(1991), OnConflict::Replace).is_ok();
            let found = reader.run(read, vec![ann()], later());
            assert_eq!(saves, then == wal, "{choice:?} and {then:?}");
            let saved = born(if saves { 1991 } else { 1990 });
            assert_eq!(found.unwrap(), [Some(saved)], "{choice:?} and {then:?}");
        }
    }

    #[test]
    fn with_a_rollback_journal_reads_and_commits_take_turns() {
        for reader_is_first in [true, false] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("users.db");
            let file =
                DatabaseFile::prepare(&url(&path), JournalChoice::Truncate, Migrate::Auto).unwrap();
            let turns = file.turns.clone();
            let mut reader = reader(&file);
            let mut writer = writer(file);

            let wait_until_asked = |number| {
                let began = Instant::now();
                while turns.asked() < number {
                    assert!(began.elapsed() < PATIENCE, "nobody asks");
                    thread::yield_now();
                }
            };
            let turn = turns.wait();
            let read = move || find(&mut reader);
            let write = move || {
                let write = writer.begin().unwrap();
                writer.run(write, save(1990), later()).map(drop).unwrap();
            };
            let found = if reader_is_first {
                let reading = thread::spawn(read);
                wait_until_asked(2);
                let writing = thread::spawn(write);
                wait_until_asked(3);
                drop(turn);
                writing.join().unwrap();
                reading.join().unwrap()
            } else {
                let writing = thread::spawn(write);
                wait_until_asked(2);
                let reading = thread::spawn(read);
                wait_until_asked(3);
                drop(turn);
                writing.join().unwrap();
                reading.join().unwrap()
            };
            let expected = (!reader_is_first).then(|| born(1990));
            assert_eq!(found, [expected], "the reader is first: {reader_is_first}");
        }
    }

    #[test]
    fn a_writer_that_waits_for_another_process_keeps_no_reader_waiting() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("users.db");
        let file =
            DatabaseFile::prepare(&url(&path), JournalChoice::Truncate, Migrate::Auto).unwrap();
        let mut reader = reader(&file);
        let mut writer = writer(file.clone());
        writer.connection.as_ref().unwrap().busy_timeout(PATIENCE).unwrap();
        let other = file.writer().unwrap();
        execute(&other, "begin immediate").unwrap();
        let writing = thread::spawn(move || {
            let write = writer.begin()?;
            writer.run(write, save(1990), later()).map(drop)
        });
        for _ in 0..10 {
            assert_eq!(find(&mut reader), [None]);
        }
        execute(&other, "rollback").unwrap();
        writing.join().unwrap().unwrap();
    }

    #[test]
    fn a_save_into_a_file_that_was_replaced_meanwhile_fails() {
        for choice in [JournalChoice::Wal, JournalChoice::Truncate] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("users.db");
            let file = DatabaseFile::prepare(&url(&path), choice, Migrate::Auto).unwrap();
            let mut writer = writer(file);
            let write = writer.begin().unwrap();
            writer.run(write, save(1990), later()).unwrap();
            let write = writer.begin().unwrap();
            fs::rename(&path, folder.path().join("moved.db")).unwrap();
            fs::write(&path, "").unwrap();
            assert!(writer.run(write, save(1991), later()).is_err(), "{choice:?}");
        }
    }
}
