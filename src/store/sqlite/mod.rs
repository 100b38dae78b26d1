//! Users in a SQLite file: one thread writes, one or two read.

mod bulk;
mod error;
mod file;
mod journal;
mod migrate;
mod queries;
mod turns;
mod worker;

use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use self::file::DatabaseFile;
use self::queries::{Reader, Writer};
use self::turns::Turns;
use self::worker::WorkerThread;
use super::batch::{BatchLimits, Batcher};
use super::{Store, StoreOptions, User};
use crate::domain::{DateOfBirth, Username};
use crate::metrics::Metrics;

pub(super) use bulk::SqliteBulk;
pub use error::SqliteError;
pub use journal::{Journal, JournalChoice};

/// How many threads read. One is enough for the processor; the second answers while the first waits
/// for the disk. With a rollback journal a commit waits for all readers, and two whose batches
/// overlap would starve it.
fn readers(journal: Journal) -> u32 {
    match journal {
        Journal::Wal => 2,
        Journal::Truncate => 1,
    }
}

/// Opens the file at `path`, creating and migrating it as `options` allow.
pub(super) async fn open(
    path: PathBuf,
    options: StoreOptions,
    limits: BatchLimits,
    metrics: &Metrics,
) -> anyhow::Result<Store> {
    let threads = spawn_blocking(move || Threads::start(&path, &options)).await??;
    Ok(Store {
        reads: Batcher::start(limits, metrics.batches("read"), threads.readers),
        pings: None,
        writes: Batcher::start(limits, metrics.batches("write"), vec![threads.writer]),
        database: "sqlite",
        journal: Some(threads.journal.as_str()),
    })
}

struct Threads {
    readers: Vec<WorkerThread<Username, Option<DateOfBirth>>>,
    writer: WorkerThread<User, ()>,
    journal: Journal,
}

impl Threads {
    /// Blocks until the file is open and has its schema.
    fn start(path: &Path, options: &StoreOptions) -> anyhow::Result<Threads> {
        let file = DatabaseFile::prepare(path, options.sqlite_journal, options.migrate)?;
        let journal = file.journal;
        // With a write-ahead log there is nothing to wait for but other processes.
        let begins_apart = journal == Journal::Truncate;
        let turns = Turns::default();
        let writer = Writer::open(file.clone(), turns.clone())?;
        let writer = WorkerThread::start("writer", begins_apart, writer)?;
        let readers = Reader::open(&file, &turns, readers(journal))?;
        let start = |reader| WorkerThread::start("reader", begins_apart, reader);
        let readers = readers.into_iter().map(start).collect::<std::io::Result<_>>()?;
        Ok(Threads { readers, writer, journal })
    }
}
