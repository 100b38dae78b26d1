//! A replica that is read while it answers. While it does not, the primary is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Row;

use super::connect::{Connector, Session, Values};
use super::error::PostgresError;

/// How long a replica may take to answer before the primary is asked, which must
/// do so within the same deadline.
const ANSWER_MAX: Duration = Duration::from_secs(1);

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
    /// Tries to connect. A replica that is away keeps no service from starting.
    pub async fn open(connector: Connector, sql: &'static str, lanes: Arc<Lanes>) -> Replica {
        let state = match connector.connect().await {
            Ok(session) => State::Here(session),
            Err(error) => {
                lanes.leave(&error);
                State::away(&connector)
            }
        };
        Replica { connector, sql, state, lanes }
    }

    /// The replica's rows; `None` if the primary must be asked.
    pub async fn ask(&mut self, values: &Values<'_>) -> Option<Vec<Row>> {
        self.look_for_return().await;
        let error = match &mut self.state {
            State::Away(_) => {
                self.lanes.fallbacks.inc();
                return None;
            }
            State::Here(session) => {
                match timeout(ANSWER_MAX, session.query(self.sql, values)).await {
                    Ok(Ok(rows)) => return Some(rows),
                    Ok(Err(error)) => error.into(),
                    Err(_) => PostgresError::NoAnswer(ANSWER_MAX),
                }
            }
        };
        self.lanes.fallbacks.inc();
        self.lanes.leave(&error);
        self.state = State::away(&self.connector);
        None
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
            Err(_) => State::away(&self.connector),
        };
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
    fn away(connector: &Connector) -> State {
        let connector = connector.clone();
        State::Away(tokio::spawn(async move {
            loop {
                sleep(PAUSE.mul_f64(rand::random_range(0.5..=1.0))).await;
                if let Ok(session) = connector.connect().await {
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
