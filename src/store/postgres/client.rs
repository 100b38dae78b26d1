//! A client that reconnects when its connection is lost, and retries.

use std::time::Duration;

use prometheus::IntCounter;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_postgres::Row;

use super::connect::{Connection, Connector, Values};
use super::error::PostgresError;
use crate::store::STORE_TIMEOUT;

/// How long the server may execute a statement, waits for locks included.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_millis(3500);

/// How long to wait for the server's answer: longer than the server may take, so that most
/// failures have a cause to log, and less than a request may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
const _: () = assert!(STATEMENT_TIMEOUT.as_millis() < ANSWER_TIMEOUT.as_millis());
const _: () = assert!(ANSWER_TIMEOUT.as_millis() < STORE_TIMEOUT.as_millis());

/// Longest pause between two attempts to connect. Together with the time that one may take,
/// it stays below the 2 s within which a database that is back is found.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(400);

/// Pause after the second failure in a row. There is none after the first: most lost
/// connections can be replaced at once.
const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(25);

/// Longest pause before a statement that conflicted is retried. The other statement has most
/// likely ended by then, and hundreds of attempts fit into a request's time.
const CONFLICT_PAUSE_MAX: Duration = Duration::from_millis(20);

/// Executes one statement, on a connection that it replaces when it is lost.
pub(super) struct ReconnectingClient {
    connector: Connector,
    sql: &'static str,
    connection: Option<Connection>,
    /// Failures in a row.
    failures: u32,
    /// The next attempt to connect begins no sooner.
    pause_until: Instant,
    /// Whether the last batch failed. Then the next one gets a single attempt, so that
    /// requests do not wait long in an outage.
    gave_up: bool,
    retries: IntCounter,
}

impl ReconnectingClient {
    /// Connects with the first query.
    pub fn new(connector: Connector, sql: &'static str, retries: IntCounter) -> ReconnectingClient {
        ReconnectingClient {
            connector,
            sql,
            connection: None,
            failures: 0,
            pause_until: Instant::now(),
            gave_up: false,
            retries,
        }
    }

    /// Executes the statement with `values`. It must be safe to execute twice: it is retried
    /// on the same connection after a conflict with a concurrent statement, and on a new
    /// one after a transient failure, as long as the attempt begins before `deadline`.
    pub async fn query(
        &mut self,
        values: &Values<'_>,
        deadline: Instant,
    ) -> Result<Vec<Row>, PostgresError> {
        let mut conflicts = 0;
        loop {
            let error = match self.try_once(values, deadline).await {
                Ok(rows) => {
                    self.failures = 0;
                    self.gave_up = false;
                    return Ok(rows);
                }
                Err(error) => error,
            };
            if error.is_conflict() {
                conflicts += 1;
                let next = Instant::now() + conflict_pause(conflicts);
                if next >= deadline {
                    return Err(error);
                }
                self.retries.inc();
                sleep_until(next).await;
                continue;
            }
            self.failures += 1;
            self.pause_until = Instant::now() + pause(self.failures);
            if self.gave_up || !error.is_transient() || self.pause_until >= deadline {
                self.gave_up = true;
                return Err(error);
            }
            self.retries.inc();
            if self.failures == 1 {
                tracing::warn!(%error, "the database connection failed: retrying");
            }
        }
    }

    async fn try_once(
        &mut self,
        values: &Values<'_>,
        deadline: Instant,
    ) -> Result<Vec<Row>, PostgresError> {
        // Taken out, because a connection that failed is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) if self.connector.is_current(&connection) => connection,
            _ => {
                sleep_until(self.pause_until).await;
                let connecting = timeout_at(deadline, self.connector.connect());
                connecting.await.unwrap_or(Err(PostgresError::DeadlinePassed))?
            }
        };
        match timeout(ANSWER_TIMEOUT, connection.query(self.sql, values)).await {
            Ok(rows) => {
                let rows = rows.map_err(PostgresError::Statement);
                // The server has rolled the statement back, and the connection is still good.
                if rows.as_ref().err().is_none_or(PostgresError::is_conflict) {
                    self.connection = Some(connection);
                }
                rows
            }
            Err(_) => {
                connection.abandon();
                Err(PostgresError::AnswerTimeout(ANSWER_TIMEOUT))
            }
        }
    }
}

/// Grows with every failure, with jitter so that instances do not reconnect in step.
fn pause(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(2) else {
        return Duration::ZERO;
    };
    let longest =
        RECONNECT_PAUSE_MIN.saturating_mul(1 << doublings.min(16)).min(RECONNECT_PAUSE_MAX);
    longest.mul_f64(rand::random_range(0.5..=1.0))
}

/// No pause before the first retry: the other statement has just committed. Then random, so
/// that instances that conflict do not retry in step.
fn conflict_pause(conflicts: u32) -> Duration {
    if conflicts == 1 {
        return Duration::ZERO;
    }
    CONFLICT_PAUSE_MAX.mul_f64(rand::random_range(0.0..=1.0))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::metrics::Metrics;

    /// Nothing listens there.
    const CLOSED_PORT: u16 = 1;

    fn client_of(port: u16) -> ReconnectingClient {
        let connector = Connector::to_ports(&[port], "");
        ReconnectingClient::new(connector, "select 1", Metrics::new().retries("read"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_away_is_tried_until_the_deadline_and_then_once_for_each_request() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        for port in [silent.local_addr().unwrap().port(), CLOSED_PORT] {
            let mut client = client_of(port);
            let began = Instant::now();
            assert!(client.query(&[], began + STORE_TIMEOUT).await.is_err());
            assert!(began.elapsed() <= STORE_TIMEOUT);
            let retries = client.retries.get();
            // With pauses between them.
            assert!((2..40).contains(&retries), "{retries} retries");
            for _ in 0..10 {
                let began = Instant::now();
                assert!(client.query(&[], began + STORE_TIMEOUT).await.is_err());
                // So a server that is back is found within this time.
                assert!(began.elapsed() < Duration::from_secs(2));
            }
            assert_eq!(client.retries.get(), retries);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_that_is_not_answered_is_given_up_before_the_deadline() {
        let mut client = client_of(CLOSED_PORT);
        client.connection = Some(Connection::with_silent_server().await);
        let began = Instant::now();
        let error = client.query(&[], began + STORE_TIMEOUT).await.unwrap_err();
        assert!(matches!(error, PostgresError::AnswerTimeout(_)), "{error}");
        assert_eq!(began.elapsed(), ANSWER_TIMEOUT);
        assert_eq!(client.retries.get(), 0);
    }

    #[test]
    fn pauses_grow_to_their_limit_and_differ() {
        assert_eq!(pause(1), Duration::ZERO);
        for failures in 2..100 {
            let longest = RECONNECT_PAUSE_MAX
                .min(RECONNECT_PAUSE_MIN * 2_u32.saturating_pow(failures - 2).min(1000));
            let pauses: Vec<Duration> = (0..20).map(|_| pause(failures)).collect();
            assert!(pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)));
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "all alike");
        }
    }
}
