//! Connections to Postgres: where to, and what is settled before they are used.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::PostgresError;
use super::tls::Tls;
use super::url::{PostgresUrl, Server};
use crate::store::url::{DatabaseUrl, UrlSource};

/// `204` means flushed to disk, whatever is or becomes the default of the server,
/// the database or the role. All settings but `off` flush, and may wait for standbys
/// (<https://www.postgresql.org/docs/current/runtime-config-wal.html>). A server
/// that does not know the setting keeps its own.
const PIN_FLUSH: &str = "select set_config(
        'synchronous_commit', case setting when 'off' then 'on' else setting end, false)
    from current_setting('synchronous_commit', true) as setting where setting is not null";

/// How long a server may take over a farewell before it is left without one.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Connects to one database, with the URL of the moment.
#[derive(Clone)]
pub(super) struct Connector {
    source: Arc<UrlSource>,
    replica: Option<Arc<PostgresUrl>>,
    tls: Arc<Tls>,
    statement_max: Option<Duration>,
    /// Which server to try first: the one that let us in last, or the one after the
    /// last that did not.
    first: Arc<AtomicUsize>,
}

/// A connection, for one statement again and again. It is closed when it is
/// dropped.
pub(super) struct Session {
    pub client: Client,
    statement: Option<Statement>,
    tls: MakeRustlsConnect,
    connect_max: Duration,
    _wire: Wire,
}

/// What goes into a statement.
pub(super) type Values<'a> = [&'a (dyn ToSql + Sync)];

impl Connector {
    /// Connects to the database at `source` for as long statements as may be.
    pub fn new(source: UrlSource, tls: Tls) -> Connector {
        Connector {
            source: source.into(),
            replica: None,
            tls: tls.into(),
            statement_max: None,
            first: Arc::default(),
        }
    }

    /// Lets the server itself give up statements after `max`: those that no one
    /// waits for any more neither pile up there, nor overtake what comes later.
    pub fn with_statement_max(&self, max: Duration) -> Connector {
        Connector { statement_max: Some(max), ..self.clone() }
    }

    /// Connects to `replica` instead. What that URL leaves out is taken from the
    /// primary's.
    pub fn to_replica(&self, replica: PostgresUrl) -> Connector {
        Connector { replica: Some(replica.into()), first: Arc::default(), ..self.clone() }
    }

    /// Connects to the first server that lets us in and is as the URL wants it.
    pub async fn connect(&self) -> Result<Session, PostgresError> {
        let servers = self.url()?.servers;
        let mut failed = None;
        for _ in 0..servers.len() {
            let at = self.first.load(Ordering::Relaxed);
            match self.connect_to(&servers[at % servers.len()]).await {
                Ok(session) => return Ok(session),
                Err(error) => failed = Some(error),
            }
            // Unless another connection that failed there was quicker.
            let next = (at + 1) % servers.len();
            let _ = self.first.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        Err(failed.expect("a URL names a server"))
    }

    fn url(&self) -> Result<PostgresUrl, PostgresError> {
        let DatabaseUrl::Postgres(mut primary) = self.source.read()? else {
            return Err(PostgresError::OtherDatabase);
        };
        if let Some(replica) = &self.replica {
            return Ok(PostgresUrl::clone(replica).completed_by(&primary));
        }
        // Of several servers it is the primary that takes saves.
        if primary.servers.len() > 1 {
            for Server { config, .. } in &mut primary.servers {
                config.target_session_attrs(TargetSessionAttrs::ReadWrite);
            }
        }
        Ok(primary)
    }

    async fn connect_to(&self, server: &Server) -> Result<Session, PostgresError> {
        let tls = self.tls.connector(server.tls)?;
        let connect_max = server.connect_max;
        let connecting = timeout(connect_max, async {
            let (client, connection) = server.config.connect(tls.clone()).await?;
            let wire = Wire::lay(connection);
            client.batch_execute(PIN_FLUSH).await?;
            if let Some(max) = self.statement_max {
                let max = max.as_millis();
                client.batch_execute(&format!("set statement_timeout = {max}")).await?;
            }
            Ok((client, wire))
        });
        match connecting.await {
            Ok(Ok((client, wire))) => {
                Ok(Session { client, statement: None, tls, connect_max, _wire: wire })
            }
            Ok(Err(cause)) => Err(PostgresError::Connect { server: server.to_string(), cause }),
            Err(_) => {
                Err(PostgresError::NoConnection { server: server.to_string(), after: connect_max })
            }
        }
    }
}

impl Session {
    /// Runs `sql`, which is the same every time, so that it is parsed once.
    pub async fn query(
        &mut self,
        sql: &str,
        values: &Values<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = match &self.statement {
            Some(statement) => statement,
            None => self.statement.insert(self.client.prepare(sql).await?),
        };
        self.client.query(statement, values).await
    }

    /// Gives up a statement that was not answered: a server that still listens
    /// stops working on it. That is tried but not waited for.
    pub fn abandon(self) {
        let token = self.client.cancel_token();
        let Session { tls, connect_max, .. } = self;
        tokio::spawn(async move { timeout(connect_max, token.cancel_query(tls)).await });
    }
}

/// What carries a session's bytes, in a task of its own. The client library would
/// keep it, and its socket, for as long as the server owes an answer; here it ends
/// soon after the session.
struct Wire {
    _dropped: oneshot::Sender<()>,
}

impl Wire {
    fn lay(
        mut connection: impl Future<Output = Result<(), tokio_postgres::Error>> + Send + Unpin + 'static,
    ) -> Wire {
        let (hold, held) = oneshot::channel();
        tokio::spawn(async move {
            tokio::select! {
                // An error of the connection is the client's too.
                _ = &mut connection => {}
                _ = held => drop(timeout(FAREWELL_MAX, connection).await),
            }
        });
        Wire { _dropped: hold }
    }
}

#[cfg(test)]
impl Connector {
    /// Connects to hosts at `ports` of this machine.
    pub fn to_ports(ports: &[u16], options: &str) -> Connector {
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let url = format!("postgres://user@{}/db{options}", hosts.join(","));
        Connector::new(UrlSource::Text(url), Tls::new(None).unwrap())
    }
}

#[cfg(test)]
impl Session {
    /// A session with a server that accepted it and says nothing more.
    pub async fn with_silent_server() -> Session {
        use tokio::io::AsyncWriteExt;

        let (client, mut server) = tokio::io::duplex(4096);
        // AuthenticationOk and ReadyForQuery.
        server.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await.unwrap();
        let mut config = tokio_postgres::Config::new();
        let connecting = config.user("user").connect_raw(client, tokio_postgres::NoTls);
        let (client, connection) = connecting.await.unwrap();
        tokio::spawn(async move {
            let _open = server;
            std::future::pending::<()>().await
        });
        let tls = Tls::new(None).unwrap().connector(super::tls::TlsMode::Disable).unwrap();
        let connect_max = Duration::from_secs(1);
        Session { client, statement: None, tls, connect_max, _wire: Wire::lay(connection) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_host_is_left_for_the_next_one_in_time() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        for (options, longest) in [("", 1.5), ("?connect_timeout=5", 5.0)] {
            let began = Instant::now();
            assert!(Connector::to_ports(&[port, port], options).connect().await.is_err());
            assert!(began.elapsed() <= 2 * Duration::from_secs_f64(longest), "{options}");
        }
    }
}
