//! Connections to Postgres: where to, and what is settled before they are used.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::PostgresError;
use super::tls::Tls;
use super::url::{PostgresUrl, Server};
use crate::store::url::{DatabaseUrl, UrlSource};

/// `204` means flushed to disk, whatever the default of this server, database or
/// role. Other settings than `off` flush as well, and may wait for standbys
/// (<https://www.postgresql.org/docs/current/runtime-config-wal.html>). Where the
/// setting is unknown, nothing is set.
const FLUSH: &str = "select set_config('synchronous_commit', 'on', false)
    where current_setting('synchronous_commit', true) = 'off'";

/// Connects to one database, with the URL of the moment.
#[derive(Clone)]
pub(super) struct Connector {
    source: Arc<UrlSource>,
    replica: Option<Arc<PostgresUrl>>,
    tls: Arc<Tls>,
}

/// A connection, for one statement again and again. It is closed when it is
/// dropped.
pub(super) struct Session {
    pub client: Client,
    statement: Option<Statement>,
    tls: MakeRustlsConnect,
    connect_max: Duration,
}

/// What goes into a statement.
pub(super) type Values<'a> = [&'a (dyn ToSql + Sync)];

impl Connector {
    pub fn new(source: UrlSource, tls: Tls) -> Connector {
        Connector { source: source.into(), replica: None, tls: tls.into() }
    }

    /// Connects to `replica` instead. What that URL leaves out is taken from the
    /// primary's.
    pub fn to_replica(&self, replica: PostgresUrl) -> Connector {
        Connector { replica: Some(replica.into()), ..self.clone() }
    }

    /// Connects to the first server that lets us in and is as the URL wants it.
    pub async fn connect(&self) -> Result<Session, PostgresError> {
        let mut failed = None;
        for server in self.url()?.servers {
            match self.connect_to(server).await {
                Ok(session) => return Ok(session),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.expect("a URL names a server"))
    }

    fn url(&self) -> Result<PostgresUrl, PostgresError> {
        let DatabaseUrl::Postgres(primary) = self.source.read()? else {
            return Err(PostgresError::OtherDatabase);
        };
        Ok(match &self.replica {
            Some(replica) => PostgresUrl::clone(replica).completed_by(&primary),
            None => primary,
        })
    }

    async fn connect_to(&self, server: Server) -> Result<Session, PostgresError> {
        let tls = self.tls.connector(server.tls)?;
        let connect_max = server.connect_max;
        let connecting = timeout(connect_max, async {
            let (client, connection) = server.config.connect(tls.clone()).await?;
            // Ends with the client; an error of it is the client's too.
            tokio::spawn(connection);
            client.batch_execute(FLUSH).await?;
            Ok(client)
        });
        match connecting.await {
            Ok(Ok(client)) => Ok(Session { client, statement: None, tls, connect_max }),
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
        let statement = match self.statement.take() {
            Some(statement) => statement,
            None => self.client.prepare(sql).await?,
        };
        let rows = self.client.query(&statement, values).await?;
        self.statement = Some(statement);
        Ok(rows)
    }

    /// Gives up a statement that was not answered, so that it does not wait for a
    /// lock, and hold others, for no one. The database may be out of reach, so
    /// this is tried but not waited for.
    pub fn abandon(self) {
        let Session { client, tls, connect_max, .. } = self;
        let token = client.cancel_token();
        tokio::spawn(async move { timeout(connect_max, token.cancel_query(tls)).await });
    }
}
