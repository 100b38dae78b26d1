//! Users in a SQLite file: one thread writes, a few read.

mod file;
mod journal;
mod thread;
mod trips;

use std::path::Path;

use self::file::DatabaseFile;
use self::thread::TripThread;
use self::trips::{ReadTrips, Save, WriteTrips};
use super::batch::Batcher;
use super::{DEADLINE, Limits, QUEUE_MAX, StoreError, StoreOptions};
use crate::domain::{DateOfBirth, Username};
use crate::metrics::Metrics;

pub use file::OpenError;
pub use journal::{Journal, JournalChoice};

/// Threads that read. One is enough for the processor; the second answers while
/// the first waits for the disk.
const READERS: u32 = 2;

/// A SQLite file, open.
pub struct Sqlite {
    reads: Batcher<Username, Option<DateOfBirth>>,
    writes: Batcher<Save, ()>,
    journal: Journal,
}

impl Sqlite {
    /// Opens the file at `path`, creating and migrating it as needed. Blocks
    /// until that is done.
    pub fn open(path: &Path, options: StoreOptions, metrics: &Metrics) -> anyhow::Result<Sqlite> {
        let limits =
            Limits { queue_max: QUEUE_MAX, trip_max: options.trip_max, deadline: DEADLINE };
        let file = DatabaseFile::prepare(path, options.sqlite_journal)?;
        let journal = file.journal;

        let mut writer = WriteTrips::open(file.clone())?;
        let writer = TripThread::start("writer", move |saves| writer.make(saves))?;

        let readers = ReadTrips::open(file, READERS)?;
        let readers = (0..READERS)
            .map(|_| {
                let readers = readers.clone();
                TripThread::start("reader", move |usernames| readers.make(&usernames))
            })
            .collect::<std::io::Result<Vec<_>>>()?;

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
        self.writes.ask(Save { username, born }).await
    }

    pub(super) async fn close(&self) {
        tokio::join!(self.reads.close(), self.writes.close());
    }

    /// The journal in use.
    pub(super) fn journal(&self) -> Journal {
        self.journal
    }
}
