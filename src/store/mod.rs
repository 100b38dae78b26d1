//! Where users are kept. Every database sits behind the same queues, so that
//! many requests share one trip to it.

mod batch;
mod bulk;
mod postgres;
mod schema;
mod sqlite;
mod url;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::{DateOfBirth, Username};
use crate::metrics::Metrics;
use batch::Limits;

pub use bulk::{Bulk, Existing};
pub use postgres::{Postgres, PostgresError, PostgresUrl, PostgresUrlError};
pub use schema::Migrate;
pub use sqlite::{JournalChoice, OpenError, Sqlite};
pub use url::{DatabaseUrl, DatabaseUrlError, UrlSource, UrlSourceError};

/// Requests that may wait in one queue. Far more than a healthy database leaves
/// waiting; their memory stays below a few MiB.
pub const QUEUE_MAX: usize = 4096;
/// Requests in one trip. More would gain little, and would keep the write lock
/// from other processes for longer.
pub const TRIP_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");
/// How long a request may have to wait for others, once those fill a trip. It may as
/// well come again, as it is told to.
pub const WAIT_MAX: Duration = Duration::from_secs(1);
/// A balancer's client has given up by then, and a retry may do better.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// How to use the database.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The journal of a SQLite file.
    pub sqlite_journal: JournalChoice,
    /// A replica of a Postgres database, to find users in.
    pub read_url: Option<PostgresUrl>,
    /// Authorities that may sign the certificate of a Postgres server, in PEM form;
    /// without it those that the machine trusts.
    pub postgres_ca_file: Option<PathBuf>,
    /// What to do about a schema that lacks steps.
    pub migrate: Migrate,
    /// Requests in one trip, [`TRIP_MAX`] but for measurements.
    pub trip_max: NonZeroUsize,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            sqlite_journal: JournalChoice::default(),
            read_url: None,
            postgres_ca_file: None,
            migrate: Migrate::default(),
            trip_max: TRIP_MAX,
        }
    }
}

/// The users and their dates of birth, in the database that a URL named.
pub enum Store {
    /// A file.
    Sqlite(Sqlite),
    /// A server.
    Postgres(Postgres),
}

/// Somebody, and when they were born.
pub struct User {
    /// Who.
    pub username: Username,
    /// When.
    pub born: DateOfBirth,
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
    /// The trip to the database failed. A save was most likely not carried out; but
    /// its commit may have been what was not answered.
    #[error("the store is unavailable")]
    Unavailable,
    /// The process is stopping.
    #[error("the store is closed")]
    Closed,
}

impl Store {
    /// Opens the database, creating and migrating it as needed and allowed. The
    /// store lives in the Tokio runtime that this is called in.
    pub async fn open(
        source: &UrlSource,
        options: StoreOptions,
        metrics: &Metrics,
    ) -> anyhow::Result<Store> {
        let limits = Limits {
            queue_max: QUEUE_MAX,
            trip_max: options.trip_max,
            wait_max: WAIT_MAX,
            deadline: DEADLINE,
        };
        Ok(match source.read()? {
            DatabaseUrl::Sqlite(path) => {
                Store::Sqlite(Sqlite::open(path, options, limits, metrics).await?)
            }
            DatabaseUrl::Postgres(_) => {
                Store::Postgres(Postgres::open(source.clone(), options, limits, metrics).await?)
            }
        })
    }

    /// Finds when `username` was born. Sees every save acknowledged before, unless
    /// a replica is read, which may lag behind.
    pub async fn find(&self, username: Username) -> Result<Option<DateOfBirth>, StoreError> {
        match self {
            Store::Sqlite(sqlite) => sqlite.find(username).await,
            Store::Postgres(postgres) => postgres.find(username).await,
        }
    }

    /// Saves `born` for `username`, replacing any earlier date. Returns once the
    /// date is durable.
    pub async fn save(&self, username: Username, born: DateOfBirth) -> Result<(), StoreError> {
        match self {
            Store::Sqlite(sqlite) => sqlite.save(username, born).await,
            Store::Postgres(postgres) => postgres.save(username, born).await,
        }
    }

    /// Asks whether the store answers; needs no write lock.
    pub async fn ping(&self) -> Result<(), StoreError> {
        match self {
            Store::Sqlite(sqlite) => sqlite.find(Username::nobody()).await.map(drop),
            Store::Postgres(postgres) => postgres.ping().await,
        }
    }

    /// Refuses new requests, carries out those that wait and closes the database.
    pub async fn close(&self) {
        match self {
            Store::Sqlite(sqlite) => sqlite.close().await,
            Store::Postgres(postgres) => postgres.close().await,
        }
    }

    /// The kind of database, for people.
    pub fn database(&self) -> &'static str {
        match self {
            Store::Sqlite(_) => "sqlite",
            Store::Postgres(_) => "postgres",
        }
    }

    /// How a file makes a save durable, for people. A server settles that itself.
    pub fn journal(&self) -> Option<&'static str> {
        match self {
            Store::Sqlite(sqlite) => Some(sqlite.journal().as_str()),
            Store::Postgres(_) => None,
        }
    }
}
