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

    /// Erases those of `usernames` that exist, and returns how many did. Their rows are overwritten,
    /// but the log holds them until it is truncated. The unused part of a page may keep a copy of a
    /// row that has moved to another page, until the file is vacuumed.
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
        Ok(erased as u64)
    }

    /// Truncates the write-ahead log, if there is one: a rollback journal is truncated with each
    /// commit. Fails if somebody reads what is only in the log.
    pub fn truncate_log(&self) -> Result<(), SqliteError> {
        if self.file.journal == Journal::Truncate {
            return Ok(());
        }
        let checkpoint = "pragma wal_checkpoint(truncate)";
        let is_busy = self.connection.query_row(checkpoint, [], |row| row.get(0));
        match self.explain(is_busy)? {
            true => Err(SqliteError::LogInUse(self.file.path().to_owned())),
            false => Ok(()),
        }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::civil::date;
    use tempfile::TempDir;

    use super::super::file::execute;
    use super::*;

    fn prepare(folder: &TempDir, journal: JournalChoice) -> (SqliteUrl, DatabaseFile) {
        let url = SqliteUrl { path: folder.path().join("users.db"), may_create: true };
        let file = DatabaseFile::prepare(&url, journal, Migrate::Auto).unwrap();
        (url, file)
    }

    /// Names whose order has nothing to do with that in which they are saved.
    fn usernames(number: u64) -> Vec<Username> {
        let letter = |digit| char::from(b'a' + u8::try_from(digit % 26).unwrap());
        let name = |index: u64| {
            let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (0..10).map(|place| letter(mixed >> (6 * place))).collect::<String>()
        };
        (1..=number).map(|index| Username::parse(&name(index)).unwrap()).collect()
    }

    fn save(connection: &Connection, usernames: &[Username]) {
        let born = DateOfBirth::from_stored(date(1990, 5, 20));
        let user = |username: &Username| User { username: username.clone(), born };
        let users: Vec<User> = usernames.iter().map(user).collect();
        save_all(connection, &users, OnConflict::Replace).unwrap();
    }

    /// How many of `usernames` can be read in any file of `folder`.
    fn readable(folder: &TempDir, usernames: &[Username]) -> usize {
        let files = fs::read_dir(folder.path()).unwrap();
        let bytes: Vec<u8> =
            files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
        let words: Vec<&[u8]> = bytes.chunk_by(|_, next| next.is_ascii_lowercase()).collect();
        let is_in = |name: &&Username| {
            let name = name.as_str().as_bytes();
            words.iter().any(|word| word.windows(name.len()).any(|part| part == name))
        };
        usernames.iter().filter(is_in).count()
    }

    #[test]
    fn one_in_a_hundred_who_are_erased_is_left_in_a_page_that_was_split_at_most() {
        for journal in [JournalChoice::Wal, JournalChoice::Truncate] {
            let folder = TempDir::new().unwrap();
            let (url, file) = prepare(&folder, journal);
            let usernames = usernames(3000);
            let writer = file.writer().unwrap();
            for batch in usernames.chunks(16) {
                let _journal = file.begin_write(&writer).unwrap();
                finish(&writer, |writer| {
                    save(writer, batch);
                    Ok(())
                })
                .unwrap();
            }
            let (erased, kept) = usernames.split_at(300);
            assert_eq!(readable(&folder, erased), erased.len(), "{journal:?}");
            let bulk = SqliteBulk::open(&url, Migrate::Check).unwrap();
            assert_eq!(bulk.erase(erased).unwrap(), erased.len() as u64);
            bulk.truncate_log().unwrap();
            let left = readable(&folder, erased);
            assert!(left <= erased.len() / 100, "{journal:?}: {left} of {}", erased.len());
            assert_eq!(readable(&folder, kept), kept.len(), "{journal:?}");
        }
    }

    #[test]
    fn a_log_that_is_read_for_long_is_an_error_and_to_erase_again_ends_it() {
        let folder = TempDir::new().unwrap();
        let (url, file) = prepare(&folder, JournalChoice::Wal);
        let usernames = usernames(1);
        save(&file.writer().unwrap(), &usernames);
        let reader = file.reader().unwrap();
        execute(&reader, "begin").unwrap();
        find_all(&reader, &usernames).unwrap();
        let bulk = SqliteBulk::open(&url, Migrate::Check).unwrap();
        assert_eq!(bulk.erase(&usernames).unwrap(), 1);
        let truncated = bulk.truncate_log();
        assert!(matches!(truncated, Err(SqliteError::LogInUse(_))), "{truncated:?}");
        execute(&reader, "commit").unwrap();
        assert_eq!(bulk.erase(&usernames).unwrap(), 0);
        bulk.truncate_log().unwrap();
        assert_eq!(readable(&folder, &usernames), 0);
    }
}
