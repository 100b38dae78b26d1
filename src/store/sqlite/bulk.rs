use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::Connection;

use super::file::{DatabaseFile, set};
use super::journal::Journal;
use super::queries::{StoredDate, find_all, finish, in_transaction, save_all};
use super::{JournalChoice, SqliteError};
use crate::domain::{DateOfBirth, Username};
use crate::store::database_url::SqliteUrl;
use crate::store::{Migrate, OnConflict, User};

/// A file, open for copying.
pub struct SqliteBulk {
    file: DatabaseFile,
    connection: Connection,
}

impl SqliteBulk {
    /// Keeps the journal of a file that others may be using.
    pub fn open(url: &SqliteUrl, migrate: Migrate) -> Result<SqliteBulk, SqliteError> {
        let file = DatabaseFile::prepare(url, journal_in_use(&url.path), migrate)?;
        let connection = file.writer()?;
        Ok(SqliteBulk { file, connection })
    }

    pub fn count(&self) -> Result<u64, SqliteError> {
        let count = "select count(*) from users";
        let count = self.connection.query_row(count, [], |row| row.get::<_, i64>(0));
        self.explain(count.map(i64::unsigned_abs))
    }

    pub fn page(&self, last: &str, size: u32) -> Result<Vec<User>, SqliteError> {
        let page = || {
            let mut page = self.connection.prepare_cached(
                "select username, date_of_birth from users
                 where username > ?1 order by username limit ?2",
            )?;
            let user = |row: &rusqlite::Row<'_>| {
                let username = Username::from_stored(row.get_ref(0)?.as_str()?);
                let StoredDate(born) = row.get(1)?;
                Ok(User { username, born })
            };
            page.query_map((last, size), user)?.collect()
        };
        self.explain(page())
    }

    pub fn find(&self, users: &[User]) -> Result<Vec<Option<DateOfBirth>>, SqliteError> {
        let usernames: Vec<_> = users.iter().map(|user| user.username.clone()).collect();
        self.explain(in_transaction(&self.connection, |connection| {
            find_all(connection, &usernames)
        }))
    }

    pub fn save(&self, users: &[User], on_conflict: OnConflict) -> Result<(), SqliteError> {
        let _journal = self.file.begin_write(&self.connection)?;
        self.explain(finish(&self.connection, |connection| {
            save_all(connection, users, on_conflict)
        }))?;
        self.file.ensure_not_replaced()
    }

    /// Erases those of `usernames` that exist, and returns how many did. Their bytes are
    /// overwritten, in the log too unless somebody reads it right now.
    pub fn erase(&self, usernames: &[Username]) -> Result<u64, SqliteError> {
        self.explain(set(&self.connection, "secure_delete", true))?;
        let journal = self.file.begin_write(&self.connection)?;
        let erased = self.explain(finish(&self.connection, |connection| {
            let mut erase = connection.prepare_cached("delete from users where username = ?1")?;
            let erased = usernames.iter().map(|username| erase.execute([username.as_str()]));
            erased.sum::<rusqlite::Result<usize>>()
        }))?;
        drop(journal);
        self.file.ensure_not_replaced()?;
        if self.file.journal == Journal::Wal {
            let checkpoint = "pragma wal_checkpoint(truncate)";
            self.explain(self.connection.query_row(checkpoint, [], |_| Ok(())))?;
        }
        Ok(erased as u64)
    }

    fn explain<T>(&self, result: rusqlite::Result<T>) -> Result<T, SqliteError> {
        result.map_err(|error| self.file.explain(error))
    }
}

/// A choice that changes nothing where the file allows it. Its header tells whether
/// it is in WAL mode (<https://www.sqlite.org/fileformat.html>, "File format version
/// numbers").
pub(super) fn journal_in_use(path: &Path) -> JournalChoice {
    const WRITE_VERSION: u64 = 18;
    const LEGACY: u8 = 1;
    let mut version = [0];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut version, WRITE_VERSION));
    // A file that is not there yet has none.
    match (read, version) {
        (Ok(()), [LEGACY]) => JournalChoice::Truncate,
        _ => JournalChoice::Auto,
    }
}
