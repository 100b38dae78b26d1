//! Reads settings again on SIGHUP.

use std::sync::Arc;

use tokio::signal::unix::Signal;

use crate::cli::LoggingArgs;
use crate::logging;
use crate::store::{DatabaseUrl, Store, UrlSource};

/// Reads the log level and the database URL, which named `opened` at the start, again at each of
/// `hangups`, where they are in files.
pub(super) async fn reload_on(
    mut hangups: Signal,
    logging: LoggingArgs,
    database: UrlSource,
    opened: DatabaseUrl,
    store: Arc<Store>,
) {
    while hangups.recv().await.is_some() {
        if let Some(file) = &logging.log_level_file {
            match logging::read_level(file) {
                Ok(level) => logging::set_level(level),
                Err(error) => {
                    tracing::warn!(error, "cannot read the log level: keeping the current one")
                }
            }
        }
        match (&opened, database.read()) {
            (_, Err(error)) => tracing::warn!(%error, "the database stays the one it is"),
            (DatabaseUrl::Postgres(_), Ok(DatabaseUrl::Postgres(_))) => store.reconnect(),
            (opened, Ok(now)) if *opened == now => {}
            (_, Ok(_)) => {
                tracing::warn!("the database URL has changed: restart the service to use it");
            }
        }
        tracing::info!("read again on SIGHUP");
    }
}
