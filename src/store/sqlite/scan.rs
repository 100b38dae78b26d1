//! Reads the prices that a query for rates asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::Instant;

use crate::domain::calendar::day_number;
use crate::domain::rates::{DailyTotals, Places, RatesQuery};

/// Rows that a short scan has at most: a millisecond or two, if the statements of a pair take as
/// long as reading `ROWS_PER_PAIR`.
const SHORT_SCAN_ROWS_MAX: usize = 4096;
const ROWS_PER_PAIR: u32 = 24;

/// How long a row may take for its scan to be waited for: ten times as long as on a thread that has
/// a processor to itself.
const ROW_TIME_MAX: Duration = Duration::from_micros(4);

/// The prices of a pair, on days that are asked for.
const PRICES: &str = "select day, count, sum from prices
    where load = ?1 and orig_code = ?2 and dest_code = ?3 and day between ?4 and ?5";

/// The first destination, from one on, that an origin has prices to.
const NEXT_DESTINATION: &str = "select min(dest_code) from prices
    where load = ?1 and orig_code = ?2 and dest_code >= ?3";

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
    handle: Arc<ScanHandle>,
}

/// A scan, for a thread that waits until another one has read it.
pub(super) struct ScanHandle {
    is_cancelled: AtomicBool,
    /// How many rows it has read since that was asked, `ROWS_PER_PAIR` for the statements of a pair
    /// included.
    rows: AtomicU32,
    wait_until: Instant,
}

/// How far a scan has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Complete,
    /// Pairs are left to read.
    Paused,
    /// It has taken longer than it may, or was cancelled.
    Stopped,
}

impl Scan {
    /// Scans `load`, whose places are `places`, until `deadline`.
    pub fn new(load: i64, places: &Places, query: &RatesQuery, deadline: Instant) -> Scan {
        let own = |ports: Vec<&str>| ports.into_iter().map(Box::from).collect();
        let now = Instant::now();
        let handle = ScanHandle {
            is_cancelled: AtomicBool::new(false),
            rows: AtomicU32::new(0),
            wait_until: now + deadline.saturating_duration_since(now) / 2,
        };
        Scan {
            load,
            origins: own(places.ports_of(&query.origin)),
            destinations: own(places.ports_of(&query.destination)),
            origin: 0,
            destination: 0,
            days: (day_number(query.days.from()), day_number(query.days.to())),
            totals: DailyTotals::none(query.days),
            deadline,
            handle: Arc::new(handle),
        }
    }

    pub fn load(&self) -> i64 {
        self.load
    }

    /// Whether it takes a millisecond or two at most.
    pub fn is_short(&self) -> bool {
        let (from, to) = self.days;
        let days = usize::try_from(to - from + 1).unwrap_or(usize::MAX);
        let pairs = self.origins.len().saturating_mul(self.destinations.len());
        pairs.saturating_mul(days.max(ROWS_PER_PAIR as usize)) <= SHORT_SCAN_ROWS_MAX
    }

    pub fn handle(&self) -> Arc<ScanHandle> {
        self.handle.clone()
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
        while !self.is_complete() {
            self.read_pair(connection)?;
            let now = Instant::now();
            if now >= self.deadline || self.handle.is_cancelled.load(Ordering::Relaxed) {
                return Ok(Progress::Stopped);
            }
            if now >= pause {
                break;
            }
        }
        Ok(if self.is_complete() { Progress::Complete } else { Progress::Paused })
    }

    fn is_complete(&self) -> bool {
        self.origin == self.origins.len() || self.destinations.is_empty()
    }

    /// Reads the next pair. One without prices is seldom alone: most origins have prices to a few
    /// destinations. So those up to the next one with prices are passed over.
    fn read_pair(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut prices = connection.prepare_cached(PRICES)?;
        let (from, to) = self.days;
        let origin = &self.origins[self.origin];
        let destination = &self.destinations[self.destination];
        let mut rows = prices.query((self.load, origin, destination, from, to))?;
        let mut days = 0;
        while let Some(row) = rows.next()? {
            days += 1;
            let [count, sum]: [i64; 2] = [row.get(1)?, row.get(2)?];
            self.totals.add(row.get(0)?, count.unsigned_abs(), sum.into());
        }
        self.destination += 1;
        self.handle.note_rows(ROWS_PER_PAIR + days);
        if days == 0 {
            self.destination += self.count_without_prices(connection)?;
        }
        if self.destination == self.destinations.len() {
            self.origin += 1;
            self.destination = 0;
        }
        Ok(())
    }

    /// How many of the next destinations the origin has no prices to.
    fn count_without_prices(&self, connection: &Connection) -> rusqlite::Result<usize> {
        let rest = &self.destinations[self.destination..];
        let Some(next) = rest.first() else { return Ok(0) };
        let mut first = connection.prepare_cached(NEXT_DESTINATION)?;
        first.query_row((self.load, &self.origins[self.origin], next), |row| {
            let first = row.get_ref(0)?.as_str_or_null()?;
            // The destinations are in the order of SQLite's index.
            Ok(first.map_or(rest.len(), |first| rest.partition_point(|code| **code < *first)))
        })
    }
}

impl ScanHandle {
    /// Stops the scan soon.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    pub fn note_rows(&self, rows: u32) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Whether to wait for it: it has not been slow in the time that has `elapsed` since the last
    /// call, and half of its own time is left, in which it could be read again.
    pub fn goes_on(&self, elapsed: Duration) -> bool {
        let rows = self.rows.swap(0, Ordering::Relaxed);
        let time_max = ROW_TIME_MAX.saturating_mul(rows);
        rows > 0 && elapsed <= time_max && Instant::now() < self.wait_until
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::civil::date;
    use rusqlite::StatementStatus;

    use super::*;
    use crate::domain::rates::{Code, Days, Place};

    /// Longer than anything takes on the slowest machine.
    const PATIENCE: Duration = Duration::from_secs(120);

    #[test]
    fn prices_that_nobody_asks_for_are_not_read() {
        /// Steps of SQLite's virtual machine: twice what a pair with a price takes, and one without.
        const STEPS_MAX: usize = 10 * 120;
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("migrations/0004_prices.sql")).unwrap();
        let code = |text: &str| Code::parse(text).unwrap();
        let [first, last] = [date(2016, 1, 1), date(2016, 12, 31)].map(day_number);
        let mut insert = connection.prepare("insert into prices values (1, 'P', ?1, ?2, 1, 7)");
        let insert = insert.as_mut().unwrap();
        let mut places = Places::default();
        places.add_region(Place { code: code("region"), parent: None });
        places.add_port(Place { code: code("P"), parent: None });
        // Of ten destinations with prices one is asked for, and nine without.
        for number in 0..100 {
            let parent = (number % 10 == 0).then(|| code("region"));
            for letter in 'A'..='J' {
                let port = format!("{number:02}{letter}");
                places.add_port(Place { code: code(&port), parent: parent.clone() });
            }
            for day in first..=last {
                insert.execute((format!("{number:02}A"), day)).unwrap();
            }
        }
        let asked = date(2016, 6, 1);
        let query = RatesQuery {
            days: Days::new(asked, asked).unwrap(),
            origin: code("P"),
            destination: code("region"),
        };
        let mut scan = Scan::new(1, &places, &query, Instant::now() + PATIENCE);
        assert_eq!(scan.read_all(&connection).unwrap(), Progress::Complete);
        let mut expected = DailyTotals::none(query.days);
        expected.add(day_number(asked), 10, 70);
        assert_eq!(scan.into_totals(), expected);
        let steps = |sql| {
            connection.prepare_cached(sql).unwrap().get_status(StatementStatus::VmStep) as usize
        };
        let [prices, next] = [PRICES, NEXT_DESTINATION].map(steps);
        assert!(prices > 0 && next > 0);
        assert!(prices + next <= STEPS_MAX, "{prices} and {next} steps");
    }
}
