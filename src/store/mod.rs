//! Where users are kept. Every database sits behind the same queues, so that
//! many requests share one trip to it.

mod batch;
mod schema;
mod sqlite;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::domain::{DateOfBirth, Username};
use crate::metrics::Metrics;
use batch::Limits;

pub use sqlite::{JournalChoice, OpenError, Sqlite};

/// Requests that may wait in one queue. Far more than a healthy database leaves
/// waiting; their memory stays below a few MiB.
pub const QUEUE_MAX: usize = 4096;
/// Requests in one trip. More would gain little, and would keep the write lock
/// from other processes for longer.
pub const TRIP_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");
/// A balancer's client has given up by then, and a retry may do better.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Which database to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite:PATH`
    Sqlite(PathBuf),
}

/// Why a text names no database. It does not quote the text, which may hold a
/// password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Not a kind of database there is.
    #[error("not a database URL: use sqlite:PATH")]
    Unknown,
    /// No path behind `sqlite:`.
    #[error("the path is missing: use sqlite:PATH")]
    NoPath,
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(url: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        let path = url.strip_prefix("sqlite:").ok_or(DatabaseUrlError::Unknown)?;
        match path.strip_prefix("//").unwrap_or(path) {
            "" => Err(DatabaseUrlError::NoPath),
            path => Ok(DatabaseUrl::Sqlite(path.into())),
        }
    }
}

/// How to use the database.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// The journal of a SQLite file.
    pub sqlite_journal: JournalChoice,
    /// Requests in one trip, [`TRIP_MAX`] but for measurements.
    pub trip_max: NonZeroUsize,
}

/// The users and their dates of birth, in the database that a URL named.
pub enum Store {
    /// A file.
    Sqlite(Sqlite),
}

/// What a request hears when the store cannot serve it. The cause is logged
/// once, where it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// As many requests wait as may.
    #[error("too many requests wait for the store")]
    Overloaded,
    /// Not answered in time. A save may still be carried out.
    #[error("the store did not answer in time")]
    DeadlinePassed,
    /// The trip to the database failed. A save was not carried out, unless the
    /// database failed after its commit.
    #[error("the store is unavailable")]
    Unavailable,
    /// The process is stopping.
    #[error("the store is closed")]
    Closed,
}

impl Store {
    /// Opens the database, creating and migrating it as needed. Blocks until that
    /// is done; must be called within a Tokio runtime, which makes the trips.
    pub fn open(
        url: &DatabaseUrl,
        options: StoreOptions,
        metrics: &Metrics,
    ) -> anyhow::Result<Store> {
        match url {
            DatabaseUrl::Sqlite(path) => Sqlite::open(path, options, metrics).map(Store::Sqlite),
        }
    }

    /// Finds when `username` was born. Sees every save acknowledged before.
    pub async fn find(&self, username: Username) -> Result<Option<DateOfBirth>, StoreError> {
        match self {
            Store::Sqlite(sqlite) => sqlite.find(username).await,
        }
    }

    /// Saves `born` for `username`, replacing any earlier date. Returns once the
    /// date is durable.
    pub async fn save(&self, username: Username, born: DateOfBirth) -> Result<(), StoreError> {
        match self {
            Store::Sqlite(sqlite) => sqlite.save(username, born).await,
        }
    }

    /// Asks whether the store answers; needs no write lock.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.find(Username::nobody()).await.map(drop)
    }

    /// Refuses new requests, carries out those that wait and closes the database.
    pub async fn close(&self) {
        match self {
            Store::Sqlite(sqlite) => sqlite.close().await,
        }
    }

    /// The kind of database, for people.
    pub fn database(&self) -> &'static str {
        match self {
            Store::Sqlite(_) => "sqlite",
        }
    }

    /// How the database makes a save durable, for people.
    pub fn journal(&self) -> &'static str {
        match self {
            Store::Sqlite(sqlite) => sqlite.journal().as_str(),
        }
    }
}
