//! A replica that is read while it answers. While it does not, the primary is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Row;

use super::connect::{Connector, Session};
use super::error::PostgresError;

/// How long a replica may take to answer before the primary is asked, which must
/// do so within the same deadline.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(1);

/// The pause between two attempts to reach a replica that is away. Nobody waits
/// for it.
const PAUSE: Duration = Duration::from_secs(1);

/// One lane's connection to the replica.
pub(super) struct Replica {
    connector: Connector,
    sql: &'static str,
    state: State,
    lanes: Arc<Lanes>,
}

enum State {
    Here(Session),
    /// It is tried again and again in the background.
    Away(JoinHandle<Session>),
}

/// What all lanes see of the replica.
pub(super) struct Lanes {
    /// How many of them do without it. The log tells when the first one begins to,
    /// and when the last one no longer does.
    without: AtomicUsize,
    /// Trips that went to the primary instead.
    fallbacks: IntCounter,
}

impl Lanes {
    pub fn new(fallbacks: IntCounter) -> Lanes {
        Lanes { without: AtomicUsize::new(0), fallbacks }
    }
}

impl Replica {
    /// Tries to connect, to run `sql`. A replica that is away keeps no service from
    /// starting.
    pub async fn open(connector: Connector, sql: &'static str, lanes: Arc<Lanes>) -> Replica {
        let state = match connect(&connector, sql).await {
            Ok(session) => State::Here(session),
            Err(error) => {
                lanes.leave(&error);
                State::away(&connector, sql)
            }
        };
        Replica { connector, sql, state, lanes }
    }

    /// The rows of those of `usernames` that the replica knows; `None` if the
    /// primary must be asked.
    pub async fn find(&mut self, usernames: &[&str]) -> Option<Vec<Row>> {
        self.look_for_return().await;
        if let State::Here(session) = &mut self.state {
            match find(session, self.sql, usernames).await {
                Ok(rows) => return Some(rows),
                Err(error) => self.leave(&error),
            }
        }
        self.lanes.fallbacks.inc();
        None
    }

    fn leave(&mut self, error: &PostgresError) {
        self.lanes.leave(error);
        let left = std::mem::replace(&mut self.state, State::away(&self.connector, self.sql));
        if let State::Here(session) = left {
            session.abandon();
        }
    }

    async fn look_for_return(&mut self) {
        let State::Away(reconnecting) = &mut self.state else { return };
        if !reconnecting.is_finished() {
            return;
        }
        self.state = match reconnecting.await {
            Ok(session) => {
                self.lanes.come_back();
                State::Here(session)
            }
            Err(_) => State::away(&self.connector, self.sql),
        };
    }
}

/// Connects, and sees that users can be found: a replica may let us in, and then
/// wait for a lock that it replays.
async fn connect(connector: &Connector, sql: &str) -> Result<Session, PostgresError> {
    let mut session = connector.connect().await?;
    find(&mut session, sql, &[]).await?;
    Ok(session)
}

async fn find(
    session: &mut Session,
    sql: &str,
    usernames: &[&str],
) -> Result<Vec<Row>, PostgresError> {
    match timeout(ANSWER_MAX, session.query(sql, &[&usernames])).await {
        Ok(rows) => Ok(rows?),
        Err(_) => Err(PostgresError::NoAnswer(ANSWER_MAX)),
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let State::Away(reconnecting) = &self.state {
            reconnecting.abort();
        }
    }
}

impl State {
    fn away(connector: &Connector, sql: &'static str) -> State {
        let connector = connector.clone();
        State::Away(tokio::spawn(async move {
            loop {
                sleep(PAUSE.mul_f64(rand::random_range(0.5..=1.0))).await;
                if let Ok(session) = connect(&connector, sql).await {
                    return session;
                }
            }
        }))
    }
}

impl Lanes {
    fn leave(&self, error: &PostgresError) {
        if self.without.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(%error, "the replica does not answer: reading from the primary");
        }
    }

    fn come_back(&self) {
        if self.without.fetch_sub(1, Ordering::Relaxed) == 1 {
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
            state: State::Here(Session::with_silent_server().await),
            lanes: Arc::new(Lanes::new(fallbacks.clone())),
        };
        for waited in [ANSWER_MAX, Duration::ZERO, Duration::ZERO] {
            let asked = Instant::now();
            assert!(replica.find(&["John"]).await.is_none());
            assert_eq!(asked.elapsed(), waited);
        }
        assert_eq!(fallbacks.get(), 3);
    }
}
