//! Executes queries for rates without keeping birthdays waiting.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::anyhow;
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

/// How long a scan reads in one transaction on the worker's own thread: as long as it took to begin,
/// which over a network is several round trips, but within this. With a rollback journal a commit
/// waits for every transaction that reads, and later lookups wait for the commit.
const SLICE: RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_millis(50);

/// How long a scan on the idle thread may be slow. A pair takes microseconds, so that most likely no
/// processor is idle then.
const IDLE_TIMEOUT: Duration = Duration::from_millis(250);

/// While no processor is idle, how many times as long as the last scan took on the worker's own
/// thread the next one may be slow. With `IDLE_TIMEOUT` for all of them, at most four scans a second
/// would be read, however short they are.
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
/// and save meanwhile, prices are read on a thread of the lowest priority.
pub(super) struct RatesReader {
    file: DatabaseFile,
    /// Those that are open and in no transaction. One whose scan was stopped comes back, and one
    /// that failed is closed.
    connections: Vec<Connection>,
    places: Option<LoadedPlaces>,
    idle_thread: Option<IdleThread<IdleScan>>,
    idle_timeout: Duration,
    close_timeout: Duration,
    slice: RangeInclusive<Duration>,
}

/// A transaction that reads, on its connection.
pub(super) struct Snapshot {
    connection: Connection,
    /// The number of the load that it reads.
    load: Option<i64>,
    began_in: Duration,
}

/// A scan for the idle thread.
struct IdleScan {
    snapshot: Snapshot,
    scan: Scan,
    /// `None` until it has ended, and if it panicked.
    outcome: Option<rusqlite::Result<Progress>>,
}

impl IdleScan {
    fn read(&mut self) {
        self.outcome = Some(self.scan.read_all(&self.snapshot.connection));
    }
}

/// What has become of a scan for the idle thread.
enum IdleRead {
    Complete(Snapshot, DailyTotals),
    /// There is none, or it has another one.
    Refused(Snapshot, Scan),
    /// It has the transaction until that is taken back.
    GivenUp,
}

impl RatesReader {
    /// Opens connections when queries need them.
    pub fn new(file: DatabaseFile) -> std::io::Result<RatesReader> {
        let start = || IdleThread::start("rates-idle", IdleScan::read);
        let idle_thread = (file.journal == Journal::Wal).then(start).transpose()?;
        Ok(RatesReader {
            file,
            connections: Vec::new(),
            places: None,
            idle_thread,
            idle_timeout: IDLE_TIMEOUT,
            close_timeout: CLOSE_TIMEOUT,
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

    fn begin_transaction(&mut self) -> Result<Snapshot, SqliteError> {
        // Taken out: a connection that failed does not come back.
        let connection = match self.connections.pop() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        self.begin_on(connection)
    }

    fn begin_on(&self, connection: Connection) -> Result<Snapshot, SqliteError> {
        // For as long as it takes to lock the file, and not for the query: others may read
        // meanwhile, and SQLite lets no new reader in while a commit waits.
        let _turn = self.file.wait_for_turn();
        let began = Instant::now();
        // What locks the file is the first read.
        let load = execute(&connection, "begin")
            .and_then(|()| current_load(&connection))
            .map_err(|error| self.file.explain(error))?;
        Ok(Snapshot { connection, load, began_in: began.elapsed() })
    }

    /// Finds what `query` asks for in the transaction of `snapshot` or, where that takes long, in
    /// others. Returns one that has not ended.
    fn find(
        &mut self,
        snapshot: Snapshot,
        query: &RatesQuery,
        deadline: Instant,
    ) -> Result<(Snapshot, Option<DailyTotals>), BatchError> {
        let Some(scan) = self.start_scan(&snapshot, query, deadline)? else {
            return Ok((snapshot, None));
        };
        if scan.is_short() {
            return self.read_here(snapshot, scan, query, deadline);
        }
        let (snapshot, scan) = match self.read_when_idle(snapshot, scan)? {
            IdleRead::Complete(snapshot, totals) => return Ok((snapshot, Some(totals))),
            IdleRead::Refused(snapshot, scan) => (snapshot, scan),
            IdleRead::GivenUp => {
                let snapshot = self.begin_transaction()?;
                let Some(scan) = self.start_scan(&snapshot, query, deadline)? else {
                    return Ok((snapshot, None));
                };
                (snapshot, scan)
            }
        };
        let began = Instant::now();
        let found = self.read_here(snapshot, scan, query, deadline)?;
        self.idle_timeout = IDLE_TIMEOUT.min(began.elapsed() * IDLE_TIMEOUT_FACTOR);
        Ok(found)
    }

    /// Reads on the idle thread, for as long as that finds an idle processor.
    fn read_when_idle(&mut self, snapshot: Snapshot, scan: Scan) -> Result<IdleRead, BatchError> {
        self.take_back(self.idle_timeout);
        let Some(thread) = &mut self.idle_thread else {
            return Ok(IdleRead::Refused(snapshot, scan));
        };
        let handle = scan.handle();
        if let Err(job) = thread.begin(IdleScan { snapshot, scan, outcome: None }) {
            return Ok(IdleRead::Refused(job.snapshot, job.scan));
        }
        let timeout = self.idle_timeout;
        let Some(job) = thread.finish(timeout, || handle.goes_on(timeout)) else {
            handle.cancel();
            return Ok(IdleRead::GivenUp);
        };
        self.idle_timeout = IDLE_TIMEOUT;
        let progress = job.outcome.ok_or_else(|| anyhow!("the scan panicked"))?;
        match progress.map_err(|error| self.file.explain(error))? {
            Progress::Stopped => Err(self.stop(job.snapshot)),
            _ => Ok(IdleRead::Complete(job.snapshot, job.scan.into_totals())),
        }
    }

    /// Takes the transaction of a cancelled scan back. Until then it keeps the log from being
    /// started again.
    fn take_back(&mut self, timeout: Duration) {
        if let Some(thread) = self.idle_thread.as_mut().filter(|thread| thread.is_busy())
            && let Some(job) = thread.finish(timeout, || false)
            && let Some(Ok(_)) = job.outcome
        {
            self.roll_back(job.snapshot);
        }
    }

    fn stop(&mut self, snapshot: Snapshot) -> BatchError {
        self.roll_back(snapshot);
        anyhow!("a query for rates took longer than a request may")
    }

    fn roll_back(&mut self, Snapshot { connection, .. }: Snapshot) {
        if execute(&connection, "rollback").is_ok() {
            self.connections.push(connection);
        }
    }

    fn start_scan(
        &mut self,
        snapshot: &Snapshot,
        query: &RatesQuery,
        deadline: Instant,
    ) -> Result<Option<Scan>, SqliteError> {
        let Some(load) = snapshot.load else { return Ok(None) };
        let places = match self.places.take_if(|places| places.version == load) {
            Some(places) => places,
            None => LoadedPlaces {
                version: load,
                places: read_places(&snapshot.connection, load)
                    .map_err(|error| self.file.explain(error))?,
            },
        };
        let LoadedPlaces { places, .. } = self.places.insert(places);
        Ok(Some(Scan::new(load, places, query, deadline)))
    }

    /// Reads on this thread. Between slices it is in no transaction; should a load replace the rates
    /// then, it starts again.
    fn read_here(
        &mut self,
        mut snapshot: Snapshot,
        mut scan: Scan,
        query: &RatesQuery,
        deadline: Instant,
    ) -> Result<(Snapshot, Option<DailyTotals>), BatchError> {
        loop {
            let slice = snapshot.began_in.clamp(*self.slice.start(), *self.slice.end());
            let progress = scan
                .read(&snapshot.connection, Instant::now() + slice)
                .map_err(|error| self.file.explain(error))?;
            match progress {
                Progress::Complete => return Ok((snapshot, Some(scan.into_totals()))),
                Progress::Stopped => return Err(self.stop(snapshot)),
                Progress::Paused => {}
            }
            execute(&snapshot.connection, "commit").map_err(|error| self.file.explain(error))?;
            snapshot = self.begin_on(snapshot.connection)?;
            if snapshot.load != Some(scan.load()) {
                let Some(restarted) = self.start_scan(&snapshot, query, deadline)? else {
                    return Ok((snapshot, None));
                };
                scan = restarted;
            }
        }
    }
}

impl BlockingBackend<RatesQuery, Option<DailyTotals>> for RatesReader {
    type Transaction = Snapshot;

    fn begin(&mut self) -> Result<Snapshot, BatchError> {
        self.file.ensure_not_replaced()?;
        Ok(self.begin_transaction()?)
    }

    fn run(
        &mut self,
        mut snapshot: Snapshot,
        queries: Vec<RatesQuery>,
        deadline: Instant,
    ) -> Result<Vec<Option<DailyTotals>>, BatchError> {
        let mut found = Vec::with_capacity(queries.len());
        for query in &queries {
            let totals;
            (snapshot, totals) = self.find(snapshot, query, deadline)?;
            found.push(totals);
        }
        execute(&snapshot.connection, "commit").map_err(|error| self.file.explain(error))?;
        self.connections.push(snapshot.connection);
        Ok(found)
    }

    fn clean_up(&mut self) -> Option<Duration> {
        self.take_back(Duration::ZERO);
        let is_busy = self.idle_thread.as_ref().is_some_and(IdleThread::is_busy);
        is_busy.then_some(TAKE_BACK_EVERY)
    }

    fn close(mut self) {
        self.take_back(self.close_timeout);
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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use jiff::civil::date;
    use tempfile::TempDir;

    use super::super::journal::JournalChoice;
    use super::super::rates_load::SqliteRatesLoad;
    use super::super::turns::Turns;
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
        /// Its idle thread competes with the rest, and is waited for.
        fn new(journal: JournalChoice) -> Fixture {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("rates.db");
            let mut reader = RatesReader::new(prepare(&path, journal)).unwrap();
            reader.idle_thread = reader.idle_thread.map(|_| idle_thread(IdleScan::read));
            reader.idle_timeout = PATIENCE;
            reader.close_timeout = PATIENCE;
            load(&path, 7);
            Fixture { reader, path, _folder: folder }
        }

        fn start_scan(&mut self, snapshot: &Snapshot, origin: &str, destination: &str) -> Scan {
            let query = query(origin, destination);
            self.reader.start_scan(snapshot, &query, later()).unwrap().unwrap()
        }

        fn find(&mut self, origin: &str, destination: &str) -> Option<DailyTotals> {
            let snapshot = self.reader.begin().unwrap();
            let found = self.reader.run(snapshot, vec![query(origin, destination)], later());
            found.unwrap().pop().unwrap()
        }
    }

    fn idle_thread(work: impl Fn(&mut IdleScan) + Send + 'static) -> IdleThread<IdleScan> {
        IdleThread::start_with("test", || (), work).unwrap()
    }

    /// A thread that reads once the sender is dropped. The receiver is told how each scan ended.
    fn held_idle_thread() -> (IdleThread<IdleScan>, Sender<()>, Receiver<Progress>) {
        let (release, released) = channel::<()>();
        let (end, ends) = channel();
        let thread = idle_thread(move |job: &mut IdleScan| {
            let _ = released.recv();
            job.read();
            let _ = end.send(*job.outcome.as_ref().unwrap().as_ref().unwrap());
        });
        (thread, release, ends)
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

    fn wait_for_turns(turns: &Turns, asked: u64) {
        let began = Instant::now();
        while turns.asked() < asked {
            assert!(began.elapsed() < PATIENCE, "nobody asks for a turn");
            thread::yield_now();
        }
    }

    fn clean_up(reader: &mut RatesReader) {
        let began = Instant::now();
        while reader.clean_up().is_some() {
            assert!(began.elapsed() < PATIENCE, "the connection does not come back");
            thread::yield_now();
        }
    }

    #[test]
    fn a_scan_that_pauses_reads_every_price_once() {
        let mut fixture = Fixture::new(JournalChoice::Wal);
        let snapshot = fixture.reader.begin().unwrap();
        for (region, destinations) in DESTINATIONS {
            let mut scan = fixture.start_scan(&snapshot, "west", region);
            let mut pauses = 0;
            while scan.read(&snapshot.connection, Instant::now()).unwrap() == Progress::Paused {
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
                let snapshot = fixture.reader.begin().unwrap();
                let error =
                    fixture.reader.run(snapshot, vec![query("west", region)], Instant::now());
                let error = error.unwrap_err().to_string();
                assert_eq!(error, "a query for rates took longer than a request may");
                assert_eq!(fixture.reader.connections.len(), 1);
                assert_eq!(fixture.find("west", region), Some(totals(destinations, 7)));
            }
        }
    }

    #[test]
    fn a_scan_that_is_cancelled_ends() {
        let mut fixture = Fixture::new(JournalChoice::Wal);
        let snapshot = fixture.reader.begin().unwrap();
        let mut scan = fixture.start_scan(&snapshot, "west", "east");
        scan.handle().cancel();
        assert_eq!(scan.read_all(&snapshot.connection).unwrap(), Progress::Stopped);
    }

    #[test]
    fn a_scan_goes_on_while_it_is_not_slow_and_half_of_its_time_is_left() {
        const LONG: Duration = Duration::from_secs(1);
        let mut fixture = Fixture::new(JournalChoice::Wal);
        let snapshot = fixture.reader.begin().unwrap();
        for (deadline, goes_on) in [(later(), true), (Instant::now(), false)] {
            let query = query("west", "east");
            let scan = fixture.reader.start_scan(&snapshot, &query, deadline);
            let mut scan = scan.unwrap().unwrap();
            let handle = scan.handle();
            for _ in 0..2 {
                assert!(!handle.goes_on(Duration::ZERO));
                scan.read(&snapshot.connection, Instant::now()).unwrap();
                assert_eq!(handle.goes_on(Duration::ZERO), goes_on);
                scan.read(&snapshot.connection, Instant::now()).unwrap();
                assert!(!handle.goes_on(LONG));
            }
        }
    }

    #[test]
    fn with_a_rollback_journal_a_commit_passes_between_two_slices() {
        let Fixture { mut reader, _folder, .. } = Fixture::new(JournalChoice::Truncate);
        reader.slice = Duration::ZERO..=Duration::ZERO;
        let file = reader.file.clone();
        let snapshot = reader.begin().unwrap();
        let writer = file.writer().unwrap();
        writer.busy_timeout(PATIENCE).unwrap();
        let turns = file.turns.clone();
        let saving = thread::spawn(move || {
            execute(&writer, "begin immediate").unwrap();
            execute(&writer, "insert into users values ('Ann', '1990-05-20')").unwrap();
            let _turn = file.wait_for_turn();
            execute(&writer, "commit").unwrap();
        });
        wait_for_turns(&turns, 1);
        let (snapshot, found) = reader.find(snapshot, &query("west", "east"), later()).unwrap();
        // The reader is in a transaction, which nobody can commit beside.
        let users = "select count(*) from users";
        let users: i64 = snapshot.connection.query_row(users, [], |row| row.get(0)).unwrap();
        assert_eq!(users, 1);
        assert_eq!(found, Some(totals(70, 7)));
        drop(snapshot);
        saving.join().unwrap();
    }

    #[test]
    fn with_a_rollback_journal_a_transaction_waits_for_its_turn_to_begin() {
        let Fixture { mut reader, _folder, .. } = Fixture::new(JournalChoice::Truncate);
        let turns = reader.file.turns.clone();
        let turn = turns.wait();
        let beginning = thread::spawn(move || reader.begin().map(drop));
        wait_for_turns(&turns, 2);
        drop(turn);
        beginning.join().unwrap().unwrap();
    }

    #[test]
    fn a_scan_starts_again_where_a_load_replaces_the_rates_between_two_slices() {
        let mut fixture = Fixture::new(JournalChoice::Truncate);
        fixture.reader.slice = Duration::ZERO..=Duration::ZERO;
        let snapshot = fixture.reader.begin().unwrap();
        let scan = fixture.start_scan(&snapshot, "west", "near");
        execute(&snapshot.connection, "commit").unwrap();
        load(&fixture.path, 8);
        let snapshot = fixture.reader.begin_on(snapshot.connection).unwrap();
        let (_, found) =
            fixture.reader.read_here(snapshot, scan, &query("west", "near"), later()).unwrap();
        assert_eq!(found, Some(totals(60, 8)));
    }

    #[test]
    fn a_slice_is_as_long_as_its_transaction_took_to_begin_within_bounds() {
        const NONE: Duration = Duration::ZERO;
        for (slice, began_in, is_one_slice) in [
            (NONE..=PATIENCE, NONE, false),
            (NONE..=PATIENCE, PATIENCE, true),
            (NONE..=NONE, PATIENCE, false),
            (PATIENCE..=PATIENCE, NONE, true),
        ] {
            let mut fixture = Fixture::new(JournalChoice::Wal);
            fixture.reader.slice = slice.clone();
            let mut snapshot = fixture.reader.begin().unwrap();
            let scan = fixture.start_scan(&snapshot, "west", "near");
            // Seen by the second transaction.
            load(&fixture.path, 8);
            snapshot.began_in = began_in;
            let (_, found) =
                fixture.reader.read_here(snapshot, scan, &query("west", "near"), later()).unwrap();
            let expected = totals(60, if is_one_slice { 7 } else { 8 });
            assert_eq!(found, Some(expected), "{slice:?} and {began_in:?}");
        }
    }

    #[test]
    fn the_idle_thread_reads_long_queries_alone_and_no_short_ones() {
        let mut fixture = Fixture::new(JournalChoice::Wal);
        let (begin, begun) = channel();
        // It reads nothing, so that the totals tell who read.
        fixture.reader.idle_thread = Some(idle_thread(move |job: &mut IdleScan| {
            begin.send(()).unwrap();
            job.outcome = Some(Ok(Progress::Complete));
        }));
        let none = DailyTotals::none(query("west", "east").days);
        assert_eq!(fixture.find("west", "east").as_ref(), Some(&none));
        assert_eq!(begun.try_iter().count(), 1);
        assert_eq!(fixture.reader.idle_timeout, IDLE_TIMEOUT);
        assert_ne!(fixture.find("P000", "near").unwrap(), none);
        assert_eq!(begun.try_iter().count(), 0);
    }

    #[test]
    fn a_scan_that_is_not_slow_is_waited_for() {
        /// Longer than the thread pauses.
        const IDLE_TIMEOUT: Duration = Duration::from_millis(200);
        let mut fixture = Fixture::new(JournalChoice::Wal);
        fixture.reader.idle_thread = Some(idle_thread(|job: &mut IdleScan| {
            let began = Instant::now();
            while began.elapsed() < 2 * IDLE_TIMEOUT {
                thread::sleep(Duration::from_millis(1));
                job.scan.handle().note_rows(1_000_000);
            }
            job.read();
        }));
        let began = Instant::now();
        let is_given_up = |reader: &RatesReader| reader.idle_thread.as_ref().unwrap().is_busy();
        loop {
            fixture.reader.idle_timeout = IDLE_TIMEOUT;
            assert_eq!(fixture.find("west", "east"), Some(totals(70, 7)));
            // On a busy machine the thread may not run for so long.
            if !is_given_up(&fixture.reader) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "every scan is given up");
            clean_up(&mut fixture.reader);
        }
    }

    #[test]
    fn a_scan_that_finds_no_idle_processor_is_read_on_another_thread() {
        let mut fixture = Fixture::new(JournalChoice::Wal);
        let (held, release, ends) = held_idle_thread();
        fixture.reader.idle_thread = Some(held);
        for timeout in [Duration::from_millis(1), Duration::ZERO] {
            fixture.reader.idle_timeout = timeout;
            assert_eq!(fixture.find("west", "east"), Some(totals(70, 7)));
            // No scan takes a ninth of either.
            assert_ne!(fixture.reader.idle_timeout, timeout);
            assert!(fixture.reader.idle_timeout <= IDLE_TIMEOUT);
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
        assert_eq!(ends.recv_timeout(PATIENCE), Ok(Progress::Stopped));
        clean_up(&mut fixture.reader);
        assert_eq!(fixture.reader.connections.len(), 2);
        assert!(!checkpoint(&fixture.reader), "the log is not in use");
        fixture.reader.idle_timeout = PATIENCE;
        assert_eq!(fixture.find("west", "near"), Some(totals(60, 7)));
        assert_eq!(ends.recv_timeout(PATIENCE), Ok(Progress::Complete));
        fixture.reader.close();
    }

    #[test]
    fn a_scan_that_ends_at_its_deadline_does_not_change_how_long_the_next_one_waits() {
        let mut fixture = Fixture::new(JournalChoice::Wal);
        let (held, _release, _ends) = held_idle_thread();
        fixture.reader.idle_thread = Some(held);
        fixture.reader.idle_timeout = Duration::ZERO;
        let snapshot = fixture.reader.begin().unwrap();
        let found = fixture.reader.run(snapshot, vec![query("west", "east")], Instant::now());
        assert!(found.is_err());
        assert_eq!(fixture.reader.idle_timeout, Duration::ZERO);
    }

    #[test]
    fn the_close_takes_back_a_scan_that_was_given_up() {
        let Fixture { mut reader, path, _folder } = Fixture::new(JournalChoice::Wal);
        let (held, release, _ends) = held_idle_thread();
        reader.idle_thread = Some(held);
        reader.idle_timeout = Duration::ZERO;
        let snapshot = reader.begin().unwrap();
        reader.run(snapshot, vec![query("west", "east")], later()).unwrap();
        drop(release);
        reader.close();
        // The last connection removes the log.
        assert!(!path.with_extension("db-wal").exists());
    }

    fn save(path: &Path) {
        let connection = Connection::open(path).unwrap();
        execute(&connection, "insert into users values ('Ann', '1990-05-20')").unwrap();
    }

    #[test]
    fn few_pairs_of_few_days_are_short() {
        let mut fixture = Fixture::new(JournalChoice::Wal);
        let snapshot = fixture.reader.begin().unwrap();
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
            let scan = fixture.reader.start_scan(&snapshot, &query, later()).unwrap().unwrap();
            assert_eq!(scan.is_short(), is_short, "{origin} to {destination}, {months} months");
        }
    }
}
