//! Loads rates beside those that are read, and switches from one to the other in one transaction.
//!
//! A single transaction would block all saves for as long as it takes, and with a rollback journal
//! all reads while it is written to disk. So the rows of a load are written in short transactions
//! under a number that no reader uses yet, with pauses in which others get the write lock. Then the
//! number is switched, and the rows of earlier loads are removed, in short transactions again. What
//! a failed load has left is removed by the next one.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};

use super::SqliteError;
use super::bulk::journal_in_use;
use super::file::DatabaseFile;
use super::queries::finish;
use crate::domain::rates::Code;
use crate::store::Migrate;
use crate::store::database_url::SqliteUrl;
use crate::store::rates::{DailySum, NamedPlace, PlaceKind};

/// Rows in a transaction. Saves wait for one of them, which takes some 20 ms.
const ROWS_MAX: usize = 4096;

/// Shortest pause between two transactions: longer than anybody pauses between two attempts to get
/// the write lock.
const PAUSE_MIN: Duration = Duration::from_millis(15);

/// How often to try a transaction that did not get a lock in time, which takes 4 s. A load can wait
/// longer than a request.
const ATTEMPTS_MAX: u32 = 15;

/// A load under way.
pub(crate) struct SqliteRatesLoad {
    file: DatabaseFile,
    connection: Connection,
    number: i64,
}

impl SqliteRatesLoad {
    /// Opens the file, keeping the journal of one that others may be using, and takes a number.
    pub fn begin(url: &SqliteUrl) -> Result<SqliteRatesLoad, SqliteError> {
        let file = DatabaseFile::prepare(url, journal_in_use(&url.path), Migrate::Auto)?;
        let connection = file.writer()?;
        let mut load = SqliteRatesLoad { file, connection, number: 0 };
        load.number = load.transaction(|connection| {
            connection.query_row(
                "insert into rates_loads values (1, null, 1)
                 on conflict (id) do update set newest = newest + 1 returning newest",
                [],
                |row| row.get(0),
            )
        })?;
        load.remove_unread()?;
        Ok(load)
    }

    pub fn add_prices(&mut self, codes: &[Code], sums: &[DailySum]) -> Result<(), SqliteError> {
        let code = |port: u32| codes[port as usize].as_str();
        for sums in sums.chunks(ROWS_MAX) {
            self.write(|connection, load| {
                let mut add = connection.prepare_cached(
                    "insert into prices values (?1, ?2, ?3, ?4, ?5, ?6)
                     on conflict do update set
                         count = count + excluded.count, sum = sum + excluded.sum",
                )?;
                for sum in sums {
                    let (origin, destination) = (code(sum.origin), code(sum.destination));
                    add.execute((load, origin, destination, sum.day, sum.count, sum.sum))?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    pub fn add_places(
        &mut self,
        kind: PlaceKind,
        places: &[NamedPlace],
    ) -> Result<(), SqliteError> {
        let insert = format!("insert into {} values (?1, ?2, ?3, ?4)", kind.table());
        for places in places.chunks(ROWS_MAX) {
            self.write(|connection, load| {
                let mut add = connection.prepare_cached(&insert)?;
                for NamedPlace { place, name } in places {
                    let parent = place.parent.as_ref().map(Code::as_str);
                    add.execute((load, place.code.as_str(), name, parent))?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    pub fn finish(self) -> Result<(), SqliteError> {
        self.write(|connection, load| {
            connection.execute("update rates_loads set current = ?1", [load]).map(drop)
        })?;
        // The rates are loaded. What cannot be removed now takes room until the next load.
        let _ = self.remove_unread();
        Ok(())
    }

    pub fn abort(self) -> Result<(), SqliteError> {
        self.remove(self.number)
    }

    /// Removes the rows of loads that are not read, but for those of this one and later ones.
    fn remove_unread(&self) -> Result<(), SqliteError> {
        // Two ranges of the key, so that the rows in between are not read.
        let unread = "select min(load) from (
                select load from (select load from prices where load < ?1 order by load limit 1)
                union all select load from ports where load < ?1
                union all select load from regions where load < ?1
                union all select load from (
                    select load from prices where load > ?1 and load < ?2 order by load limit 1)
                union all select load from ports where load > ?1 and load < ?2
                union all select load from regions where load > ?1 and load < ?2)";
        loop {
            let current = super::rates::current_load(&self.connection);
            let current = self.explain(current)?.unwrap_or(0).min(self.number);
            let unread =
                self.connection.query_row(unread, [current, self.number], |row| row.get(0));
            match self.explain(unread.optional())?.flatten() {
                Some(load) => self.remove(load)?,
                None => return Ok(()),
            }
        }
    }

    fn remove(&self, load: i64) -> Result<(), SqliteError> {
        for (table, key) in
            [("prices", "orig_code, dest_code, day"), ("ports", "code"), ("regions", "slug")]
        {
            let some = format!(
                "delete from {table} where load = ?1 and ({key}) in
                 (select {key} from {table} where load = ?1 limit {ROWS_MAX})"
            );
            while self.transaction(|connection| connection.execute(&some, [load]))? > 0 {}
        }
        Ok(())
    }

    /// Does `work` in a short transaction, unless another load has begun meanwhile, which removes
    /// what this one wrote.
    fn write(
        &self,
        mut work: impl FnMut(&Connection, i64) -> rusqlite::Result<()>,
    ) -> Result<(), SqliteError> {
        let is_newest = self.transaction(|connection| {
            let newest = "select newest from rates_loads";
            let newest: i64 = connection.query_row(newest, [], |row| row.get(0))?;
            if newest != self.number {
                return Ok(false);
            }
            work(connection, self.number).map(|()| true)
        })?;
        match is_newest {
            true => Ok(()),
            false => Err(SqliteError::LoadOvertaken(self.file.path().to_owned())),
        }
    }

    /// Does `work` in a transaction that has the write lock, and leaves that to others for as long
    /// as it had it.
    fn transaction<T>(
        &self,
        mut work: impl FnMut(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SqliteError> {
        let mut attempts = 1;
        loop {
            match self.try_transaction(&mut work) {
                Err(SqliteError::Locked(_)) if attempts < ATTEMPTS_MAX => attempts += 1,
                result => return result,
            }
        }
    }

    fn try_transaction<T>(
        &self,
        work: &mut impl FnMut(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SqliteError> {
        let journal = self.file.begin_write(&self.connection)?;
        let began = Instant::now();
        let done = self.explain(finish(&self.connection, work));
        let pause = began.elapsed().max(PAUSE_MIN);
        drop(journal);
        self.file.ensure_not_replaced()?;
        sleep(pause);
        done
    }

    fn explain<T>(&self, result: rusqlite::Result<T>) -> Result<T, SqliteError> {
        result.map_err(|error| self.file.explain(error))
    }
}
