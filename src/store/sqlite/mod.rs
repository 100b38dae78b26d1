//! Users in a SQLite file: one thread writes, one or two read.

mod bulk;
mod file;
mod journal;
mod thread;
mod trips;

use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use self::file::DatabaseFile;
use self::thread::TripThread;
use self::trips::{ReadTrips, WriteTrips};
use super::batch::Batcher;
use super::{Limits, StoreError, StoreOptions, User};
use crate::domain::{DateOfBirth, Username};
use crate::metrics::Metrics;

pub(super) use bulk::SqliteBulk;
pub use file::OpenError;
pub use journal::{Journal, JournalChoice};

/// How many threads read. One is enough for the processor; the second answers while the
/// first waits for the disk. But without a write-ahead log, who commits must wait until
/// nobody reads, and two whose trips overlap would seldom leave such a moment.
fn readers(journal: Journal) -> u32 {
    match journal {
        Journal::Wal => 2,
        Journal::Truncate => 1,
    }
}

/// A SQLite file, open.
pub struct Sqlite {
    reads: Batcher<Username, Option<DateOfBirth>>,
    writes: Batcher<User, ()>,
    journal: Journal,
}

/// The threads that make the trips, and the journal they use.
struct Threads {
    readers: Vec<TripThread<Username, Option<DateOfBirth>>>,
    writer: TripThread<User, ()>,
    journal: Journal,
}

impl Sqlite {
    /// Opens the file at `path`, creating and migrating it as `options` allow.
    pub(super) async fn open(
        path: PathBuf,
        options: StoreOptions,
        limits: Limits,
        metrics: &Metrics,
    ) -> anyhow::Result<Sqlite> {
        let Threads { readers, writer, journal } =
            spawn_blocking(move || Threads::start(&path, &options)).await??;
        Ok(Sqlite {
            reads: Batcher::start(limits, metrics.trips("read"), readers),
            writes: Batcher::start(limits, metrics.trips("write"), vec![writer]),
            journal,
        })
    }

    pub(super) async fn find(&self, username: Username) -> Result<Option<DateOfBirth>, StoreError> {
        self.reads.ask(username).await
    }

    pub(super) async fn save(
        &self,
        username: Username,
        born: DateOfBirth,
    ) -> Result<(), StoreError> {
        self.writes.ask(User { username, born }).await
    }

    pub(super) async fn close(&self) {
        tokio::join!(self.reads.close(), self.writes.close());
    }

    /// The journal in use.
    pub(super) fn journal(&self) -> Journal {
        self.journal
    }
}

impl Threads {
    /// Blocks until the file is open and has its schema.
    fn start(path: &Path, options: &StoreOptions) -> anyhow::Result<Threads> {
        let file = DatabaseFile::prepare(path, options.sqlite_journal, options.migrate)?;
        let journal = file.journal;

        let mut writer = WriteTrips::open(file.clone())?;
        let writer = TripThread::start("writer", move |boarding| writer.make(|| boarding.close()))?;

        let number = readers(journal);
        let readers = ReadTrips::open(file, number)?;
        let readers = (0..number)
            .map(|_| {
                let readers = readers.clone();
                TripThread::start("reader", move |boarding| readers.make(|| boarding.close()))
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(Threads { readers, writer, journal })
    }
}
