//! Reads the prices that a query for rates asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, Row};
use tokio::time::Instant;

use crate::domain::calendar::day_number;
use crate::domain::rates::{DailyTotals, Places, RatesQuery};

/// Destinations up to which each is looked up by itself. Most origins have prices to a few
/// destinations for months of days.
const LOOKUPS_MAX: usize = 64;

/// How many of more destinations one statement reads, days that nobody asks for included: a few
/// milliseconds at most, for ten years of prices.
const CHUNK: usize = 16;

/// Rows that a short scan has at most: a fraction of a millisecond, if a lookup takes as long as
/// reading `ROWS_PER_LOOKUP`.
const SHORT_SCAN_ROWS_MAX: usize = 4096;
const ROWS_PER_LOOKUP: usize = 12;

/// What a query asks for of one load, and what was read of it.
pub(super) struct Scan {
    load: i64,
    origins: Vec<Box<str>>,
    destinations: Vec<Box<str>>,
    /// The pair to read next, as indexes of these.
    origin: usize,
    destination: usize,
    days: (i32, i32),
    totals: DailyTotals,
    deadline: Instant,
    cancelled: Arc<AtomicBool>,
}

/// How far a scan has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Complete,
    /// Pairs are left to read.
    Paused,
    /// It has taken longer than it may, or was cancelled.
    TooLate,
}

impl Scan {
    /// Scans `load`, whose places are `places`, until `deadline`.
    pub fn new(load: i64, places: &Places, query: &RatesQuery, deadline: Instant) -> Scan {
        let own = |ports: Vec<&str>| ports.into_iter().map(Box::from).collect();
        Scan {
            load,
            origins: own(places.ports_of(&query.origin)),
            destinations: own(places.ports_of(&query.destination)),
            origin: 0,
            destination: 0,
            days: (day_number(query.days.from()), day_number(query.days.to())),
            totals: DailyTotals::none(query.days),
            deadline,
            cancelled: Arc::default(),
        }
    }

    pub fn load(&self) -> i64 {
        self.load
    }

    /// Whether it takes a fraction of a millisecond.
    pub fn is_short(&self) -> bool {
        let (from, to) = self.days;
        let days = usize::try_from(to - from + 1).unwrap_or(usize::MAX);
        let pairs = self.origins.len().saturating_mul(self.destinations.len());
        self.destinations.len() <= LOOKUPS_MAX
            && pairs.saturating_mul(days.max(ROWS_PER_LOOKUP)) <= SHORT_SCAN_ROWS_MAX
    }

    /// Ends the scan soon, wherever it is read, if it is set.
    pub fn cancelled(&self) -> Arc<AtomicBool> {
        self.cancelled.clone()
    }

    pub fn into_totals(self) -> DailyTotals {
        self.totals
    }

    /// Reads everything, but until the deadline.
    pub fn read_all(&mut self, connection: &Connection) -> rusqlite::Result<Progress> {
        self.read(connection, self.deadline)
    }

    /// Reads on until `pause`, and then to the end of a statement.
    pub fn read(&mut self, connection: &Connection, pause: Instant) -> rusqlite::Result<Progress> {
        while self.origin < self.origins.len() {
            while self.destination < self.destinations.len() {
                if self.destinations.len() <= LOOKUPS_MAX {
                    self.read_pair(connection)?;
                } else {
                    self.read_chunk(connection)?;
                }
                let now = Instant::now();
                if now >= self.deadline || self.cancelled.load(Ordering::Relaxed) {
                    return Ok(Progress::TooLate);
                }
                if now >= pause {
                    return Ok(self.progress());
                }
            }
            self.origin += 1;
            self.destination = 0;
        }
        Ok(Progress::Complete)
    }

    fn progress(&self) -> Progress {
        let is_last_origin = self.origin + 1 == self.origins.len();
        match is_last_origin && self.destination == self.destinations.len() {
            true => Progress::Complete,
            false => Progress::Paused,
        }
    }

    /// Reads the next pair.
    fn read_pair(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut prices = connection.prepare_cached(
            "select day, count, sum from prices
             where load = ?1 and orig_code = ?2 and dest_code = ?3 and day between ?4 and ?5",
        )?;
        let (from, to) = self.days;
        let origin = &self.origins[self.origin];
        let destination = &self.destinations[self.destination];
        let mut rows = prices.query((self.load, origin, destination, from, to))?;
        while let Some(row) = rows.next()? {
            add_row(row, &mut self.totals)?;
        }
        self.destination += 1;
        Ok(())
    }

    /// Reads the next pairs of an origin.
    fn read_chunk(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut prices = connection.prepare_cached(
            "select day, count, sum, dest_code from prices
             where load = ?1 and orig_code = ?2 and dest_code between ?3 and ?4
                 and day between ?5 and ?6",
        )?;
        let (from, to) = self.days;
        let origin = &self.origins[self.origin];
        let end = self.destinations.len().min(self.destination + CHUNK);
        let mut rest = &self.destinations[self.destination..end];
        let (first, last) = (&rest[0], &rest[rest.len() - 1]);
        let mut rows = prices.query((self.load, origin, first, last, from, to))?;
        // Rows come in the order of their destinations, as these are.
        while let Some(row) = rows.next()? {
            let destination = row.get_ref(3)?.as_str()?;
            while rest.first().is_some_and(|next| **next < *destination) {
                rest = &rest[1..];
            }
            if rest.first().is_some_and(|next| **next == *destination) {
                add_row(row, &mut self.totals)?;
            }
        }
        self.destination = end;
        Ok(())
    }
}

fn add_row(row: &Row<'_>, totals: &mut DailyTotals) -> rusqlite::Result<()> {
    let [count, sum]: [i64; 2] = [row.get(1)?, row.get(2)?];
    totals.add(row.get(0)?, count.unsigned_abs(), sum.into());
    Ok(())
}
