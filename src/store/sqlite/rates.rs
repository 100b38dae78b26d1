//! Reads rates, one query in a transaction.

use anyhow::ensure;
use rusqlite::{Connection, OptionalExtension, Row};
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
};
use thread_priority::{ThreadPriority, thread_native_id};
use tokio::time::Instant;

use super::file::{DatabaseFile, execute};
use super::journal::Journal;
use super::queries::finish;
use super::worker::BlockingBackend;
use crate::domain::calendar::day_number;
use crate::domain::rates::{Code, DailyTotals, Place, Places, RatesQuery};
use crate::store::batch::BatchError;
use crate::store::rates::LoadedPlaces;

/// Destinations up to which each is looked up by itself, rather than reading all prices of an
/// origin. A lookup takes as long as reading a dozen rows, and most origins have prices to a few
/// destinations for months of days.
const LOOKUPS_MAX: usize = 64;

/// Rows between two looks at the clock: a fraction of a millisecond.
const ROWS_PER_CLOCK: usize = 4096;

/// Executes queries, on a connection of its own.
pub(super) struct RatesReader {
    file: DatabaseFile,
    /// Opened again after it failed.
    connection: Option<Connection>,
    places: Option<LoadedPlaces>,
}

impl RatesReader {
    /// Opens the connection with the first query.
    pub fn new(file: DatabaseFile) -> RatesReader {
        RatesReader { file, connection: None, places: None }
    }
}

impl BlockingBackend<RatesQuery, Option<DailyTotals>> for RatesReader {
    type Transaction = Connection;

    fn begin(&mut self) -> Result<Connection, BatchError> {
        self.file.ensure_not_replaced()?;
        // Taken out: a connection that failed does not come back.
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                // With a rollback journal a commit waits for queries, which then must not wait
                // for others.
                if self.file.journal == Journal::Wal {
                    give_way();
                }
                self.file.reader()?
            }
        };
        // For as long as it takes to lock the file, and not for the query: others may read
        // meanwhile, and SQLite lets no new reader in while a commit waits.
        let _turn = self.file.wait_for_turn();
        let explain = |error| self.file.explain(error);
        execute(&connection, "begin").map_err(explain)?;
        current_load(&connection).map_err(explain)?;
        Ok(connection)
    }

    fn run(
        &mut self,
        connection: Connection,
        queries: Vec<RatesQuery>,
        deadline: Instant,
    ) -> Result<Vec<Option<DailyTotals>>, BatchError> {
        let mut too_late = false;
        let places = &mut self.places;
        let found = finish(&connection, |connection| {
            let Some(load) = current_load(connection)? else {
                return Ok(vec![None; queries.len()]);
            };
            if places.as_ref().is_none_or(|places| places.version != load) {
                *places =
                    Some(LoadedPlaces { version: load, places: read_places(connection, load)? });
            }
            let LoadedPlaces { places, .. } = places.as_ref().expect("they were just read");
            let mut clock = Clock { deadline, rows: 0, is_late: false };
            let found = queries
                .iter()
                .map(|query| find(connection, load, places, query, &mut clock).map(Some))
                .collect();
            too_late = clock.is_late;
            found
        });
        ensure!(!too_late, "a query for rates took longer than a request may");
        let found = found.map_err(|error| self.file.explain(error))?;
        self.connection = Some(connection);
        Ok(found)
    }
}

/// Has this thread run only while the others leave a processor idle: those of this service, and
/// unless it has a control group with a weight, those of the whole host. Queries read thousands of
/// rows, and the event loop and saves need a processor for microseconds, but at once. The lowest
/// nice value is not enough, since Linux lets a thread that runs finish its slice of some
/// milliseconds before one that wakes up; unless it is of SCHED_IDLE (sched(7)). Where that is not
/// allowed, queries compete with the rest.
fn give_way() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
}

/// Tells when a query has taken too long, at the cost of a counter for each row.
struct Clock {
    deadline: Instant,
    rows: usize,
    is_late: bool,
}

impl Clock {
    fn ticks_on(&mut self) -> bool {
        self.rows += 1;
        if self.rows.is_multiple_of(ROWS_PER_CLOCK) {
            self.is_late |= Instant::now() >= self.deadline;
        }
        !self.is_late
    }
}

/// The number of the load that is read.
pub(super) fn current_load(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let mut current = connection.prepare_cached("select current from rates_loads")?;
    Ok(current.query_row([], |row| row.get(0)).optional()?.flatten())
}

fn read_places(connection: &Connection, load: i64) -> rusqlite::Result<Places> {
    let place = |row: &Row<'_>| {
        let parent = row.get_ref(1)?.as_str_or_null()?.map(Code::from_stored);
        Ok(Place { code: Code::from_stored(row.get_ref(0)?.as_str()?), parent })
    };
    let mut places = Places::default();
    let mut ports = connection.prepare("select code, parent_slug from ports where load = ?1")?;
    for port in ports.query_map([load], place)? {
        places.add_port(port?);
    }
    let mut regions =
        connection.prepare("select slug, parent_slug from regions where load = ?1")?;
    for region in regions.query_map([load], place)? {
        places.add_region(region?);
    }
    Ok(places)
}

fn find(
    connection: &Connection,
    load: i64,
    places: &Places,
    query: &RatesQuery,
    clock: &mut Clock,
) -> rusqlite::Result<DailyTotals> {
    let mut totals = DailyTotals::none(query.days);
    let origins = places.ports_of(&query.origin);
    let destinations = places.ports_of(&query.destination);
    let days = (day_number(query.days.from()), day_number(query.days.to()));
    for origin in origins {
        if destinations.len() <= LOOKUPS_MAX {
            for destination in &destinations {
                let pair = (load, origin, *destination);
                add_pair(connection, pair, days, &mut totals, clock)?;
            }
        } else {
            add_origin(connection, (load, origin), &destinations, days, &mut totals, clock)?;
        }
        if !clock.ticks_on() {
            break;
        }
    }
    Ok(totals)
}

/// Adds the prices from a port to another.
fn add_pair(
    connection: &Connection,
    (load, origin, destination): (i64, &str, &str),
    (from, to): (i32, i32),
    totals: &mut DailyTotals,
    clock: &mut Clock,
) -> rusqlite::Result<()> {
    let mut prices = connection.prepare_cached(
        "select day, count, sum from prices
         where load = ?1 and orig_code = ?2 and dest_code = ?3 and day between ?4 and ?5",
    )?;
    let mut rows = prices.query((load, origin, destination, from, to))?;
    while let Some(row) = rows.next()?.filter(|_| clock.ticks_on()) {
        add_row(row, totals)?;
    }
    Ok(())
}

/// Adds the prices from a port to all `destinations`, which are in order.
fn add_origin(
    connection: &Connection,
    (load, origin): (i64, &str),
    destinations: &[&str],
    (from, to): (i32, i32),
    totals: &mut DailyTotals,
    clock: &mut Clock,
) -> rusqlite::Result<()> {
    let mut prices = connection.prepare_cached(
        "select day, count, sum, dest_code from prices
         where load = ?1 and orig_code = ?2 and day between ?3 and ?4",
    )?;
    let mut rows = prices.query((load, origin, from, to))?;
    // Rows come in the order of their destinations, as these are.
    let mut rest = destinations;
    while let Some(row) = rows.next()?.filter(|_| clock.ticks_on()) {
        let destination = row.get_ref(3)?.as_str()?;
        while rest.first().is_some_and(|next| *next < destination) {
            rest = &rest[1..];
        }
        match rest.first() {
            Some(next) if *next == destination => add_row(row, totals)?,
            Some(_) => {}
            None => break,
        }
    }
    Ok(())
}

fn add_row(row: &Row<'_>, totals: &mut DailyTotals) -> rusqlite::Result<()> {
    let [count, sum]: [i64; 2] = [row.get(1)?, row.get(2)?];
    totals.add(row.get(0)?, count.unsigned_abs(), sum.into());
    Ok(())
}
