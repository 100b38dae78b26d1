//! Stores users and rates in Postgres, or in any database that speaks its protocol and has
//! `insert … on conflict`.

mod bulk;
mod client;
mod connect;
mod error;
mod migrate;
mod queries;
mod rates;
mod rates_load;
mod replica;
mod tls;
pub(super) mod url;

use std::sync::Arc;

use futures_util::future::{OptionFuture, join_all};

use self::client::{ReconnectingClient, STATEMENT_TIMEOUT};
use self::connect::Connector;
use self::queries::{FIND, Reader, SAVE, Writer};
use self::rates::RatesReader;
use self::replica::{Replica, ReplicaStatus};
use self::tls::Tls;
use super::batch::{BatchLimits, Batcher};
use super::database_url::UrlSource;
use super::outage::Outage;
use super::rates::RATES_LIMITS;
use super::{Store, StoreOptions, with_recovery_probe};
use crate::metrics::Metrics;

pub(super) use bulk::PostgresBulk;
pub(super) use error::PostgresError;
pub(super) use rates_load::PostgresRatesLoad;

/// Connections that read. The second one executes what arrives while the first waits for
/// its answer.
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

    let primary = connector.with_checked_schema().with_statement_timeout(STATEMENT_TIMEOUT);
    let client = |sql, kind| ReconnectingClient::new(primary.clone(), sql, metrics.retries(kind));
    let status = Arc::new(ReplicaStatus::new(metrics.replica_fallbacks.clone()));
    let replica = options.read_source.map(|source| {
        let replica = connector.to_replica(source).with_checked_schema();
        replica.with_statement_timeout(replica::REPLICA_TIMEOUT)
    });
    let reads = (0..READERS).map(|_| async {
        let replica = OptionFuture::from(
            replica.clone().map(|replica| Replica::open(replica, FIND, status.clone())),
        );
        Reader { primary: client(FIND, "read"), replica: replica.await }
    });
    let reads = join_all(reads).await;
    let outage = Arc::new(Outage::new());
    let pings = replica.is_some().then(|| {
        let ping = Reader { primary: client(FIND, "ping"), replica: None };
        Batcher::start(limits, metrics.batches("ping"), &outage, vec![ping])
    });
    // One connection writes, so that saves reach the database in order.
    let writes = vec![Writer(client(SAVE, "write"))];
    let rates = RatesReader::new(primary.clone(), metrics.retries("rates"));
    let write_limits = with_recovery_probe(limits);
    Ok(Store {
        reads: Batcher::start(limits, metrics.batches("read"), &outage, reads),
        pings,
        writes: Batcher::start(write_limits, metrics.batches("write"), &outage, writes),
        // Whether it answers says nothing about users, nor the other way round.
        rates: Batcher::start(
            RATES_LIMITS,
            metrics.batches("rates"),
            &Arc::new(Outage::new()),
            vec![rates],
        ),
        outage,
        generation: connector.generation(),
        database: "postgres",
        journal: None,
    })
}
