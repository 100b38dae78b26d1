//! What goes wrong with Postgres, in words for operators that hold no secret and
//! name no user.

use std::error::Error;
use std::io;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::tls::TlsError;
use crate::store::url::UrlSourceError;

/// Why Postgres did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// There is no URL to connect with.
    #[error(transparent)]
    Url(#[from] UrlSourceError),
    /// The URL was of Postgres when the process started.
    #[error("the database URL names no Postgres database any more: start the service again")]
    OtherDatabase,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No connection.
    #[error("cannot connect to {server}: {}{}", describe(cause), advice(cause))]
    Connect {
        /// Its host and port.
        server: String,
        /// What the client library says. It is not `#[source]`: the database's own
        /// words may quote a row.
        cause: tokio_postgres::Error,
    },
    /// No answer while connecting.
    #[error(
        "cannot connect to {server}: no answer within {after:?}; check the host, the port and the firewalls between"
    )]
    NoConnection {
        /// Its host and port.
        server: String,
        /// How long was waited.
        after: Duration,
    },
    /// A statement that failed.
    #[error("{}", describe(.0))]
    Statement(tokio_postgres::Error),
    /// A statement that was not answered.
    #[error("the database did not answer within {0:?}")]
    NoAnswer(Duration),
    /// Everything on the way here took all the time there was.
    #[error("no time was left to ask the database")]
    NoTimeLeft,
    /// The schema is that of a release that this one cannot work beside.
    #[error(
        "the database was made by a newer release that this one cannot work beside: it was left as it is; run the newer release"
    )]
    MadeByNewerRelease,
    /// The schema is not there yet, and may not be made.
    #[error(
        "the database lacks this release's schema: make it with hello-birthday --migrate=only, as a role that may"
    )]
    NotMigrated,
    /// The schema is not there yet, and this role may not make it.
    #[error("this role may not make the schema: make it with hello-birthday --migrate=only, as a role that may; {}", describe(.0))]
    MayNotMigrate(tokio_postgres::Error),
    /// This role may not even look.
    #[error("this role may not read the schema: grant it select, insert and update on all tables in it; {}", describe(.0))]
    MayNotRead(tokio_postgres::Error),
    /// Some letters have no place in it.
    #[error(
        "the database is not in UTF-8, so it cannot hold every name: create it with encoding 'UTF8' template template0"
    )]
    NotUtf8,
    /// Tables of another program are in the way.
    #[error(
        "the database holds tables of another program named users or schema_versions: it was left as it is; name another database, or a schema with ?options=-csearch_path%3DNAME"
    )]
    NotOurs,
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> PostgresError {
        PostgresError::Statement(error)
    }
}

impl PostgresError {
    /// Whether a new connection may do better at once: the old one died, or led to
    /// a server that is starting, stopping or no longer the primary.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            PostgresError::Connect { .. } | PostgresError::NoConnection { .. } => true,
            // The file may be about to be replaced.
            PostgresError::Url(_) => true,
            PostgresError::Statement(error) => match error.code() {
                Some(state) => is_passing(state),
                None => error.is_closed() || is_io(error),
            },
            _ => false,
        }
    }

    /// Whether the statement was rolled back because of a concurrent one: a serialization
    /// failure or a deadlock. On the same connection it may succeed.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, PostgresError::Statement(error)
            if error.code().is_some_and(|state| state.code().starts_with("40")))
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    error.source().is_some_and(|cause| cause.is::<io::Error>())
}

/// States that say nothing against the statement
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn is_passing(state: &SqlState) -> bool {
    match *state {
        // It waited for a lock, and would again.
        SqlState::QUERY_CANCELED => false,
        // The primary became a standby.
        SqlState::READ_ONLY_SQL_TRANSACTION => true,
        // What was prepared no longer fits the schema, or a pooler lost it.
        SqlState::FEATURE_NOT_SUPPORTED
        | SqlState::INVALID_SQL_STATEMENT_NAME
        | SqlState::DUPLICATE_PSTATEMENT => true,
        // Connection exception, insufficient resources, operator intervention, system error.
        _ => ["08", "53", "57", "58"].contains(&&state.code()[..2]),
    }
}

/// The error on one line. The database's words are left out unless they are of a
/// kind that quotes nothing of a row.
fn describe(error: &tokio_postgres::Error) -> String {
    let Some(refusal) = error.as_db_error() else {
        let causes = std::iter::successors(error.source(), |&cause| cause.source());
        return causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"));
    };
    let state = refusal.code().code();
    // About connections, features, transactions, roles, databases, schemas, locks,
    // names, limits, operators and the machine.
    const HARMLESS: &[&str] =
        &["08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58"];
    match HARMLESS.contains(&&state[..2]) {
        true => format!("{} (SQLSTATE {state})", refusal.message()),
        false => format!("SQLSTATE {state}"),
    }
}

/// What to do about a connection that failed, where the error does not say so.
fn advice(error: &tokio_postgres::Error) -> &'static str {
    let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) else {
        return "";
    };
    match cause.get_ref() {
        Some(cause) if cause.is::<rustls::Error>() => {
            "; name its authority with --postgres-ca-file, or see sslmode"
        }
        // It runs, but is not what target_session_attrs asks for.
        _ if cause.kind() == io::ErrorKind::PermissionDenied => "",
        _ => "; check the host, the port and that it runs",
    }
}
