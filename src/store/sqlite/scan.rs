//! Reads the prices that a query for rates asks for.

use rusqlite::{Connection, Row};
use tokio::time::Instant;

use crate::domain::calendar::day_number;
use crate::domain::rates::{DailyTotals, Places, RatesQuery};

/// Destinations up to which each is looked up by itself, rather than reading all prices of an
/// origin. Most origins have prices to a few destinations for months of days.
const LOOKUPS_MAX: usize = 64;

/// How many rows can be read while one is looked up.
const ROWS_PER_LOOKUP: usize = 12;

/// Rows between two looks at the clock: a fraction of a millisecond.
const ROWS_PER_CLOCK: usize = 4096;

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
}

/// How far a scan has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Complete,
    /// Pairs are left to read.
    Paused,
    /// It has taken longer than it may.
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
        }
    }

    pub fn load(&self) -> i64 {
        self.load
    }

    /// Whether it takes a fraction of a millisecond: it is of a few pairs and days.
    pub fn is_short(&self) -> bool {
        let (from, to) = self.days;
        let days = usize::try_from(to - from + 1).unwrap_or(usize::MAX);
        let pairs = self.origins.len().saturating_mul(self.destinations.len());
        pairs.saturating_mul(days.max(ROWS_PER_LOOKUP)) <= ROWS_PER_CLOCK
    }

    pub fn into_totals(self) -> DailyTotals {
        self.totals
    }

    /// Reads everything, but until the deadline.
    pub fn read_all(&mut self, connection: &Connection) -> rusqlite::Result<Progress> {
        self.read(connection, self.deadline)
    }

    /// Reads on until `pause`, and then to the end of a pair.
    pub fn read(&mut self, connection: &Connection, pause: Instant) -> rusqlite::Result<Progress> {
        let mut clock =
            Clock { pause, deadline: self.deadline, rows: 0, progress: Progress::Complete };
        while self.origin < self.origins.len() {
            while self.destination < self.destinations.len() {
                if clock.progress != Progress::Complete {
                    return Ok(clock.progress);
                }
                if self.destinations.len() <= LOOKUPS_MAX {
                    self.read_pair(connection, &mut clock)?;
                } else {
                    self.read_pairs(connection, &mut clock)?;
                }
            }
            self.origin += 1;
            self.destination = 0;
        }
        Ok(match clock.progress {
            Progress::TooLate => Progress::TooLate,
            Progress::Paused | Progress::Complete => Progress::Complete,
        })
    }

    /// Reads the next pair.
    fn read_pair(&mut self, connection: &Connection, clock: &mut Clock) -> rusqlite::Result<()> {
        let mut prices = connection.prepare_cached(
            "select day, count, sum from prices
             where load = ?1 and orig_code = ?2 and dest_code = ?3 and day between ?4 and ?5",
        )?;
        let (origin, destination) =
            (&self.origins[self.origin], &self.destinations[self.destination]);
        let (from, to) = self.days;
        clock.advance(ROWS_PER_LOOKUP);
        let mut rows = prices.query((self.load, origin, destination, from, to))?;
        while let Some(row) = rows.next()? {
            add_row(row, &mut self.totals)?;
            clock.advance(1);
            if clock.progress == Progress::TooLate {
                break;
            }
        }
        self.destination += 1;
        Ok(())
    }

    /// Reads the rest of the pairs of an origin.
    fn read_pairs(&mut self, connection: &Connection, clock: &mut Clock) -> rusqlite::Result<()> {
        let mut prices = connection.prepare_cached(
            "select day, count, sum, dest_code from prices
             where load = ?1 and orig_code = ?2 and dest_code >= ?3 and day between ?4 and ?5",
        )?;
        let (from, to) = self.days;
        let first = &self.destinations[self.destination];
        clock.advance(ROWS_PER_LOOKUP);
        let mut rows = prices.query((self.load, &self.origins[self.origin], first, from, to))?;
        // Rows come in the order of their destinations, as these are.
        while let Some(row) = rows.next()? {
            let destination = row.get_ref(3)?.as_str()?;
            let before = self.destination;
            while self.destinations.get(self.destination).is_some_and(|next| **next < *destination)
            {
                self.destination += 1;
            }
            let is_next_pair = self.destination > before;
            if clock.progress == Progress::TooLate
                || (is_next_pair && clock.progress == Progress::Paused)
            {
                return Ok(());
            }
            match self.destinations.get(self.destination) {
                Some(next) if **next == *destination => add_row(row, &mut self.totals)?,
                Some(_) => {}
                None => break,
            }
            clock.advance(1);
        }
        self.destination = self.destinations.len();
        Ok(())
    }
}

fn add_row(row: &Row<'_>, totals: &mut DailyTotals) -> rusqlite::Result<()> {
    let [count, sum]: [i64; 2] = [row.get(1)?, row.get(2)?];
    totals.add(row.get(0)?, count.unsigned_abs(), sum.into());
    Ok(())
}

/// Tells when a scan is to pause or has taken too long, at the cost of a counter for each row.
struct Clock {
    pause: Instant,
    deadline: Instant,
    rows: usize,
    progress: Progress,
}

impl Clock {
    fn advance(&mut self, rows: usize) {
        self.rows += rows;
        if self.rows >= ROWS_PER_CLOCK {
            self.rows = 0;
            let now = Instant::now();
            if now >= self.deadline {
                self.progress = Progress::TooLate;
            } else if now >= self.pause {
                self.progress = Progress::Paused;
            }
        }
    }
}
