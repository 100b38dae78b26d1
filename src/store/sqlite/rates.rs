//! Executes queries for rates without keeping birthdays waiting.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use rusqlite::{Connection, OptionalExtension, Row};
use tokio::time::Instant;

use super::SqliteError;
use super::file::{DatabaseFile, execute, set};
use super::idle_thread::IdleThread;
use super::journal::Journal;
use super::scan::{Progress, Scan};
use super::worker::BlockingBackend;
use crate::domain::rates::{Code, DailyTotals, Place, Places, RatesQuery};
use crate::store::batch::BatchError;
use crate::store::rates::LoadedPlaces;

/// How long a scan reads in one transaction on the worker's own thread. With a rollback journal a
/// commit waits for every transaction that reads, and later lookups wait for the commit.
const SLICE: Duration = Duration::from_millis(5);

/// How long a scan may take on the idle thread. With a processor of its own, a month of a million
/// prices takes it 35 ms; after this there is most likely none idle.
const IDLE_TIMEOUT: Duration = Duration::from_millis(250);

/// While no processor is idle, how many times as long as a scan took here the next one may wait for
/// one: so scans take about a tenth of a processor from those that have more urgent work.
const IDLE_TIMEOUT_FACTOR: u32 = 9;

/// Pages that a connection keeps in memory whose scans are read on the idle thread. SQLite allocates
/// this many at once (`SQLITE_DEFAULT_PCACHE_INITSZ`), by the first read, on the worker's own thread.
/// More would be allocated on the idle thread, and freed whenever somebody has saved; meanwhile the
/// allocator and the kernel lock what all threads share. A scan reads each page once anyway.
const IDLE_CACHE_PAGES: u32 = 20;

/// How often to look whether a scan that was cancelled has ended.
const TAKE_BACK_EVERY: Duration = Duration::from_millis(100);

/// How long to wait at the end for a scan that was cancelled. One that is given up keeps the log
/// from being copied into the file, which the next start does.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Executes queries, each of which may read a hundred thousand rows, where the event loop and saves
/// need a processor for microseconds, but at once. With a write-ahead log, which lets others read
/// and save meanwhile, prices are read on a thread that runs while a processor is idle.
pub(super) struct RatesReader {
    file: DatabaseFile,
    /// Those that are open and in no transaction.
    connections: Vec<Connection>,
    places: Option<LoadedPlaces>,
    idle_thread: Option<IdleThread<IdleScan>>,
    idle_timeout: Duration,
    slice: Duration,
}

/// A scan in the transaction of its connection.
struct IdleScan {
    connection: Connection,
    scan: Scan,
    /// `None` until it has ended, and if it panicked.
    outcome: Option<rusqlite::Result<Progress>>,
}

impl RatesReader {
    /// Opens connections when queries need them.
    pub fn new(file: DatabaseFile) -> std::io::Result<RatesReader> {
        let start = || {
            IdleThread::start("rates-idle", |IdleScan { connection, scan, outcome }| {
                *outcome = Some(scan.read_all(connection));
            })
        };
        let idle_thread = (file.journal == Journal::Wal).then(start).transpose()?;
        Ok(RatesReader {
            file,
            connections: Vec::new(),
            places: None,
            idle_thread,
            idle_timeout: IDLE_TIMEOUT,
            slice: SLICE,
        })
    }

    fn connect(&self) -> Result<Connection, SqliteError> {
        let connection = self.file.reader()?;
        if self.idle_thread.is_some() {
            set(&connection, "cache_size", IDLE_CACHE_PAGES)
                .map_err(|error| self.file.explain(error))?;
        }
        Ok(connection)
    }

    /// Begins a transaction that reads, on a connection that is in none.
    fn begin_on_another(&mut self) -> Result<Connection, BatchError> {
        // Taken out: a connection that failed does not come back.
        let connection = match self.connections.pop() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        self.begin_on(&connection)?;
        Ok(connection)
    }

    /// Returns the load that it reads.
    fn begin_on(&self, connection: &Connection) -> Result<Option<i64>, SqliteError> {
        // For as long as it takes to lock the file, and not for the query: others may read
        // meanwhile, and SQLite lets no new reader in while a commit waits.
        let _turn = self.file.wait_for_turn();
        execute(connection, "begin")
            .and_then(|()| current_load(connection))
            .map_err(|error| self.file.explain(error))
    }

    /// Finds what `query` asks for in the transaction of `connection` or, where that takes long, in
    /// others. Returns a connection that is in one.
    fn find(
        &mut self,
        connection: Connection,
        query: &RatesQuery,
        deadline: Instant,
    ) -> Result<(Connection, Option<DailyTotals>), BatchError> {
        let Some(scan) = self.start_scan(&connection, query, deadline)? else {
            return Ok((connection, None));
        };
        if scan.is_short() || self.idle_thread.is_none() {
            return self.read_here(connection, scan, query, deadline);
        }
        let (connection, read) = self.read_when_idle(connection, scan)?;
        if let Some(scan) = read {
            return Ok((connection, Some(scan.into_totals())));
        }
        let Some(scan) = self.start_scan(&connection, query, deadline)? else {
            return Ok((connection, None));
        };
        let began = Instant::now();
        let found = self.read_here(connection, scan, query, deadline);
        self.idle_timeout = IDLE_TIMEOUT.min(began.elapsed() * IDLE_TIMEOUT_FACTOR);
        found
    }

    /// Reads on the idle thread. Returns no scan if no processor is idle for long enough.
    fn read_when_idle(
        &mut self,
        connection: Connection,
        scan: Scan,
    ) -> Result<(Connection, Option<Scan>), BatchError> {
        self.take_back(self.idle_timeout);
        let Some(thread) = &mut self.idle_thread else { return Ok((connection, None)) };
        let cancelled = scan.cancelled();
        if let Err(job) = thread.begin(IdleScan { connection, scan, outcome: None }) {
            return Ok((job.connection, None));
        }
        let Some(IdleScan { connection, scan, outcome }) =
            thread.finish(self.idle_timeout, || false)
        else {
            cancelled.store(true, Ordering::Relaxed);
            return Ok((self.begin_on_another()?, None));
        };
        self.idle_timeout = IDLE_TIMEOUT;
        let progress = outcome.ok_or_else(|| anyhow!("the scan panicked"))?;
        ensure_in_time(progress.map_err(|error| self.file.explain(error))?)?;
        Ok((connection, Some(scan)))
    }

    /// Takes the connection of a cancelled scan back. Until then its transaction keeps the log from
    /// being started again.
    fn take_back(&mut self, timeout: Duration) {
        if let Some(thread) = self.idle_thread.as_mut().filter(|thread| thread.is_busy())
            && let Some(IdleScan { connection, outcome: Some(Ok(_)), .. }) =
                thread.finish(timeout, || false)
            && execute(&connection, "rollback").is_ok()
        {
            self.connections.push(connection);
        }
    }

    fn start_scan(
        &mut self,
        connection: &Connection,
        query: &RatesQuery,
        deadline: Instant,
    ) -> Result<Option<Scan>, SqliteError> {
        let explain = |error| self.file.explain(error);
        let Some(load) = current_load(connection).map_err(explain)? else { return Ok(None) };
        let places = match self.places.take_if(|places| places.version == load) {
            Some(places) => places,
            None => LoadedPlaces {
                version: load,
                places: read_places(connection, load).map_err(explain)?,
            },
        };
        let LoadedPlaces { places, .. } = self.places.insert(places);
        Ok(Some(Scan::new(load, places, query, deadline)))
    }

    /// Reads on this thread. Between slices it is in no transaction; should a load replace the rates
    /// then, it starts again.
    fn read_here(
        &mut self,
        connection: Connection,
        mut scan: Scan,
        query: &RatesQuery,
        deadline: Instant,
    ) -> Result<(Connection, Option<DailyTotals>), BatchError> {
        loop {
            let progress = scan
                .read(&connection, Instant::now() + self.slice)
                .map_err(|error| self.file.explain(error))?;
            ensure_in_time(progress)?;
            if progress == Progress::Complete {
                return Ok((connection, Some(scan.into_totals())));
            }
            execute(&connection, "commit").map_err(|error| self.file.explain(error))?;
            let load = self.begin_on(&connection)?;
            if load != Some(scan.load()) {
                let Some(restarted) = self.start_scan(&connection, query, deadline)? else {
                    return Ok((connection, None));
                };
                scan = restarted;
            }
        }
    }
}

impl BlockingBackend<RatesQuery, Option<DailyTotals>> for RatesReader {
    type Transaction = Connection;

    fn begin(&mut self) -> Result<Connection, BatchError> {
        self.file.ensure_not_replaced()?;
        self.begin_on_another()
    }

    fn run(
        &mut self,
        mut connection: Connection,
        queries: Vec<RatesQuery>,
        deadline: Instant,
    ) -> Result<Vec<Option<DailyTotals>>, BatchError> {
        let mut found = Vec::with_capacity(queries.len());
        for query in &queries {
            let totals;
            (connection, totals) = self.find(connection, query, deadline)?;
            found.push(totals);
        }
        execute(&connection, "commit").map_err(|error| self.file.explain(error))?;
        self.connections.push(connection);
        Ok(found)
    }

    fn clean_up(&mut self) -> Option<Duration> {
        self.take_back(Duration::ZERO);
        let is_busy = self.idle_thread.as_ref().is_some_and(IdleThread::is_busy);
        is_busy.then_some(TAKE_BACK_EVERY)
    }

    fn close(mut self) {
        self.take_back(CLOSE_TIMEOUT);
    }
}

fn ensure_in_time(progress: Progress) -> Result<(), BatchError> {
    ensure!(progress != Progress::TooLate, "a query for rates took longer than a request may");
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::mpsc::channel;
    use std::thread;

    use jiff::civil::date;
    use tempfile::TempDir;

    use super::super::journal::JournalChoice;
    use super::super::rates_load::SqliteRatesLoad;
    use super::*;
    use crate::domain::calendar::day_number;
    use crate::domain::rates::Days;
    use crate::store::Migrate;
    use crate::store::database_url::SqliteUrl;
    use crate::store::rates::{DailySum, NamedPlace, PlaceKind};

    /// Longer than anything takes on the slowest machine.
    const PATIENCE: Duration = Duration::from_secs(120);

    const ORIGINS: u32 = 20;
    /// Regions with so many ports.
    const DESTINATIONS: [(&str, u32); 2] = [("near", 60), ("east", 70)];
    /// There are prices of the days before and after as well.
    const DAYS: std::ops::RangeInclusive<i8> = 2..=7;

    fn prepare(path: &Path, journal: JournalChoice) -> DatabaseFile {
        let url = SqliteUrl { path: path.to_owned(), may_create: true };
        DatabaseFile::prepare(&url, journal, Migrate::Auto).unwrap()
    }

    /// Loads a price of `sum` from every origin to every destination on each of some days.
    fn load(path: &Path, sum: i64) {
        let url = SqliteUrl { path: path.to_owned(), may_create: false };
        let mut load = SqliteRatesLoad::begin(&url).unwrap();
        let code = |text: &str| Code::parse(text).unwrap();
        let named = |code, parent| NamedPlace { place: Place { code, parent }, name: None };
        let regions = ["west", "east", "near"].map(|region| named(code(region), None));
        load.add_places(PlaceKind::Region, &regions).unwrap();
        // Those of a region are not one after the other.
        let region = |port| match port {
            0..ORIGINS => "west",
            port if port % 13 < 6 => "near",
            _ => "east",
        };
        let destinations = ORIGINS..ORIGINS + 130;
        let ports = 0..destinations.end;
        let codes: Vec<Code> = ports.clone().map(|port| code(&format!("P{port:03}"))).collect();
        let ports: Vec<NamedPlace> = ports
            .map(|port| named(codes[port as usize].clone(), Some(code(region(port)))))
            .collect();
        load.add_places(PlaceKind::Port, &ports).unwrap();
        let mut sums = Vec::new();
        for origin in 0..ORIGINS {
            for destination in destinations.clone() {
                for day in DAYS.start() - 1..=DAYS.end() + 1 {
                    let day = day_number(date(2016, 1, day));
                    sums.push(DailySum { origin, destination, day, count: 1, sum });
                }
            }
        }
        load.add_prices(&codes, &sums).unwrap();
        load.finish().unwrap();
    }

    /// A reader of a file with prices of 7.
    struct Fixture {
        reader: RatesReader,
        path: PathBuf,
        _folder: TempDir,
    }

    impl Fixture {
        fn new(journal: JournalChoice) -> Fixture {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("rates.db");
            let reader = RatesReader::new(prepare(&path, journal)).unwrap();
            load(&path, 7);
            Fixture { reader, path, _folder: folder }
        }

        fn start_scan(&mut self, connection: &Connection, origin: &str, destination: &str) -> Scan {
            let query = query(origin, destination);
            self.reader.start_scan(connection, &query, later()).unwrap().unwrap()
        }

        fn find(&mut self, region: &str) -> Option<DailyTotals> {
            let connection = self.reader.begin().unwrap();
            let found = self.reader.run(connection, vec![query("west", region)], later());
            found.unwrap().pop().unwrap()
        }
    }

    fn query(origin: &str, destination: &str) -> RatesQuery {
        let [from, to] = [*DAYS.start(), *DAYS.end()].map(|day| date(2016, 1, day));
        RatesQuery {
            days: Days::new(from, to).unwrap(),
            origin: Code::parse(origin).unwrap(),
            destination: Code::parse(destination).unwrap(),
        }
    }

    /// What is found where each price is `sum`.
    fn totals(destinations: u32, sum: i64) -> DailyTotals {
        let mut totals = DailyTotals::none(query("west", "east").days);
        let count = u64::from(ORIGINS * destinations);
        for day in DAYS {
            totals.add(day_number(date(2016, 1, day)), count, i128::from(count) * i128::from(sum));
        }
        totals
    }

    fn later() -> Instant {
        Instant::now() + PATIENCE
    }

    #[test]
    fn a_scan_that_pauses_reads_every_price_once() {
        let mut fixture = Fixture::new(JournalChoice::Wal);
        let connection = fixture.reader.begin().unwrap();
        for (region, destinations) in DESTINATIONS {
            let mut scan = fixture.start_scan(&connection, "west", region);
            let mut pauses = 0;
            while scan.read(&connection, Instant::now()).unwrap() == Progress::Paused {
                pauses += 1;
            }
            assert!(pauses > 1, "{region}");
            assert_eq!(scan.into_totals(), totals(destinations, 7), "{region}");
        }
    }

    #[test]
    fn a_scan_ends_at_its_deadline() {
        for journal in [JournalChoice::Wal, JournalChoice::Truncate] {
            let mut fixture = Fixture::new(journal);
            for (region, destinations) in DESTINATIONS {
                let connection = fixture.reader.begin().unwrap();
                let error =
                    fixture.reader.run(connection, vec![query("west", region)], Instant::now());
                let error = error.unwrap_err().to_string();
                assert_eq!(error, "a query for rates took longer than a request may");
                assert_eq!(fixture.find(region), Some(totals(destinations, 7)));
            }
        }
    }

    #[test]
    fn a_scan_that_is_cancelled_ends() {
        let mut fixture = Fixture::new(JournalChoice::Wal);
        let connection = fixture.reader.begin().unwrap();
        let mut scan = fixture.start_scan(&connection, "west", "east");
        scan.cancelled().store(true, Ordering::Relaxed);
        assert_eq!(scan.read_all(&connection).unwrap(), Progress::TooLate);
    }

    #[test]
    fn with_a_rollback_journal_a_commit_passes_between_two_slices() {
        let Fixture { mut reader, _folder, .. } = Fixture::new(JournalChoice::Truncate);
        reader.slice = Duration::ZERO;
        let file = reader.file.clone();
        let connection = reader.begin().unwrap();
        let writer = file.writer().unwrap();
        writer.busy_timeout(PATIENCE).unwrap();
        let turns = file.turns.clone();
        let saving = thread::spawn(move || {
            execute(&writer, "begin immediate").unwrap();
            execute(&writer, "insert into users values ('Ann', '1990-05-20')").unwrap();
            let _turn = file.wait_for_turn();
            execute(&writer, "commit").unwrap();
        });
        let began = Instant::now();
        while turns.asked() == 0 {
            assert!(began.elapsed() < PATIENCE, "nobody saves");
            thread::yield_now();
        }
        let (connection, found) = reader.find(connection, &query("west", "east"), later()).unwrap();
        // The reader is in a transaction, which nobody can commit beside.
        let users: i64 =
            connection.query_row("select count(*) from users", [], |row| row.get(0)).unwrap();
        assert_eq!(users, 1);
        assert_eq!(found, Some(totals(70, 7)));
        drop(connection);
        saving.join().unwrap();
    }

    #[test]
    fn a_scan_starts_again_where_a_load_replaces_the_rates_between_two_slices() {
        let mut fixture = Fixture::new(JournalChoice::Truncate);
        fixture.reader.slice = Duration::ZERO;
        let connection = fixture.reader.begin().unwrap();
        let scan = fixture.start_scan(&connection, "west", "near");
        execute(&connection, "commit").unwrap();
        load(&fixture.path, 8);
        fixture.reader.begin_on(&connection).unwrap();
        let (_, found) =
            fixture.reader.read_here(connection, scan, &query("west", "near"), later()).unwrap();
        assert_eq!(found, Some(totals(60, 8)));
    }

    #[test]
    fn a_scan_that_finds_no_idle_processor_is_read_on_another_thread() {
        let mut fixture = Fixture::new(JournalChoice::Wal);
        let (release, released) = channel::<()>();
        let idle_later = IdleThread::start_with(
            "idle-later",
            || (),
            move |job: &mut IdleScan| {
                // Until the sender is dropped.
                let _ = released.recv();
                job.outcome = Some(job.scan.read_all(&job.connection));
            },
        );
        fixture.reader.idle_thread = Some(idle_later.unwrap());
        for timeout in [Duration::from_millis(1), Duration::ZERO] {
            fixture.reader.idle_timeout = timeout;
            assert_eq!(fixture.find("east"), Some(totals(70, 7)));
        }
        assert_eq!(fixture.reader.connections.len(), 1);
        let checkpoint = |reader: &RatesReader| {
            let checkpoint = "pragma wal_checkpoint(truncate)";
            let connection = &reader.connections[0];
            connection.query_row(checkpoint, [], |row| row.get::<_, bool>(0)).unwrap()
        };
        fixture.reader.connections[0].busy_timeout(Duration::ZERO).unwrap();
        save(&fixture.path);
        assert!(checkpoint(&fixture.reader), "the log is in use");

        // Once a processor is idle, the scan ends, and the log can be started again.
        drop(release);
        let began = Instant::now();
        while fixture.reader.clean_up().is_some() {
            assert!(began.elapsed() < PATIENCE, "the connection does not come back");
            thread::yield_now();
        }
        assert_eq!(fixture.reader.connections.len(), 2);
        assert!(!checkpoint(&fixture.reader), "the log is not in use");
        fixture.reader.idle_timeout = PATIENCE;
        assert_eq!(fixture.find("near"), Some(totals(60, 7)));
        fixture.reader.close();
    }

    fn save(path: &Path) {
        let connection = Connection::open(path).unwrap();
        execute(&connection, "insert into users values ('Ann', '1990-05-20')").unwrap();
    }

    #[test]
    fn few_pairs_of_few_days_are_short() {
        let mut fixture = Fixture::new(JournalChoice::Wal);
        let connection = fixture.reader.begin().unwrap();
        for (origin, destination, months, is_short) in [
            ("P000", "P020", 1, true),
            ("P000", "P020", 12, true),
            ("P000", "near", 1, true),
            ("P000", "near", 12, false),
            ("P000", "east", 1, true),
            ("west", "near", 1, false),
            ("west", "east", 1, false),
            ("nowhere", "near", 12, true),
        ] {
            let days = Days::new(date(2016, 1, 1), date(2016, months, 28)).unwrap();
            let query = RatesQuery { days, ..query(origin, destination) };
            let scan = fixture.reader.start_scan(&connection, &query, later()).unwrap().unwrap();
            assert_eq!(scan.is_short(), is_short, "{origin} to {destination}, {months} months");
        }
    }
}
