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
use super::batch::{BatchLimits, Batcher};
use super::url::UrlSource;
use super::{Store, StoreOptions};
use crate::metrics::Metrics;

pub(super) use bulk::PostgresBulk;
pub use error::PostgresError;
pub use url::{PostgresUrl, PostgresUrlError};

/// Connections that read. The second carries what arrives while the first waits
/// for its answer.
const READERS: usize = 2;

/// Connects to the database at `source`, and migrates it as `options` allow.
pub(super) async fn open(
    source: UrlSource,
    options: StoreOptions,
    limits: BatchLimits,
    metrics: &Metrics,
) -> anyhow::Result<Store> {
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
        Batcher::start(limits, metrics.batches("ping"), vec![ping])
    });
    // One connection writes, so that saves reach the database in their order.
    let writes = vec![WriteTrips(link(SAVE, "write"))];
    Ok(Store {
        reads: Batcher::start(limits, metrics.batches("read"), reads),
        pings,
        writes: Batcher::start(limits, metrics.batches("write"), writes),
        database: "postgres",
        journal: None,
    })
}
