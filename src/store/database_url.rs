//! Which database to use, and where that is written down.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::postgres::url::{PostgresUrl, PostgresUrlError};

/// Which database to use.
#[derive(Debug, Clone, PartialEq)]
pub enum DatabaseUrl {
    /// `sqlite:PATH`
    Sqlite(SqliteUrl),
    /// `postgres://USER@HOST/DATABASE`
    Postgres(PostgresUrl),
}

/// A SQLite file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteUrl {
    pub path: PathBuf,
    /// Whether the file may be created, unless the URL says `mode=rw`.
    pub may_create: bool,
}

/// Why a text names no database. It quotes nothing of the text, which may hold a password, but
/// the name of an option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Not a kind of database there is.
    #[error("not a database URL: use sqlite:PATH or postgres://USER@HOST/DATABASE")]
    Unknown,
    /// A file with more than the URL, or a terminal's own characters.
    #[error("a database URL is one line without control characters: remove all else")]
    NotOneLine,
    /// No path behind `sqlite:`.
    #[error("the path is missing: use sqlite:PATH")]
    NoPath,
    /// `:memory:`, which other programs know.
    #[error(
        "a database in memory would be lost at the end: name a file, as in sqlite:/tmp/trial.db"
    )]
    InMemory,
    /// `file://HOST/PATH`.
    #[error("a SQLite file is on this machine: leave out the host, as in sqlite:file:///PATH")]
    Host,
    /// Not UTF-8 once it is decoded, or with a NUL byte.
    #[error("the path is not percent-encoded UTF-8: write % as %25, and ? as %3F")]
    NotEncoded,
    /// A mode in which nothing can be saved.
    #[error("mode=ro allows no saves: use mode=rw, or mode=rwc to create the file")]
    ReadOnly,
    /// A mode that SQLite does not have.
    #[error("unknown mode: use mode=rw, or mode=rwc to create the file")]
    Mode,
    /// An option that is not supported.
    #[error("unknown option{0} of a sqlite URL: the only one is mode, as in sqlite:PATH?mode=rw")]
    Option(OptionName),
    /// Not a Postgres URL.
    #[error(transparent)]
    Postgres(#[from] PostgresUrlError),
}

/// The name of an option, shown as ` NAME` if it is a plain word: another text may be a part of a
/// password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionName(String);

impl OptionName {
    /// Longer than any option's name.
    const LEN_MAX: usize = 32;

    pub fn new(name: &str) -> OptionName {
        let is_word = name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        OptionName(if is_word && name.len() <= OptionName::LEN_MAX {
            name.to_owned()
        } else {
            String::new()
        })
    }
}

impl std::fmt::Display for OptionName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.0 {
            "" => Ok(()),
            name => write!(formatter, " {name}"),
        }
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(url: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        if url.contains(char::is_control) {
            return Err(DatabaseUrlError::NotOneLine);
        }
        // Schemes are case-insensitive (RFC 3986, section 3.1).
        let (scheme, rest) = url.split_once(':').ok_or(DatabaseUrlError::Unknown)?;
        let scheme = scheme.to_ascii_lowercase();
        match &*scheme {
            "sqlite" => Ok(DatabaseUrl::Sqlite(rest.parse()?)),
            "postgres" | "postgresql" if rest.starts_with("//") => {
                Ok(DatabaseUrl::Postgres(format!("{scheme}:{rest}").parse()?))
            }
            _ => Err(DatabaseUrlError::Unknown),
        }
    }
}

impl FromStr for SqliteUrl {
    type Err = DatabaseUrlError;

    /// Parses what follows `sqlite:`, as other programs write it: `PATH`, `//PATH`, or a URI of
    /// SQLite's own (<https://www.sqlite.org/uri.html>), then perhaps `?mode=MODE`.
    fn from_str(rest: &str) -> Result<SqliteUrl, DatabaseUrlError> {
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        let path = match path.strip_prefix("file:") {
            Some(uri) => match uri.strip_prefix("//") {
                Some(authority) => {
                    let local = authority.strip_prefix("localhost").unwrap_or(authority);
                    if !local.starts_with('/') {
                        return Err(DatabaseUrlError::Host);
                    }
                    local
                }
                None => uri,
            },
            None => path.strip_prefix("//").unwrap_or(path),
        };
        let path = percent_decode_str(path).decode_utf8();
        let path = path.ok().filter(|path| !path.contains('\0'));
        let may_create = may_create(options)?;
        match path.ok_or(DatabaseUrlError::NotEncoded)?.as_ref() {
            "" => Err(DatabaseUrlError::NoPath),
            ":memory:" => Err(DatabaseUrlError::InMemory),
            path => Ok(SqliteUrl { path: path.into(), may_create }),
        }
    }
}

fn may_create(options: &str) -> Result<bool, DatabaseUrlError> {
    let mut may_create = true;
    for option in options.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=').unwrap_or((option, "")) {
            ("mode", "rwc") => may_create = true,
            ("mode", "rw") => may_create = false,
            ("mode", "ro") => return Err(DatabaseUrlError::ReadOnly),
            ("mode", "memory") => return Err(DatabaseUrlError::InMemory),
            ("mode", _) => return Err(DatabaseUrlError::Mode),
            (name, _) => return Err(DatabaseUrlError::Option(OptionName::new(name))),
        }
    }
    Ok(may_create)
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
    #[error(transparent)]
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sqlite(url: &str) -> Result<SqliteUrl, DatabaseUrlError> {
        match url.parse()? {
            DatabaseUrl::Sqlite(sqlite) => Ok(sqlite),
            DatabaseUrl::Postgres(_) => panic!("{url} is no file"),
        }
    }

    #[test]
    fn a_file_is_named_as_other_programs_name_it() {
        for (url, path, may_create) in [
            ("sqlite:x.db", "x.db", true),
            ("SQLite:x.db", "x.db", true),
            ("sqlite://x.db", "x.db", true),
            ("sqlite:///abs/x.db", "/abs/x.db", true),
            ("sqlite:/abs/x.db", "/abs/x.db", true),
            ("sqlite:x.db?mode=rwc", "x.db", true),
            ("sqlite://x.db?mode=rw", "x.db", false),
            ("sqlite:file:x.db", "x.db", true),
            ("sqlite:file:///abs/x.db?mode=rw", "/abs/x.db", false),
            ("sqlite:file://localhost/abs/x.db", "/abs/x.db", true),
            ("sqlite:x%20y%25.db", "x y%.db", true),
            ("sqlite:caf%C3%A9.db", "café.db", true),
            ("sqlite:x y.db", "x y.db", true),
            ("sqlite:what%3F.db", "what?.db", true),
            ("sqlite:./:memory:", "./:memory:", true),
        ] {
            assert_eq!(sqlite(url), Ok(SqliteUrl { path: path.into(), may_create }), "{url}");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_and_no_file_name() {
        use DatabaseUrlError::{
            Host, InMemory, Mode, NoPath, NotEncoded, NotOneLine, Option, ReadOnly, Unknown,
        };
        let option = |name| Option(OptionName::new(name));
        for (url, error) in [
            ("sqlite:", NoPath),
            ("sqlite://", NoPath),
            ("sqlite:?mode=rwc", NoPath),
            ("sqlite:file:", NoPath),
            ("sqlite::memory:", InMemory),
            ("sqlite://:memory:", InMemory),
            ("sqlite:file::memory:", InMemory),
            ("sqlite:x?mode=memory", InMemory),
            ("sqlite:x.db?mode=ro", ReadOnly),
            ("sqlite:x.db?mode=", Mode),
            ("sqlite:x.db?mode=RWC", Mode),
            ("sqlite:x.db?cache=shared", option("cache")),
            ("sqlite:x.db?mode=rwc&nolock=1", option("nolock")),
            ("sqlite:file://elsewhere/x.db", Host),
            ("sqlite:%FF.db", NotEncoded),
            ("sqlite:x%00.db", NotEncoded),
            ("sqlite:x.db\nsqlite:y.db", NotOneLine),
            ("sqlite:x.db\r", NotOneLine),
            ("postgres://h/db\n# postgres://user:hunter2@h/db", NotOneLine),
            ("sqlite3:x.db", Unknown),
            ("file:x.db", Unknown),
            ("x.db", Unknown),
            ("mysql://h/db", Unknown),
            ("postgres:h", Unknown),
        ] {
            assert_eq!(sqlite(url), Err(error), "{url}");
        }
    }

    #[test]
    fn an_unknown_option_is_named_if_it_is_a_word() {
        let said = |url| sqlite(url).unwrap_err().to_string();
        assert!(said("sqlite:x?cache=hunter2").starts_with("unknown option cache of"));
        assert!(said("sqlite:x?hunter2=1").starts_with("unknown option of"));
    }
}
