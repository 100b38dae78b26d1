//! Users and rates in a SQLite file. One thread writes users, one or two read them, and one reads
//! rates. With a write-ahead log the event loop finds users for itself while that is fast, and a
//! thread of the lowest priority executes long queries for rates.

mod backup;
mod bulk;
mod error;
mod event_loop;
mod file;
mod idle_thread;
mod journal;
mod migrate;
mod pool;
mod queries;
mod rates;
mod rates_load;
mod scan;
mod turns;
mod worker;

use std::sync::Arc;

use tokio::task::spawn_blocking;

use self::event_loop::EventLoopReader;
use self::file::DatabaseFile;
use self::pool::{Connector, LockWait};
use self::queries::{Reader, Writer};
use self::rates::RatesReader;
use self::worker::{Begin, WorkerThread};
use super::batch::{BatchLimits, Batcher};
use super::database_url::SqliteUrl;
use super::outage::Outage;
use super::rates::RATES_LIMITS;
use super::{Store, StoreOptions, User, with_recovery_probe};
use crate::domain::rates::{DailyTotals, RatesQuery};
use crate::domain::{DateOfBirth, Username};
use crate::metrics::Metrics;

pub use backup::backup;
pub(super) use bulk::SqliteBulk;
pub(super) use error::SqliteError;
use journal::Journal;
pub use journal::JournalChoice;
pub(super) use rates_load::SqliteRatesLoad;

/// How many threads read. One is enough for the processor; the second answers while the first waits
/// for the disk. With a rollback journal a commit waits for all readers, and two whose batches
/// overlap would starve it.
fn readers(journal: Journal) -> u32 {
    match journal {
        Journal::Wal => 2,
        Journal::Truncate => 1,
    }
}

/// Opens the file at `url`, creating and migrating it as that and `options` allow.
pub(super) async fn open(
    url: SqliteUrl,
    options: StoreOptions,
    limits: BatchLimits,
    metrics: &Metrics,
) -> anyhow::Result<Store> {
    let threads = spawn_blocking(move || Threads::start(&url, &options)).await??;
    let Threads { file, readers, writer, rates, connector } = threads;
    let outage = Arc::new(Outage::new());
    let reads = metrics.batches("read");
    let reads = match file.journal {
        Journal::Wal => {
            let pool = connector.pool(&file, readers.len() as u32, LockWait::None);
            let on_event_loop = |thread| EventLoopReader::new(file.clone(), pool.clone(), thread);
            let readers = readers.into_iter().map(on_event_loop).collect();
            Batcher::start(limits, reads, &outage, readers)
        }
        // A network file system is never fast.
        Journal::Truncate => Batcher::start(limits, reads, &outage, readers),
    };
    let write_limits = with_recovery_probe(limits);
    Ok(Store {
        reads,
        pings: None,
        writes: Batcher::start(write_limits, metrics.batches("write"), &outage, vec![writer]),
        // Whether it answers says nothing about users, nor the other way round.
        rates: Batcher::start(
            RATES_LIMITS,
            metrics.batches("rates"),
            &Arc::new(Outage::new()),
            vec![rates],
        ),
        outage,
        generation: Arc::default(),
        database: "sqlite",
        journal: Some(file.journal.as_str()),
    })
}

struct Threads {
    readers: Vec<WorkerThread<Username, Option<DateOfBirth>>>,
    writer: WorkerThread<User, ()>,
    rates: WorkerThread<RatesQuery, Option<DailyTotals>>,
    file: DatabaseFile,
    connector: Connector,
}

impl Threads {
    /// Blocks until the file is open and has its schema.
    fn start(url: &SqliteUrl, options: &StoreOptions) -> anyhow::Result<Threads> {
        let file = DatabaseFile::prepare(url, options.sqlite_journal, options.migrate)?;
        let journal = file.journal;
        // With a write-ahead log, whose file is local, there is seldom anything to wait for.
        let begin = match journal {
            Journal::Wal => Begin::WithRun,
            Journal::Truncate => Begin::Apart,
        };
        let connector = Connector::new();
        let writer = Writer::open(file.clone(), connector.clone())?;
        let writer = WorkerThread::start("writer", begin, writer)?;
        let readers = Reader::open(&file, readers(journal), &connector)?;
        let start = |reader| WorkerThread::start("reader", begin, reader);
        let readers = readers.into_iter().map(start).collect::<std::io::Result<_>>()?;
        let rates = RatesReader::new(file.clone())?;
        let rates = WorkerThread::start("rates", Begin::WithRun, rates)?;
        Ok(Threads { readers, writer, rates, file, connector })
    }
}
