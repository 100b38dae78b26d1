//! Creates or updates the database's schema.

use std::sync::Arc;

use anyhow::Context;

use crate::metrics::Metrics;
use crate::store::{Store, StoreOptions, UrlSource};

/// Opens the database as to serve, which migrates it, and closes it.
pub async fn migrate(
    database: UrlSource,
    options: StoreOptions,
    metrics: Arc<Metrics>,
) -> anyhow::Result<()> {
    let store = Store::open(&database, options, &metrics).await;
    let store = store.context("cannot open the store")?;
    store.close().await;
    tracing::info!(database = store.database(), "the database has this release's schema");
    Ok(())
}
