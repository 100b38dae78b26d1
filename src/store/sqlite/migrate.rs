//! The schema of a database file, and the journal that it is given.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use super::SqliteError;
use super::file::{DatabaseFile, LOCK_TIMEOUT, execute, set};
use super::journal::Journal;
use crate::store::schema::{self, Migrate, Migration, SchemaVersion};

/// This release's schema, in steps.
const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("migrations/0001_users.sql"), works_with: 1 },
    Migration { sql: include_str!("migrations/0002_regions.sql"), works_with: 1 },
    Migration { sql: include_str!("migrations/0003_ports.sql"), works_with: 1 },
    Migration { sql: include_str!("migrations/0004_prices.sql"), works_with: 1 },
    Migration { sql: include_str!("migrations/0005_rates_loads.sql"), works_with: 1 },
];

/// Marks a file as ours: "HBDY" (<https://www.sqlite.org/pragma.html#pragma_application_id>).
const APPLICATION_ID: i32 = 0x4842_4459;

/// Bytes of a page in a new file with a write-ahead log. A commit writes every page that it changed,
/// and users of one batch are seldom on the same page. SQLite's default of 4096 stays where the
/// file is on a network, as each page that is read may be a round trip there. Pages smaller than a
/// disk's sectors are as safe: when the power fails, what is beside the bytes being written stays
/// as it is, which SQLite takes for granted of disks (<https://www.sqlite.org/psow.html>).
const WAL_PAGE_BYTES: u32 = 1024;

impl DatabaseFile {
    /// Brings the file to this release's schema, as far as `how` allows.
    pub fn migrate(&self, how: Migrate) -> Result<(), SqliteError> {
        let connection = self.open()?;
        let explain = |error| self.explain(error);
        if self.journal == Journal::Wal {
            // Changes nothing in a file that has pages.
            set(&connection, "page_size", WAL_PAGE_BYTES).map_err(explain)?;
        }
        let found = self.verify_and_set_journal(&connection)?;
        if self.missing(found)?.next().is_none() {
            // Up to date: do not wait for the write lock.
            return Ok(());
        }
        if how == Migrate::Check {
            return Err(SqliteError::NotMigrated(self.path().to_owned()));
        }
        // Another instance may be migrating too: one waits, and finds it done.
        let _journal = self.begin_write(&connection)?;
        // Dropped before the journal, which rolls back what is not committed.
        let connection = connection;
        for (version, migration) in self.missing(self.verify_ours(&connection)?)? {
            apply(&connection, version, migration).map_err(explain)?;
        }
        execute(&connection, "commit").map_err(explain)
    }

    fn missing(
        &self,
        found: SchemaVersion,
    ) -> Result<impl Iterator<Item = (u32, &'static Migration)>, SqliteError> {
        schema::missing(found, MIGRATIONS).map_err(|schema::MadeByNewerRelease| {
            SqliteError::MadeByNewerRelease(self.path().to_owned())
        })
    }

    /// Makes sure that the file is ours before anything is written to it, and gives it its journal.
    pub fn verify_and_set_journal(
        &self,
        connection: &Connection,
    ) -> Result<SchemaVersion, SqliteError> {
        let lock =
            |mode| set(connection, "locking_mode", mode).map_err(|error| self.explain(error));
        // A WAL file that is to be converted is read by this process alone, and
        // so without the shared memory that other hosts would not see.
        if self.journal == Journal::Truncate {
            lock("exclusive")?;
        }
        self.verify_ours(connection)?;
        self.set_journal(connection)?;
        if self.journal == Journal::Truncate {
            // The lock goes with the next transaction.
            lock("normal")?;
        }
        self.verify_ours(connection)
    }

    /// Finds what schema the file has, or why it is not ours to use.
    fn verify_ours(&self, connection: &Connection) -> Result<SchemaVersion, SqliteError> {
        let (application_id, tables, found) =
            read_schema(connection).map_err(|error| self.explain(error))?;
        let is_new = application_id == 0 && tables == 0;
        if application_id != APPLICATION_ID && !is_new {
            return Err(SqliteError::NotOurs(self.path().to_owned()));
        }
        self.missing(found).map(|_| found)
    }

    fn set_journal(&self, connection: &Connection) -> Result<(), SqliteError> {
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
                _ if started.elapsed() > LOCK_TIMEOUT => {
                    return Err(SqliteError::JournalInUse(self.path().to_owned(), self.journal));
                }
                _ => sleep(Duration::from_millis(10)),
            }
        }
    }
}

fn read_schema(connection: &Connection) -> rusqlite::Result<(i32, u32, SchemaVersion)> {
    // The tables first: an instance that migrates the file right now commits them
    // with the application id, which is thus there wherever they are.
    let tables =
        connection.query_row("select count(*) from sqlite_schema", [], |row| row.get(0))?;
    let application_id = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let found = if application_id == APPLICATION_ID {
        connection.query_row(
            "select coalesce(max(version), 0), coalesce(max(works_with), 0) from schema_versions",
            [],
            |row| Ok(SchemaVersion { version: row.get(0)?, works_with: row.get(1)? }),
        )?
    } else {
        SchemaVersion::default()
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tempfile::TempDir;

    use super::super::journal::JournalChoice;
    use super::*;
    use crate::store::database_url::SqliteUrl;

    fn page_bytes(path: &Path, choice: JournalChoice) -> u32 {
        let url = SqliteUrl { path: path.to_owned(), may_create: true };
        let file = DatabaseFile::prepare(&url, choice, Migrate::Auto).unwrap();
        let connection = file.reader().unwrap();
        connection.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_new_file_has_pages_for_its_journal_and_keeps_them_with_another() {
        let (wal, truncate) = (JournalChoice::Wal, JournalChoice::Truncate);
        for (choice, other, bytes) in [(wal, truncate, WAL_PAGE_BYTES), (truncate, wal, 4096)] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("users.db");
            assert_eq!(page_bytes(&path, choice), bytes, "{choice:?}");
            assert_eq!(page_bytes(&path, other), bytes, "{choice:?}, then {other:?}");
        }
    }
}
