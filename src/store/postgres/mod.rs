//! Users in Postgres, or in any database that speaks its protocol and knows
//! `insert … on conflict`.

mod bulk;
mod connect;
mod error;
mod link;
mod migrate;
mod replica;
mod tls;
mod trips;
pub(super) mod url;

use std::sync::Arc;

use futures_util::future::{OptionFuture, join_all};

use self::connect::Connector;
use self::link::{Link, STATEMENT_MAX};
use self::replica::{Lanes, Replica};
use self::tls::Tls;
use self::trips::{FIND, ReadTrips, SAVE, WriteTrips};
use super::batch::Batcher;
use super::url::UrlSource;
use super::{Limits, StoreError, StoreOptions, User};
use crate::domain::{DateOfBirth, Username};
use crate::metrics::Metrics;

pub(super) use bulk::PostgresBulk;
pub use error::PostgresError;
pub use url::{PostgresUrl, PostgresUrlError};

/// Connections that read. The second carries what arrives while the first waits
/// for its answer.
const READERS: usize = 2;

/// A Postgres database, connected.
pub struct Postgres {
    reads: Batcher<Username, Option<DateOfBirth>>,
    /// Reads from the primary that only ask whether it answers. Without a replica
    /// all reads do.
    pings: Option<Batcher<Username, Option<DateOfBirth>>>,
    writes: Batcher<User, ()>,
}

impl Postgres {
    /// Connects to the database at `source`, and migrates it as `options` allow.
    pub(super) async fn open(
        source: UrlSource,
        options: StoreOptions,
        limits: Limits,
        metrics: &Metrics,
    ) -> anyhow::Result<Postgres> {
        let connector = Connector::new(source, Tls::new(options.postgres_ca_file.as_deref())?);
        migrate::migrate(&connector, options.migrate).await?;

        let primary = connector.with_statement_max(STATEMENT_MAX);
        let link = |sql, kind| Link::new(primary.clone(), sql, metrics.retries(kind));
        let lanes = Arc::new(Lanes::new(metrics.replica_fallbacks.clone()));
        let replica = options
            .read_url
            .map(|url| connector.to_replica(url).with_statement_max(replica::ANSWER_MAX));
        let reads = (0..READERS).map(|_| async {
            let replica = OptionFuture::from(
                replica.clone().map(|replica| Replica::open(replica, FIND, lanes.clone())),
            );
            ReadTrips { primary: link(FIND, "read"), replica: replica.await }
        });
        let reads = join_all(reads).await;
        let pings = replica.is_some().then(|| {
            let ping = ReadTrips { primary: link(FIND, "ping"), replica: None };
            Batcher::start(limits, metrics.trips("ping"), vec![ping])
        });
        // One connection writes, so that saves reach the database in their order.
        let writes = vec![WriteTrips(link(SAVE, "write"))];
        Ok(Postgres {
            reads: Batcher::start(limits, metrics.trips("read"), reads),
            pings,
            writes: Batcher::start(limits, metrics.trips("write"), writes),
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

    /// Asks all that there is to ask.
    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        if let Some(pings) = &self.pings {
            pings.ask(Username::nobody()).await?;
        }
        self.reads.ask(Username::nobody()).await.map(drop)
    }

    pub(super) async fn close(&self) {
        tokio::join!(self.reads.close(), self.writes.close());
        if let Some(pings) = &self.pings {
            pings.close().await;
        }
    }
}
