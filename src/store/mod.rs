//! Where users and rates are kept. Every database is behind the same queues, so that many requests
//! share one batch.

mod batch;
mod bulk;
mod database_url;
mod outage;
mod postgres;
mod rates;
mod schema;
mod sqlite;

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::domain::rates::{DailyTotals, RatesQuery};
use crate::domain::{DateOfBirth, Username};
use crate::metrics::Metrics;
use batch::{BatchLimits, Batcher};
use outage::Outage;

pub(crate) use bulk::{Bulk, OnConflict, is_one_file};
pub(crate) use database_url::DatabaseUrl;
pub use database_url::UrlSource;
use postgres::PostgresError;
#[cfg(test)]
pub(crate) use rates::RATES_QUEUE_MAX;
pub(crate) use rates::{DailySum, NamedPlace, PlaceKind, RatesLoad};
pub(crate) use schema::Migrate;
pub use sqlite::JournalChoice;
use sqlite::SqliteError;
pub(crate) use sqlite::backup as backup_sqlite;

/// Requests that may wait in one queue. Far more than a healthy database leaves
/// waiting; their memory stays below a few MiB.
pub const QUEUE_MAX: usize = 4096;
/// Requests in one batch. More would gain little, and would keep the write lock from other
/// processes for longer.
pub const BATCH_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");
/// Longest predicted queueing delay; beyond it a request is rejected with `Retry-After`.
pub(crate) const QUEUE_DELAY_MAX: Duration = Duration::from_secs(1);
/// Time from a request's arrival to its answer. A balancer's client has given up by then, and a
/// retry may do better.
pub(crate) const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the store may leave this instance without an answer until other instances should
/// serve in its place. Longer than what ends by itself and strikes all of them: a failover of
/// Aurora takes up to 60 s
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Concepts.AuroraHighAvailability.html>),
/// and the locks of an NFS client that vanished end after a lease of 90 s.
pub(crate) const STORE_OUTAGE_MAX: Duration = Duration::from_secs(120);
/// How long the store may be idle before it is asked whether it answers: several times within
/// `STORE_OUTAGE_MAX`.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// How often an empty batch of saves is tried while saves fail, so that recovery shows within 2 s
/// although nobody saves.
const RECOVERY_PROBE_EVERY: Duration = Duration::from_secs(1);

/// How to use the database.
#[derive(Clone)]
pub struct StoreOptions {
    /// The journal of a SQLite file.
    pub sqlite_journal: JournalChoice,
    /// A replica of a Postgres database, to find users in.
    pub read_source: Option<UrlSource>,
    /// Authorities that may sign the certificate of a Postgres server, in PEM form;
    /// without it those that the machine trusts.
    pub postgres_ca_file: Option<PathBuf>,
    /// What to do about a schema that lacks steps.
    pub migrate: Migrate,
    /// Requests in one batch, [`BATCH_MAX`] but for measurements.
    pub batch_max: NonZeroUsize,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            sqlite_journal: JournalChoice::default(),
            read_source: None,
            postgres_ca_file: None,
            migrate: Migrate::default(),
            batch_max: BATCH_MAX,
        }
    }
}

/// The users and their dates of birth, and rates, in the database that a URL named.
pub struct Store {
    reads: Batcher<Username, Option<DateOfBirth>>,
    /// Reads that only ask whether the primary answers, where `reads` may go to a replica.
    pings: Option<Batcher<Username, Option<DateOfBirth>>>,
    writes: Batcher<User, ()>,
    rates: Batcher<RatesQuery, Option<DailyTotals>>,
    outage: Arc<Outage>,
    /// Changes when connections to a server are to be replaced.
    generation: Arc<AtomicU64>,
    database: &'static str,
    journal: Option<&'static str>,
}

/// A user as the database keeps them.
pub(crate) struct User {
    pub username: Username,
    pub born: DateOfBirth,
}

/// The kind of an error in words that quote nothing, for error reports.
pub(crate) fn cause_of(error: &anyhow::Error) -> Option<&'static str> {
    let sqlite = error.chain().find_map(|error| error.downcast_ref::<SqliteError>());
    let postgres = error.chain().find_map(|error| error.downcast_ref::<PostgresError>());
    sqlite.map(SqliteError::kind).or(postgres.map(PostgresError::kind))
}

/// Why the store could not serve a request. The cause is logged once, where it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too many requests wait, or this one would wait too long.
    #[error("too many requests wait for the store, or this one would wait too long")]
    Overloaded,
    /// Not answered in time. A save may still be carried out.
    #[error("the store did not answer in time")]
    DeadlinePassed,
    /// The batch failed. A save was most likely not carried out, unless only the answer to its
    /// commit was lost.
    #[error("the store is unavailable")]
    Unavailable,
    /// The process is stopping.
    #[error("the store is closed")]
    Closed,
}

/// The limits of saves.
fn with_recovery_probe(limits: BatchLimits) -> BatchLimits {
    BatchLimits { recovery_probe: Some(RECOVERY_PROBE_EVERY), ..limits }
}

impl Store {
    /// Opens the database, creating and migrating it as needed and allowed. The
    /// store lives in the Tokio runtime that this is called in.
    pub async fn open(
        source: &UrlSource,
        options: StoreOptions,
        metrics: &Metrics,
    ) -> anyhow::Result<Store> {
        let limits = BatchLimits {
            queue_max: QUEUE_MAX,
            batch_max: options.batch_max,
            queue_delay_max: QUEUE_DELAY_MAX,
            timeout: STORE_TIMEOUT,
            recovery_probe: None,
        };
        match source.read()? {
            DatabaseUrl::Sqlite(url) => sqlite::open(url, options, limits, metrics).await,
            DatabaseUrl::Postgres(_) => {
                postgres::open(source.clone(), options, limits, metrics).await
            }
        }
    }

    /// Finds when `username` was born. Sees every save acknowledged before, unless
    /// a replica is read, which may lag behind.
    pub async fn find(&self, username: Username) -> Result<Option<DateOfBirth>, StoreError> {
        self.reads.submit(username).await
    }

    /// Saves `born` for `username`, replacing any earlier date. Returns once the
    /// date is durable.
    pub async fn save(&self, username: Username, born: DateOfBirth) -> Result<(), StoreError> {
        self.writes.submit(User { username, born }).await
    }

    /// Finds the prices that `query` asks for, all of one load; `None` if none was loaded yet.
    pub async fn find_rates(&self, query: RatesQuery) -> Result<Option<DailyTotals>, StoreError> {
        self.rates.submit(query).await
    }

    /// Asks whether the store answers; needs no write lock.
    pub async fn ping(&self) -> Result<(), StoreError> {
        if let Some(pings) = &self.pings {
            pings.submit(Username::probe()).await?;
        }
        self.reads.submit(Username::probe()).await.map(drop)
    }

    /// Whether saves fail: the last ones did, and none would succeed since, as far as can be told
    /// without writing.
    pub fn saves_fail(&self) -> bool {
        self.writes.is_failing()
    }

    /// How long the store has left this instance without an answer, counted from the first request
    /// since its last answer; zero while none is missing.
    pub fn outage(&self) -> Duration {
        self.outage.duration()
    }

    /// Asks the store whether it answers whenever it is idle, and again while it does not. An
    /// outage is noticed so without requests, and so is its end, on an instance that the load
    /// balancer sends none.
    pub async fn probe_when_idle(&self) -> Infallible {
        loop {
            sleep(PROBE_EVERY).await;
            if self.outage.since_success() >= PROBE_EVERY {
                // The batch records how it ended.
                let _ = self.find(Username::probe()).await;
            }
        }
    }

    /// Makes batches that start from now on use new connections, where the database is a server. The
    /// URL is read again for these.
    pub fn reconnect(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Rejects new requests, carries out those that wait and closes the database.
    pub async fn close(&self) {
        self.reads.close().await;
        if let Some(pings) = &self.pings {
            pings.close().await;
        }
        self.rates.close().await;
        // The last connection to a SQLite file checkpoints its log, which a thread should do.
        self.writes.close().await;
    }

    /// The kind of database, for the log.
    pub fn database(&self) -> &'static str {
        self.database
    }

    /// How a SQLite file makes a save durable, for the log. A server decides that itself.
    pub fn journal(&self) -> Option<&'static str> {
        self.journal
    }
}
