//! Reads from a replica, with the primary as the fallback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Row;

use super::connect::{Connection, Connector};
use super::error::PostgresError;

/// How long a replica may take to answer before the primary is asked, whose answer must come
/// within the same deadline.
pub(super) const REPLICA_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause between two attempts to reconnect. No request waits for it.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// One worker's connection to the replica.
pub(super) struct Replica {
    connector: Connector,
    sql: &'static str,
    state: ReplicaState,
    status: Arc<ReplicaStatus>,
}

enum ReplicaState {
    Connected(Connection),
    /// A task that retries until it is connected.
    Reconnecting(JoinHandle<Connection>),
}

/// What all workers know of the replica.
pub(super) struct ReplicaStatus {
    /// How many workers have no connection to it. Logged when the first one loses its
    /// connection, and when the last one has it again.
    disconnected: AtomicUsize,
    /// Batches that were read from the primary instead.
    fallbacks: IntCounter,
}

impl ReplicaStatus {
    pub fn new(fallbacks: IntCounter) -> ReplicaStatus {
        ReplicaStatus { disconnected: AtomicUsize::new(0), fallbacks }
    }
}

impl Replica {
    /// Tries to connect, to execute `sql`. A service starts without its replica too.
    pub async fn open(
        connector: Connector,
        sql: &'static str,
        status: Arc<ReplicaStatus>,
    ) -> Replica {
        let state = match connect(&connector, sql).await {
            Ok(connection) => ReplicaState::Connected(connection),
            Err(error) => {
                status.mark_down(&error);
                ReplicaState::reconnect(&connector, sql)
            }
        };
        Replica { connector, sql, state, status }
    }

    /// The rows of those of `usernames` that the replica has; `None` if the primary must be
    /// asked.
    pub async fn find(&mut self, usernames: &[&str]) -> Option<Vec<Row>> {
        self.poll_reconnect().await;
        self.replace_if_outdated();
        if let ReplicaState::Connected(connection) = &mut self.state {
            match find(connection, self.sql, usernames).await {
                Ok(rows) => return Some(rows),
                // A standby cancels lookups that keep it from replaying changes.
                Err(error) if error.is_conflict() => {}
                Err(error) => self.mark_down(&error),
            }
        }
        self.status.fallbacks.inc();
        None
    }

    fn mark_down(&mut self, error: &PostgresError) {
        self.status.mark_down(error);
        let lost =
            std::mem::replace(&mut self.state, ReplicaState::reconnect(&self.connector, self.sql));
        if let ReplicaState::Connected(connection) = lost {
            connection.abandon();
        }
    }

    /// Connects again where connections are to be replaced; meanwhile the primary is read.
    fn replace_if_outdated(&mut self) {
        let is_outdated = matches!(&self.state, ReplicaState::Connected(connection)
            if !connection.client.is_closed() && !self.connector.is_current(connection));
        if is_outdated {
            self.status.disconnected.fetch_add(1, Ordering::Relaxed);
            self.state = ReplicaState::reconnect(&self.connector, self.sql);
        }
    }

    async fn poll_reconnect(&mut self) {
        let ReplicaState::Reconnecting(reconnecting) = &mut self.state else { return };
        if !reconnecting.is_finished() {
            return;
        }
        self.state = match reconnecting.await {
            Ok(connection) => {
                self.status.mark_up();
                ReplicaState::Connected(connection)
            }
            Err(_) => ReplicaState::reconnect(&self.connector, self.sql),
        };
    }
}

/// Connects, and executes `sql` once: a replica may accept a connection although lookups
/// there wait for a lock that it replays.
async fn connect(connector: &Connector, sql: &str) -> Result<Connection, PostgresError> {
    let mut connection = connector.connect().await?;
    find(&mut connection, sql, &[]).await?;
    Ok(connection)
}

async fn find(
    connection: &mut Connection,
    sql: &str,
    usernames: &[&str],
) -> Result<Vec<Row>, PostgresError> {
    match timeout(REPLICA_TIMEOUT, connection.query(sql, &[&usernames])).await {
        Ok(rows) => Ok(rows?),
        Err(_) => Err(PostgresError::AnswerTimeout(REPLICA_TIMEOUT)),
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let ReplicaState::Reconnecting(reconnecting) = &self.state {
            reconnecting.abort();
        }
    }
}

impl ReplicaState {
    fn reconnect(connector: &Connector, sql: &'static str) -> ReplicaState {
        let connector = connector.clone();
        ReplicaState::Reconnecting(tokio::spawn(async move {
            loop {
                sleep(RECONNECT_PAUSE.mul_f64(rand::random_range(0.5..=1.0))).await;
                if let Ok(connection) = connect(&connector, sql).await {
                    return connection;
                }
            }
        }))
    }
}

impl ReplicaStatus {
    fn mark_down(&self, error: &PostgresError) {
        if self.disconnected.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(%error, "the replica does not answer: reading from the primary");
        }
    }

    fn mark_up(&self) {
        if self.disconnected.fetch_sub(1, Ordering::Relaxed) == 1 {
            tracing::info!("reading from the replica again");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_falls_silent_is_waited_for_once() {
        let fallbacks = Metrics::new().replica_fallbacks;
        let mut replica = Replica {
            // Nothing listens there.
            connector: Connector::to_ports(&[1], ""),
            sql: "select 1",
            state: ReplicaState::Connected(Connection::with_silent_server().await),
            status: Arc::new(ReplicaStatus::new(fallbacks.clone())),
        };
        for waited in [REPLICA_TIMEOUT, Duration::ZERO, Duration::ZERO] {
            let asked = Instant::now();
            assert!(replica.find(&["John"]).await.is_none());
            assert_eq!(asked.elapsed(), waited);
        }
        assert_eq!(fallbacks.get(), 3);
    }
}
