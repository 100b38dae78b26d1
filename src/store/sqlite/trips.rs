//! What a trip to the file is: one transaction for all who take part.

use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension};

use super::OpenError;
use super::file::DatabaseFile;
use super::journal::Journal;
use crate::domain::{DateOfBirth, Username};
use crate::store::batch::TripError;
use crate::store::{Existing, User};

/// How long a trip may wait for a connection, which takes a millisecond unless
/// another process holds a lock.
const CONNECT_MAX: Duration = Duration::from_secs(4);

/// The one connection that writes, opened again after it failed.
pub(super) struct WriteTrips {
    file: DatabaseFile,
    connection: Option<Connection>,
}

impl WriteTrips {
    pub fn open(file: DatabaseFile) -> Result<WriteTrips, OpenError> {
        let connection = Some(file.writer()?);
        Ok(WriteTrips { file, connection })
    }

    /// Commits all saves, in their order, or none. Asks for them once it has the lock.
    pub fn make(&mut self, board: impl FnOnce() -> Vec<User>) -> Result<Vec<()>, TripError> {
        // Taken out for the trip: a connection that failed does not come back.
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.file.writer()?,
        };
        self.file.check_in_place()?;
        let _journal = self.file.lock_journal()?;
        let saved = in_transaction(&connection, "begin immediate", |connection| {
            let saves = board();
            save_all(connection, &saves, Existing::Replace)?;
            Ok(vec![(); saves.len()])
        })
        .map_err(|error| self.file.explain(error))?;
        self.connection = Some(connection);
        Ok(saved)
    }
}

pub(super) fn save_all(
    connection: &Connection,
    saves: &[User],
    existing: Existing,
) -> rusqlite::Result<()> {
    let mut save = connection.prepare_cached(match existing {
        // A date that stays the same is not written, so a trip of such saves
        // leaves the file alone.
        Existing::Replace => {
            "insert into users (username, date_of_birth) values (?1, ?2)
             on conflict (username) do update set date_of_birth = excluded.date_of_birth
             where date_of_birth <> excluded.date_of_birth"
        }
        Existing::Keep => {
            "insert into users (username, date_of_birth) values (?1, ?2)
             on conflict (username) do nothing"
        }
    })?;
    for User { username, born } in saves {
        save.execute((username.as_str(), born.date().to_string()))?;
    }
    Ok(())
}

/// The connections that read, shared by the threads that do.
#[derive(Clone)]
pub(super) struct ReadTrips {
    file: DatabaseFile,
    pool: r2d2::Pool<Readers>,
}

impl ReadTrips {
    pub fn open(file: DatabaseFile, readers: u32) -> Result<ReadTrips, OpenError> {
        // The first connection and trip are made here for the sake of their errors.
        find_all(&file.reader()?, &[Username::nobody()]).map_err(|error| file.explain(error))?;
        let pool = r2d2::Pool::builder()
            .max_size(readers)
            .connection_timeout(CONNECT_MAX)
            // The error that matters is the one that `get` returns.
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(Readers(file.clone()));
        Ok(ReadTrips { file, pool })
    }

    /// Finds all users in one view of the database, which is as new as the moment at
    /// which it asks for them.
    pub fn make(
        &self,
        board: impl FnOnce() -> Vec<Username>,
    ) -> Result<Vec<Option<DateOfBirth>>, TripError> {
        // The pool would go on trying to connect.
        self.file.check_in_place()?;
        let mut reader = self.pool.get()?;
        // Until it has not: a panic must not give a transaction to the next trip.
        reader.failed = true;
        let found = in_transaction(&reader.connection, "begin", |connection| {
            if self.file.journal == Journal::Truncate {
                // Locks the file, which over a network takes most of the trip. From then on
                // nobody commits, unless another process has given it a write-ahead log.
                find_all(connection, &[Username::nobody()])?;
                if has_log(connection)? {
                    run(connection, "commit")?;
                    run(connection, "begin")?;
                }
            }
            find_all(connection, &board())
        })
        .map_err(|error| self.file.explain(error))?;
        reader.failed = false;
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

/// Does `work` in a transaction, which is rolled back if any of it fails.
/// rusqlite's own transactions parse their SQL for every trip.
pub(super) fn in_transaction<T>(
    connection: &Connection,
    begin: &str,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    run(connection, begin)?;
    let done = work(connection).and_then(|done| run(connection, "commit").map(|()| done));
    if done.is_err() && !connection.is_autocommit() {
        // Fails only where the connection does, which is then dropped.
        let _ = run(connection, "rollback");
    }
    done
}

fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
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

struct Readers(DatabaseFile);

struct Reader {
    connection: Connection,
    /// Whether its last trip failed, so that it should be opened anew.
    failed: bool,
}

impl r2d2::ManageConnection for Readers {
    type Connection = Reader;
    type Error = OpenError;

    fn connect(&self) -> Result<Reader, OpenError> {
        Ok(Reader { connection: self.0.reader()?, failed: false })
    }

    fn is_valid(&self, _: &mut Reader) -> Result<(), OpenError> {
        // Every trip looks for itself.
        Ok(())
    }

    fn has_broken(&self, reader: &mut Reader) -> bool {
        reader.failed
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use tempfile::TempDir;

    use super::super::journal::JournalChoice;
    use super::*;
    use crate::store::Migrate;

    #[test]
    fn those_who_board_a_read_see_what_was_committed_before() {
        let user = || Username::parse("Ann").unwrap();
        let born = |year| DateOfBirth::from_stored(date(year, 5, 20));
        let (wal, truncate) = (JournalChoice::Wal, JournalChoice::Truncate);
        for (choice, then) in [(wal, wal), (truncate, truncate), (truncate, wal)] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("users.db");
            let file = DatabaseFile::prepare(&path, choice, Migrate::Auto).unwrap();
            let reads = ReadTrips::open(file, 1).unwrap();
            assert_eq!(reads.make(|| vec![user()]).unwrap(), [None]);
            // Opens it as another process would, and changes it if it has another journal.
            let file = DatabaseFile::prepare(&path, then, Migrate::Auto).unwrap();
            let other = file.writer().unwrap();
            let save = |year| {
                let save = User { username: user(), born: born(year) };
                save_all(&other, &[save], Existing::Replace)
            };
            save(1990).unwrap();
            other.busy_timeout(Duration::ZERO).unwrap();
            let mut saves = false;
            let found = reads.make(|| {
                // Who is acknowledged now and boards then must find it.
                saves = save(1991).is_ok();
                vec![user()]
            });
            assert_eq!(saves, then == wal, "{choice:?} and {then:?}");
            let saved = born(if saves { 1991 } else { 1990 });
            assert_eq!(found.unwrap(), [Some(saved)], "{choice:?} and {then:?}");
        }
    }
}
