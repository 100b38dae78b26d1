//! Errors of Postgres, for operators: they contain no secret and no personal data.

use std::error::Error;
use std::io;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::tls::TlsError;
use crate::store::database_url::UrlSourceError;

/// Why an operation on Postgres failed.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The URL cannot be read.
    #[error(transparent)]
    Url(#[from] UrlSourceError),
    /// The URL named a Postgres database when the process started.
    #[error(
        "the database URL no longer names a Postgres database: correct it, or restart the service to use another database"
    )]
    OtherDatabase,
    /// TLS cannot be configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Connecting failed.
    #[error("cannot connect to {server}: {}{}", describe(cause), advice(cause))]
    Connect {
        /// Its host and port.
        server: String,
        /// Not `#[source]`, because a message of the database may quote a row.
        cause: tokio_postgres::Error,
    },
    /// Connecting took too long.
    #[error(
        "cannot connect to {server}: no answer within {after:?}; check the host, the port and the firewalls in between"
    )]
    ConnectTimeout {
        /// Its host and port.
        server: String,
        after: Duration,
    },
    /// A statement failed.
    #[error("{}", describe(.0))]
    Statement(tokio_postgres::Error),
    /// A statement was not answered.
    #[error("the database did not answer within {0:?}")]
    AnswerTimeout(Duration),
    /// The request's deadline passed before the statement was sent.
    #[error("the deadline passed before the database was reached")]
    DeadlinePassed,
    /// The schema is of a newer release with which this one is incompatible.
    #[error(
        "the database was migrated by a newer release that is incompatible with this one; it was not changed: run the newer release"
    )]
    MadeByNewerRelease,
    /// The schema is missing or outdated, and must not be migrated.
    #[error(
        "the database lacks this release's schema: run hello-birthday migrate as a role that may create tables"
    )]
    NotMigrated,
    /// The schema is missing or outdated, and this role lacks the privileges to migrate it.
    #[error("this role may not create the schema: run hello-birthday migrate as a role that may create tables; {}", describe(.0))]
    MayNotMigrate(tokio_postgres::Error),
    /// This role lacks the privileges to read the schema's version.
    #[error("this role may not read the schema: grant it select, insert and update on all tables in it; {}", describe(.0))]
    MayNotRead(tokio_postgres::Error),
    /// This role lacks the privileges to replace the rates.
    #[error("this role may not replace the rates: run load-rates as the role that owns the tables; {}", describe(.0))]
    MayNotLoad(tokio_postgres::Error),
    /// This role lacks the privilege to erase users.
    #[error("this role may not erase users: it needs the privilege delete, which the owner of the tables has; {}", describe(.0))]
    MayNotErase(tokio_postgres::Error),
    /// The encoding does not have every letter.
    #[error(
        "the database's encoding is not UTF-8, so it cannot store every name: create it with encoding 'UTF8' template template0"
    )]
    NotUtf8,
    /// Another program has tables of the same names.
    #[error(
        "the database has tables of another program named users, prices or schema_versions; it was not changed: name another database, or a schema with ?options=-csearch_path%3DNAME"
    )]
    NotOurs,
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> PostgresError {
        PostgresError::Statement(error)
    }
}

impl PostgresError {
    /// Whether a new connection may succeed at once: this one was lost, or its server is
    /// starting, stopping or no longer the primary.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            PostgresError::Connect { .. } | PostgresError::ConnectTimeout { .. } => true,
            // The file may be replaced in a moment.
            PostgresError::Url(_) => true,
            PostgresError::Statement(error) => match error.code() {
                Some(state) => is_transient_state(state),
                None => error.is_closed() || is_io(error),
            },
            _ => false,
        }
    }

    /// What is wrong, in words that quote neither the server nor the database.
    pub(in crate::store) fn kind(&self) -> &'static str {
        match self {
            PostgresError::Url(_) => "the database URL cannot be read",
            PostgresError::OtherDatabase => "the database URL names another kind of database",
            PostgresError::Tls(_) => "TLS cannot be configured",
            PostgresError::Connect { .. } => "cannot connect",
            PostgresError::ConnectTimeout { .. } => "no answer to the connection",
            PostgresError::Statement(error) if error.as_db_error().is_some() => {
                "the statement was refused"
            }
            PostgresError::Statement(_) => "the connection was lost",
            PostgresError::AnswerTimeout(_) => "no answer to the statement",
            PostgresError::DeadlinePassed => "the deadline passed",
            PostgresError::MadeByNewerRelease => "the database was made by a newer release",
            PostgresError::NotMigrated | PostgresError::MayNotMigrate(_) => {
                "the schema is missing or outdated"
            }
            PostgresError::MayNotRead(_) => "the schema may not be read",
            PostgresError::MayNotLoad(_) => "the rates may not be replaced",
            PostgresError::MayNotErase(_) => "users may not be erased",
            PostgresError::NotUtf8 => "the encoding is not UTF-8",
            PostgresError::NotOurs => "the database is another program's",
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

/// States that are not the statement's fault
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn is_transient_state(state: &SqlState) -> bool {
    match *state {
        // It waited for a lock until its timeout, and would again.
        SqlState::QUERY_CANCELED => false,
        // The primary became a standby.
        SqlState::READ_ONLY_SQL_TRANSACTION => true,
        // The prepared statement no longer fits the schema, or a pooler lost it.
        SqlState::FEATURE_NOT_SUPPORTED
        | SqlState::INVALID_SQL_STATEMENT_NAME
        | SqlState::DUPLICATE_PSTATEMENT => true,
        // Connection exception, insufficient resources, operator intervention, system error.
        _ => ["08", "53", "57", "58"].contains(&&state.code()[..2]),
    }
}

/// The error on one line. A message of the database is left out unless its class never
/// quotes a row.
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

/// What to do about a connection that failed, if the error does not say so.
fn advice(error: &tokio_postgres::Error) -> &'static str {
    let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) else {
        return "";
    };
    match cause.get_ref() {
        Some(cause) if cause.is::<rustls::Error>() => {
            "; name the CA that signed it with --postgres-ca-file, or change sslmode"
        }
        // It runs, but is not what target_session_attrs asks for.
        _ if cause.kind() == io::ErrorKind::PermissionDenied => "",
        _ => "; check the host and the port, and that the server runs",
    }
}
