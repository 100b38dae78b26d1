//! Which database to use, and where that is written down.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use super::postgres::url::{PostgresUrl, PostgresUrlError};

/// Which database to use.
#[derive(Debug, Clone, PartialEq)]
pub enum DatabaseUrl {
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `postgres://USER@HOST/DATABASE`
    Postgres(PostgresUrl),
}

/// Why a text names no database. It does not quote the text, which may hold a
/// password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Not a kind of database there is.
    #[error("not a database URL: use sqlite:PATH or postgres://USER@HOST/DATABASE")]
    Unknown,
    /// No path behind `sqlite:`.
    #[error("the path is missing: use sqlite:PATH")]
    NoPath,
    /// Not a Postgres URL.
    #[error(transparent)]
    Postgres(#[from] PostgresUrlError),
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(url: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            return match path.strip_prefix("//").unwrap_or(path) {
                "" => Err(DatabaseUrlError::NoPath),
                path => Ok(DatabaseUrl::Sqlite(path.into())),
            };
        }
        if PostgresUrl::SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
            return Ok(DatabaseUrl::Postgres(url.parse()?));
        }
        Err(DatabaseUrlError::Unknown)
    }
}

/// Where a database URL is written down.
#[derive(Clone, PartialEq, Eq)]
pub enum UrlSource {
    /// In a flag or a variable.
    Text(String),
    /// In a file, which is read again whenever the URL is asked for, so that it
    /// may change.
    File(PathBuf),
}

/// Why there is no database URL where one should be.
#[derive(Debug, thiserror::Error)]
pub enum UrlSourceError {
    /// A text that is none.
    #[error("the database URL: {0}")]
    Text(DatabaseUrlError),
    /// A file that holds none.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, DatabaseUrlError),
    /// A file that cannot be read.
    #[error("cannot read {}: {}", .0.display(), .1)]
    Unreadable(PathBuf, io::Error),
}

impl UrlSource {
    /// Reads the URL that is there now.
    pub fn read(&self) -> Result<DatabaseUrl, UrlSourceError> {
        match self {
            UrlSource::Text(text) => text.parse().map_err(UrlSourceError::Text),
            UrlSource::File(file) => {
                let text = fs::read_to_string(file)
                    .map_err(|error| UrlSourceError::Unreadable(file.clone(), error))?;
                text.trim_end().parse().map_err(|error| UrlSourceError::File(file.clone(), error))
            }
        }
    }
}
