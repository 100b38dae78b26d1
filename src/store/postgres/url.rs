//! `postgres://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE`, as libpq reads it
//! (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>).

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::tls::TlsMode;
use crate::store::database_url::OptionName;

/// How long connecting to one host may take, unless the URL has `connect_timeout`. Together
/// with the longest pause between two attempts it stays below the 2 s within which a
/// database that is back is found.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long sent bytes may stay unacknowledged before the connection is lost
/// (`tcp_user_timeout`), so that there is time to retry on another host.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(2);

/// Keeps idle connections in the tables of firewalls (`keepalives_idle`): AWS's forget them
/// after 350 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// The URL of a database on one or several servers. `Debug` hides the password.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresUrl {
    /// In the order in which they are tried.
    pub(super) servers: Vec<Server>,
}

/// One of the hosts that a URL names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Server {
    pub config: Config,
    pub tls: TlsMode,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

/// A server, and the database on it; `None` is the one with the user's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DatabaseName(String, Option<String>);

/// Why a text is not a Postgres URL. It quotes nothing of the text but the name of an option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostgresUrlError {
    #[error(
        "not a Postgres URL: write postgres://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE, with other characters than letters and digits as %XX"
    )]
    Malformed,
    #[error("the Postgres URL has an unknown option{0}: remove it")]
    Option(OptionName),
    #[error("the option{0} of the Postgres URL has an unknown value: correct it")]
    Value(OptionName),
    #[error(
        "an option of the Postgres URL names several hosts, or another address than its host: name several as in postgres://USER@HOST1,HOST2/DATABASE"
    )]
    SeveralHosts,
    #[error("the Postgres URL names no host: write postgres://USER:PASSWORD@HOST/DATABASE")]
    NoHost,
    /// An `sslmode` that is unknown, or that protects against nothing.
    #[error("sslmode in the Postgres URL is not one of disable, require and verify-full")]
    SslMode,
    /// libpq's option for the CA file.
    #[error(
        "the Postgres URL has sslrootcert: remove it and name the file with --postgres-ca-file"
    )]
    SslRootCert,
}

impl PostgresUrl {
    /// The schemes of Postgres URLs.
    pub const SCHEMES: [&'static str; 2] = ["postgres://", "postgresql://"];

    /// This URL, with the user, the password and the database that it lacks taken from
    /// `other`.
    pub(super) fn completed_by(mut self, other: &PostgresUrl) -> PostgresUrl {
        let Some(other) = other.servers.first().map(|server| &server.config) else {
            return self;
        };
        for Server { config, .. } in &mut self.servers {
            if config.get_user().is_none() {
                other.get_user().map(|user| config.user(user));
                if config.get_password().is_none() {
                    other.get_password().map(|password| config.password(password));
                }
            }
            if config.get_dbname().is_none() {
                other.get_dbname().map(|database| config.dbname(database));
            }
        }
        self
    }
}

impl FromStr for PostgresUrl {
    type Err = PostgresUrlError;

    fn from_str(url: &str) -> Result<PostgresUrl, PostgresUrlError> {
        let parts = Parts::split(url).ok_or(PostgresUrlError::Malformed)?;
        let (tls, options) = parts.take_sslmode()?;
        // The client library can try several hosts too, but bounds only how long the TCP
        // connection takes: a host that accepts it and hangs would use up all the time. And
        // each host has a TLS mode.
        let servers = parts
            .hosts
            .split(',')
            .map(|host| {
                let Parts { credentials, database, .. } = parts;
                Server::parse(&format!("postgres://{credentials}{host}{database}"), &options, tls)
            })
            .collect::<Result<_, _>>()?;
        Ok(PostgresUrl { servers })
    }
}

impl Server {
    fn parse(url: &str, options: &str, tls: Option<TlsMode>) -> Result<Server, PostgresUrlError> {
        let with_options = format!("{url}?{options}");
        // The cause may quote a part of the URL.
        let mut config: Config =
            with_options.parse().map_err(|error| match url.parse::<Config>().is_ok() {
                true => about_option(&error),
                false => PostgresUrlError::Malformed,
            })?;
        let tls = match locality(&config)? {
            // A socket in the file system cannot be eavesdropped on, and has no TLS.
            Locality::Socket => TlsMode::Disable,
            Locality::Local => tls.unwrap_or(TlsMode::Disable),
            Locality::Remote => tls.unwrap_or(TlsMode::VerifyFull),
        };
        let connect_timeout = config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
        // A name may have several addresses, the first of which does not answer.
        config.connect_timeout(connect_timeout / 2).ssl_mode(tls.as_config());
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNACKNOWLEDGED_TIMEOUT);
        }
        if !options.contains("keepalives_idle=") {
            config.keepalives_idle(KEEPALIVE_IDLE);
        }
        if config.get_application_name().is_none() {
            config.application_name(env!("CARGO_PKG_NAME"));
        }
        Ok(Server { config, tls, connect_timeout })
    }
}

/// Which option an error of the client library is about; only its text says so.
fn about_option(error: &tokio_postgres::Error) -> PostgresUrlError {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    let name = OptionName::new(cause.split('`').nth(1).unwrap_or_default());
    match cause.starts_with("unknown option") {
        true => PostgresUrlError::Option(name),
        false => PostgresUrlError::Value(name),
    }
}

/// Shows the host and the port, which are not secret.
impl Server {
    /// Which database this is, with whatever user and password.
    pub fn database(&self) -> DatabaseName {
        DatabaseName(self.to_string(), self.config.get_dbname().map(str::to_owned))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        match (self.config.get_hostaddrs(), self.config.get_hosts()) {
            ([address, ..], _) => write!(formatter, "{address}:{port}"),
            (_, [Host::Tcp(name), ..]) => write!(formatter, "{name}:{port}"),
            (_, [Host::Unix(folder), ..]) => write!(formatter, "{}", folder.display()),
            ([], []) => formatter.write_str("no host"),
        }
    }
}

/// How far away a server is.
enum Locality {
    Socket,
    Local,
    Remote,
}

/// The locality of the single host of `config`. The client library connects to `hostaddr` if
/// it is given; `host` then is the name to verify.
fn locality(config: &Config) -> Result<Locality, PostgresUrlError> {
    let of_address = |address: &IpAddr| match address.is_loopback() {
        true => Locality::Local,
        false => Locality::Remote,
    };
    match (config.get_hosts(), config.get_hostaddrs()) {
        ([], []) => Err(PostgresUrlError::NoHost),
        ([Host::Unix(_)], []) => Ok(Locality::Socket),
        ([Host::Tcp(name)], []) if name == "localhost" => Ok(Locality::Local),
        ([Host::Tcp(name)], []) => {
            Ok(name.parse().map_or(Locality::Remote, |address| of_address(&address)))
        }
        ([] | [Host::Tcp(_)], [address]) => Ok(of_address(address)),
        _ => Err(PostgresUrlError::SeveralHosts),
    }
}

/// The parts of a URL, with their delimiters.
#[derive(Clone, Copy)]
struct Parts<'a> {
    /// `USER:PASSWORD@`, or nothing.
    credentials: &'a str,
    hosts: &'a str,
    /// `/DATABASE`, or nothing.
    database: &'a str,
    options: &'a str,
}

impl<'a> Parts<'a> {
    fn split(url: &'a str) -> Option<Parts<'a>> {
        let rest = PostgresUrl::SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme))?;
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (credentials, hosts) = authority.split_at(authority.find('@').map_or(0, |at| at + 1));
        // A second one is part of the password and should be %40. Parsers disagree about it,
        // and some would take the rest of the password for a host, which is shown in errors.
        let ats = url.matches('@').count();
        (ats == credentials.matches('@').count()).then_some(Parts {
            credentials,
            hosts,
            database,
            options,
        })
    }

    /// The value of `sslmode`, some of which tokio-postgres does not know, and the other
    /// options.
    fn take_sslmode(&self) -> Result<(Option<TlsMode>, String), PostgresUrlError> {
        let mut tls = None;
        let mut others = Vec::new();
        for option in self.options.split('&') {
            match option.split_once('=') {
                Some(("sslmode", mode)) => tls = Some(TlsMode::parse(mode)?),
                Some(("sslrootcert", _)) => return Err(PostgresUrlError::SslRootCert),
                _ => others.push(option),
            }
        }
        Ok((tls, others.join("&")))
    }
}

impl TlsMode {
    fn parse(mode: &str) -> Result<TlsMode, PostgresUrlError> {
        match mode {
            "disable" => Ok(TlsMode::Disable),
            "require" => Ok(TlsMode::Require),
            "verify-full" => Ok(TlsMode::VerifyFull),
            _ => Err(PostgresUrlError::SslMode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TlsMode::{Disable, Require, VerifyFull};

    fn parse(url: &str) -> Result<PostgresUrl, PostgresUrlError> {
        url.parse()
    }

    #[test]
    fn a_host_that_is_not_local_is_verified_unless_the_url_says_otherwise() {
        for (url, modes) in [
            ("postgres://localhost/db", &[Disable][..]),
            ("postgres://127.0.0.1:5433/db", &[Disable]),
            ("postgresql://[::1]/db", &[Disable]),
            ("postgres://%2Frun%2Fpostgresql/db", &[Disable]),
            ("postgres:///db?host=/run/postgresql", &[Disable]),
            ("postgres://db.example.com/db", &[VerifyFull]),
            ("postgres://10.0.0.1/db", &[VerifyFull]),
            ("postgres:///db?host=db.example.com", &[VerifyFull]),
            ("postgres:///db?hostaddr=10.0.0.1", &[VerifyFull]),
            ("postgres://localhost/db?hostaddr=10.0.0.1", &[VerifyFull]),
            ("postgres://db.example.com/db?hostaddr=127.0.0.1", &[Disable]),
            ("postgres://localhost,db.example.com/db", &[Disable, VerifyFull]),
            ("postgres://db.example.com/db?sslmode=require", &[Require]),
            ("postgres://db.example.com/db?sslmode=disable", &[Disable]),
            ("postgres://localhost/db?application_name=x&sslmode=verify-full", &[VerifyFull]),
            ("postgres://%2Frun%2Fpostgresql/db?sslmode=verify-full", &[Disable]),
        ] {
            let servers = parse(url).unwrap().servers;
            assert_eq!(servers.iter().map(|server| server.tls).collect::<Vec<_>>(), modes, "{url}");
        }
    }

    #[test]
    fn every_host_has_the_rest_of_the_url() {
        let url = "postgres://us%40er:p%2Fw@one:5433,two/db?target_session_attrs=read-write";
        let servers = parse(url).unwrap().servers;
        assert_eq!(
            servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["one:5433", "two:5432"]
        );
        for Server { config, connect_timeout, .. } in servers {
            assert_eq!(config.get_user(), Some("us@er"));
            assert_eq!(config.get_password(), Some(&b"p/w"[..]));
            assert_eq!(config.get_dbname(), Some("db"));
            assert_eq!(connect_timeout, CONNECT_TIMEOUT);
        }
    }

    #[test]
    fn what_the_url_says_of_the_network_holds() {
        let url = "postgres://h/db?connect_timeout=5&tcp_user_timeout=9&keepalives_idle=7";
        let server = &parse(url).unwrap().servers[0];
        assert_eq!(server.connect_timeout, Duration::from_secs(5));
        assert_eq!(server.config.get_tcp_user_timeout(), Some(&Duration::from_secs(9)));
        assert_eq!(server.config.get_keepalives_idle(), Duration::from_secs(7));
    }

    #[test]
    fn what_a_replica_leaves_out_is_the_primarys() {
        let primary = parse("postgres://user:secret@primary/db").unwrap();
        for (replica, user, password, database) in [
            ("postgres://replica", "user", Some("secret"), "db"),
            ("postgres://replica/other", "user", Some("secret"), "other"),
            ("postgres://reader:known@replica", "reader", Some("known"), "db"),
            // A password is its user's.
            ("postgres://reader@replica", "reader", None, "db"),
        ] {
            let url = parse(replica).unwrap().completed_by(&primary);
            let config = &url.servers[0].config;
            assert_eq!(config.get_user(), Some(user), "{replica}");
            assert_eq!(config.get_password(), password.map(str::as_bytes), "{replica}");
            assert_eq!(config.get_dbname(), Some(database), "{replica}");
        }
    }

    #[test]
    fn everything_else_is_refused_and_not_quoted() {
        use PostgresUrlError::{
            Malformed, NoHost, Option, SeveralHosts, SslMode, SslRootCert, Value,
        };
        let name = OptionName::new;
        for (url, error) in [
            ("postgres:///db", NoHost),
            ("postgres://user:hunter2@/db", NoHost),
            ("postgres://h/db?sslmode=prefer", SslMode),
            ("postgres://h/db?sslmode=verify-ca", SslMode),
            ("postgres://h/db?sslmode=", SslMode),
            ("postgres://h/db?sslrootcert=ca.pem", SslRootCert),
            ("postgres://h:hunter2/db", Malformed),
            ("postgres://h/db?hunter2=x", Option(name(""))),
            ("postgres://h/db?pgbouncer=true", Option(name("pgbouncer"))),
            ("postgres://h/db?connect_timeout=5&ssl=hunter", Option(name("ssl"))),
            ("postgres://h/db?target_session_attrs=hunter2", Value(name("target_session_attrs"))),
            // An @ or a / in a password must be %40 or %2F.
            ("postgres://user:hunter@2@h/db", Malformed),
            ("postgres://user:hunter/2@h/db", Malformed),
            ("postgres://localhost/db?application_name=me@example.com", Malformed),
            // One of these hosts would be verified, and another one connected to.
            ("postgres:///db?host=/run&host=example.com", SeveralHosts),
            ("postgres://localhost/db?host=example.com", SeveralHosts),
            ("postgres://%2Frun/db?hostaddr=10.0.0.1", SeveralHosts),
            ("postgres://h/db?hostaddr=10.0.0.1,10.0.0.2", SeveralHosts),
            ("mysql://h/db", Malformed),
        ] {
            assert!(!error.to_string().contains("hunter2"), "{url}");
            assert_eq!(parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let url = parse("postgres://user:hunter2@h/db").unwrap();
        assert!(!format!("{url:?}").contains("hunter2"));
    }
}
