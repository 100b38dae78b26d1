//! Opens connections to Postgres and sets them up.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::PostgresError;
use super::migrate::check_schema;
use super::tls::Tls;
use super::url::{DatabaseName, PostgresUrl, Server};
use crate::store::database_url::{DatabaseUrl, UrlSource};

/// `204` means flushed to disk, whatever the server, the database or the role has as its
/// default. All values but `off` flush, and may wait for standbys
/// (<https://www.postgresql.org/docs/current/runtime-config-wal.html>). Does nothing on a
/// server without the setting.
const SET_SYNCHRONOUS_COMMIT: &str = "select set_config(
        'synchronous_commit', case setting when 'off' then 'on' else setting end, false)
    from current_setting('synchronous_commit', true) as setting where setting is not null";

/// Does nothing on a server without these settings.
const SET_FOR_LARGE_QUERIES: &str = "select set_config(
        name, case name when 'plan_cache_mode' then 'force_custom_plan' else '0' end, false)
    from pg_settings where name in ('plan_cache_mode', 'max_parallel_workers_per_gather')";

/// How long to wait for a connection to close cleanly.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Connects to one database, with the URL as it is at that time.
#[derive(Clone)]
pub(super) struct Connector {
    source: Arc<UrlSource>,
    replica: Option<Arc<UrlSource>>,
    tls: Arc<Tls>,
    statement_timeout: Option<Duration>,
    large_queries: bool,
    /// Index of the host to try first: the last one that accepted a connection, or the one
    /// after the last that failed.
    preferred_host: Arc<AtomicUsize>,
    /// Connections made before it changed are to be replaced.
    generation: Arc<AtomicU64>,
    /// The databases, of those that the URL names, that were found to have this release's schema. All
    /// others are checked first. `None` if no schema is needed.
    checked: Option<Arc<Mutex<Vec<DatabaseName>>>>,
}

/// A connection on which one statement is executed repeatedly. Dropping it closes it.
pub(super) struct Connection {
    pub client: Client,
    statement: Option<Statement>,
    tls: MakeRustlsConnect,
    connect_timeout: Duration,
    generation: u64,
    _task: ConnectionTask,
}

/// Parameters of a statement.
pub(super) type Values<'a> = [&'a (dyn ToSql + Sync)];

/// Reads the current URL, which named a Postgres database at the start.
fn read(source: &UrlSource) -> Result<PostgresUrl, PostgresError> {
    match source.read()? {
        DatabaseUrl::Postgres(url) => Ok(url),
        DatabaseUrl::Sqlite(_) => Err(PostgresError::OtherDatabase),
    }
}

fn lock(checked: &Mutex<Vec<DatabaseName>>) -> MutexGuard<'_, Vec<DatabaseName>> {
    // Nothing panics while it holds the lock.
    checked.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connector {
    /// Connects to the database at `source`, without a statement timeout.
    pub fn new(source: UrlSource, tls: Tls) -> Connector {
        Connector {
            source: source.into(),
            replica: None,
            tls: tls.into(),
            statement_timeout: None,
            large_queries: false,
            preferred_host: Arc::default(),
            generation: Arc::default(),
            checked: None,
        }
    }

    /// Requires this release's schema.
    pub fn with_checked_schema(&self) -> Connector {
        Connector { checked: Some(Arc::default()), ..self.clone() }
    }

    /// Changing it replaces all connections before their next use.
    pub fn generation(&self) -> Arc<AtomicU64> {
        self.generation.clone()
    }

    /// Whether `connection` can be used again.
    pub fn is_current(&self, connection: &Connection) -> bool {
        !connection.client.is_closed()
            && connection.generation == self.generation.load(Ordering::Relaxed)
    }

    /// Makes the server cancel statements after `timeout`, so that abandoned ones neither
    /// accumulate there nor take effect later than newer ones.
    pub fn with_statement_timeout(&self, timeout: Duration) -> Connector {
        Connector { statement_timeout: Some(timeout), ..self.clone() }
    }

    /// Makes the server plan a statement for the values of each execution, and execute it in one
    /// process, which leaves the others to short statements.
    pub fn for_large_queries(&self) -> Connector {
        Connector { large_queries: true, ..self.clone() }
    }

    /// Connects to the database at `replica` instead. What its URL lacks is taken from the
    /// primary's.
    pub fn to_replica(&self, replica: UrlSource) -> Connector {
        Connector { replica: Some(replica.into()), preferred_host: Arc::default(), ..self.clone() }
    }

    /// Connects to the first host that accepts and has the attributes that the URL asks for.
    pub async fn connect(&self) -> Result<Connection, PostgresError> {
        // Before the URL is read, which may change with it.
        let generation = self.generation.load(Ordering::Relaxed);
        let url = self.url()?;
        let servers = &url.servers;
        let mut failed = None;
        for _ in 0..servers.len() {
            let at = self.preferred_host.load(Ordering::Relaxed);
            let server = &servers[at % servers.len()];
            let connected = async {
                let connection = self.connect_to(server, generation).await?;
                self.check(server, servers, &connection).await?;
                Ok(connection)
            };
            match connected.await {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = Some(error),
            }
            // Unless a concurrent attempt that failed has moved it already.
            let next = (at + 1) % servers.len();
            let _ = self.preferred_host.compare_exchange(
                at,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        Err(failed.expect("a URL names a server"))
    }

    /// A database that the service did not start with may be empty, or another program's.
    async fn check(
        &self,
        server: &Server,
        servers: &[Server],
        connection: &Connection,
    ) -> Result<(), PostgresError> {
        let Some(checked) = &self.checked else { return Ok(()) };
        let database = server.database();
        if lock(checked).contains(&database) {
            return Ok(());
        }
        check_schema(&connection.client).await?;
        let mut checked = lock(checked);
        checked.retain(|known| servers.iter().any(|server| server.database() == *known));
        checked.push(database);
        Ok(())
    }

    fn url(&self) -> Result<PostgresUrl, PostgresError> {
        let mut primary = read(&self.source)?;
        if let Some(replica) = &self.replica {
            return Ok(read(replica)?.completed_by(&primary));
        }
        // Of several hosts, the primary takes saves.
        if primary.servers.len() > 1 {
            for Server { config, .. } in &mut primary.servers {
                config.target_session_attrs(TargetSessionAttrs::ReadWrite);
            }
        }
        Ok(primary)
    }

    /// The statements that set up a connection, in one round trip.
    fn settings(&self) -> String {
        let mut statements = vec![SET_SYNCHRONOUS_COMMIT.to_owned()];
        if let Some(timeout) = self.statement_timeout {
            statements.push(format!("set statement_timeout = {}", timeout.as_millis()));
        }
        if self.large_queries {
            statements.push(SET_FOR_LARGE_QUERIES.to_owned());
        }
        statements.join(";")
    }

    async fn connect_to(
        &self,
        server: &Server,
        generation: u64,
    ) -> Result<Connection, PostgresError> {
        let tls = self.tls.connector(server.tls)?;
        let connect_timeout = server.connect_timeout;
        let connecting = timeout(connect_timeout, async {
            let (client, connection) = server.config.connect(tls.clone()).await?;
            let task = ConnectionTask::spawn(connection);
            client.batch_execute(&self.settings()).await?;
            Ok((client, task))
        });
        match connecting.await {
            Ok(Ok((client, task))) => {
                let statement = None;
                Ok(Connection { client, statement, tls, connect_timeout, generation, _task: task })
            }
            Ok(Err(cause)) => Err(PostgresError::Connect { server: server.to_string(), cause }),
            Err(_) => Err(PostgresError::ConnectTimeout {
                server: server.to_string(),
                after: connect_timeout,
            }),
        }
    }
}

impl Connection {
    /// Executes `sql`, which must be the same every time: it is prepared once.
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

    /// Closes the connection and asks the server, in the background, to cancel the statement
    /// that it has not answered.
    pub fn abandon(self) {
        let token = self.client.cancel_token();
        let Connection { tls, connect_timeout, .. } = self;
        tokio::spawn(async move { timeout(connect_timeout, token.cancel_query(tls)).await });
    }
}

/// The task that reads from and writes to a connection's socket. The client library keeps it
/// running until the server has answered everything; this one ends soon after it is dropped.
struct ConnectionTask {
    _dropped: oneshot::Sender<()>,
}

impl ConnectionTask {
    fn spawn(
        mut connection: impl Future<Output = Result<(), tokio_postgres::Error>> + Send + Unpin + 'static,
    ) -> ConnectionTask {
        let (hold, held) = oneshot::channel();
        tokio::spawn(async move {
            tokio::select! {
                // The client gets the connection's error as well.
                _ = &mut connection => {}
                _ = held => drop(timeout(CLOSE_TIMEOUT, connection).await),
            }
        });
        ConnectionTask { _dropped: hold }
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
impl Connection {
    /// A connection to a server that accepted it and then falls silent.
    pub async fn with_silent_server() -> Connection {
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
        let connect_timeout = Duration::from_secs(1);
        Connection {
            client,
            statement: None,
            tls,
            connect_timeout,
            generation: 0,
            _task: ConnectionTask::spawn(connection),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_that_accepts_and_hangs_is_left_for_the_next_one_after_its_timeout() {
        // Nothing listens on the last port.
        const CLOSED_PORT: u16 = 1;
        let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = hanging.local_addr().unwrap().port();
        for (options, timeout) in [("", 1.5), ("?connect_timeout=5", 5.0)] {
            let began = Instant::now();
            let connector = Connector::to_ports(&[port, port, CLOSED_PORT], options);
            let error = connector.connect().await.err().unwrap().to_string();
            assert!(error.contains("127.0.0.1:1: "), "{options}: {error}");
            assert_eq!(began.elapsed(), 2 * Duration::from_secs_f64(timeout), "{options}");
        }
    }
}
