//! A connection that is made again whenever it is lost.

use std::time::Duration;

use prometheus::IntCounter;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_postgres::Row;

use super::connect::{Connector, Session, Values};
use super::error::PostgresError;
use crate::store::STORE_TIMEOUT;

/// How long the server may work on a statement, or wait for a lock.
pub(super) const STATEMENT_MAX: Duration = Duration::from_millis(3500);

/// How long its answer is waited for. Longer than the server may take; and within
/// a request's deadline, so that most hear why they failed.
const ANSWER_MAX: Duration = Duration::from_secs(4);
const _: () = assert!(STATEMENT_MAX.as_millis() < ANSWER_MAX.as_millis());
const _: () = assert!(ANSWER_MAX.as_millis() < STORE_TIMEOUT.as_millis());

/// The longest pause between two attempts to connect. With the time that one may
/// take, it stays within the 2 s in which a database that is back is found.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// The pause after the second failure in a row. There is none after the first:
/// most connections that die can be made again at once.
const PAUSE_MIN: Duration = Duration::from_millis(25);

/// Longest pause before a statement that conflicted is tried again. By then the other
/// statement has ended; and hundreds of attempts fit into a request's time.
const CONFLICT_PAUSE_MAX: Duration = Duration::from_millis(20);

/// A connection for one statement, kept up.
pub(super) struct Link {
    connector: Connector,
    sql: &'static str,
    session: Option<Session>,
    /// How often in a row it failed.
    failures: u32,
    /// Not before this is the next connection made.
    pause_until: Instant,
    /// Whether the last request went unserved. Then the next one is given one
    /// attempt, so that in an outage no one waits in vain for long.
    gave_up: bool,
    retries: IntCounter,
}

impl Link {
    /// Connects at the first request.
    pub fn new(connector: Connector, sql: &'static str, retries: IntCounter) -> Link {
        Link {
            connector,
            sql,
            session: None,
            failures: 0,
            pause_until: Instant::now(),
            gave_up: false,
            retries,
        }
    }

    /// Runs the statement with `values`. It must be one that may run twice: it is tried
    /// again on the same connection if it conflicts with another, and on a new one if
    /// the connection dies, for as long as an attempt can begin before `deadline`.
    pub async fn ask(
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
            if self.gave_up || !error.may_pass() || self.pause_until >= deadline {
                self.gave_up = true;
                return Err(error);
            }
            self.retries.inc();
            if self.failures == 1 {
                tracing::warn!(%error, "the connection to the database failed: trying again");
            }
        }
    }

    async fn try_once(
        &mut self,
        values: &Values<'_>,
        deadline: Instant,
    ) -> Result<Vec<Row>, PostgresError> {
        // Taken out: a connection that failed is not used again.
        let mut session = match self.session.take() {
            Some(session) if !session.client.is_closed() => session,
            _ => {
                sleep_until(self.pause_until).await;
                let connecting = timeout_at(deadline, self.connector.connect());
                connecting.await.unwrap_or(Err(PostgresError::NoTimeLeft))?
            }
        };
        match timeout(ANSWER_MAX, session.query(self.sql, values)).await {
            Ok(rows) => {
                let rows = rows.map_err(PostgresError::Statement);
                // The server has rolled a conflict back: its connection is as good as before.
                if rows.as_ref().err().is_none_or(PostgresError::is_conflict) {
                    self.session = Some(session);
                }
                rows
            }
            Err(_) => {
                session.abandon();
                Err(PostgresError::NoAnswer(ANSWER_MAX))
            }
        }
    }
}

/// Longer after every failure, and another one for every instance, so that they do
/// not all come back to the database at the same moment.
fn pause(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(2) else {
        return Duration::ZERO;
    };
    let longest = PAUSE_MIN.saturating_mul(1 << doublings.min(16)).min(PAUSE_MAX);
    longest.mul_f64(rand::random_range(0.5..=1.0))
}

/// None before the first new attempt: what it conflicted with has just committed. Then
/// a random one, so that instances which conflict do not try again in step.
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

    fn link_to(port: u16) -> Link {
        let connector = Connector::to_ports(&[port], "");
        Link::new(connector, "select 1", Metrics::new().retries("read"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_away_is_tried_until_the_deadline_and_then_once_for_each_request() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        for port in [silent.local_addr().unwrap().port(), CLOSED_PORT] {
            let mut link = link_to(port);
            let began = Instant::now();
            assert!(link.ask(&[], began + STORE_TIMEOUT).await.is_err());
            assert!(began.elapsed() <= STORE_TIMEOUT);
            let retries = link.retries.get();
            // With pauses between them.
            assert!((2..40).contains(&retries), "{retries} retries");
            for _ in 0..10 {
                let began = Instant::now();
                assert!(link.ask(&[], began + STORE_TIMEOUT).await.is_err());
                // So a server that is back is found within this time.
                assert!(began.elapsed() < Duration::from_secs(2));
            }
            assert_eq!(link.retries.get(), retries);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_that_is_not_answered_is_given_up_before_the_deadline() {
        let mut link = link_to(CLOSED_PORT);
        link.session = Some(Session::with_silent_server().await);
        let began = Instant::now();
        let error = link.ask(&[], began + STORE_TIMEOUT).await.unwrap_err();
        assert!(matches!(error, PostgresError::NoAnswer(_)), "{error}");
        assert_eq!(began.elapsed(), ANSWER_MAX);
        assert_eq!(link.retries.get(), 0);
    }

    #[test]
    fn pauses_grow_to_their_limit_and_differ() {
        assert_eq!(pause(1), Duration::ZERO);
        for failures in 2..100 {
            let longest = PAUSE_MAX.min(PAUSE_MIN * 2_u32.saturating_pow(failures - 2).min(1000));
            let pauses: Vec<Duration> = (0..20).map(|_| pause(failures)).collect();
            assert!(pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)));
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "all alike");
        }
    }
}
