//! The command line. Every flag has an environment variable.

use std::ffi::OsString;
use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{BoolishValueParser, OsStr};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use jiff::SignedDuration;
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::copy::Plan;
use crate::domain::LeapDayBirthday;
use crate::logging::{LogFormat, LogLevel};
use crate::store::{
    BATCH_MAX, DatabaseUrl, DatabaseUrlError, JournalChoice, Migrate, OnConflict, PostgresUrl,
    StoreOptions, UrlSource,
};

/// Keeps dates of birth and greets people.
///
/// Without a command it serves HTTP until SIGTERM or SIGINT.
#[derive(Parser)]
#[command(name = "hello-birthday", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub options: Options,
}

/// What to do instead of serving.
#[derive(Subcommand)]
pub enum Command {
    /// Ask a running service whether it works: exit status 0 if so, else 1
    Health(Health),
    /// Copy all users from one database to another, and check that they arrived
    ///
    /// It may be stopped at any moment and started again. To leave nobody behind,
    /// copy with the service stopped; or, where that takes too long, first while it
    /// runs, then once more with it stopped and with --replace, before the other
    /// database is served. Where a URL holds a password, pass it in its variable,
    /// which is in no process list.
    Copy(Copy),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, in roff
    Man,
}

/// How to ask a running service.
#[derive(Debug, Args)]
pub struct Health {
    /// Address and port that the service listens on
    #[arg(
        long,
        value_name = "ADDR",
        env = "HELLO_BIRTHDAY_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,
    /// How long to wait for the answer, as in 500ms or 2s
    #[arg(
        long,
        value_name = "TIME",
        env = "HELLO_BIRTHDAY_TIMEOUT",
        default_value = "2s",
        value_parser = parse_duration
    )]
    pub timeout: Duration,
}

/// What to copy, and how.
#[derive(Args)]
pub struct Copy {
    /// Where the users are: a URL as for --database-url
    #[arg(long, value_name = "URL", env = "HELLO_BIRTHDAY_FROM", required = true)]
    from: String,
    /// Where they shall be too
    #[arg(long, value_name = "URL", env = "HELLO_BIRTHDAY_TO", required = true)]
    to: String,
    /// Overwrite the date of users that have another one there [default: false]
    #[arg(long, env = "HELLO_BIRTHDAY_REPLACE", value_parser = BoolishValueParser::new())]
    replace: bool,
    /// PEM file of who may sign Postgres's certificate [default: the machine's]
    #[arg(long, value_name = "FILE", env = "HELLO_BIRTHDAY_POSTGRES_CA_FILE")]
    postgres_ca_file: Option<PathBuf>,
}

/// How to serve.
#[derive(Args)]
pub struct Options {
    /// Address and port of the public API; port 0 picks a free one
    #[arg(
        long,
        value_name = "ADDR",
        env = "HELLO_BIRTHDAY_LISTEN",
        default_value = "127.0.0.1:8080",
        help_heading = "Listening"
    )]
    pub listen: SocketAddr,
    /// Address and port of /livez, /readyz and /metrics; keep it from the public
    #[arg(
        long,
        value_name = "ADDR",
        env = "HELLO_BIRTHDAY_ADMIN_LISTEN",
        default_value = "127.0.0.1:8081",
        help_heading = "Listening"
    )]
    pub admin_listen: SocketAddr,

    /// Where users are kept: sqlite:PATH or postgres://USER@HOST/DATABASE
    ///
    /// Where neither this nor its variable is given, DATABASE_URL is read. A
    /// Postgres URL may name several hosts and have options as for libpq;
    /// sslmode is disable, require or verify-full, which is the default for a host
    /// that is not local.
    #[arg(
        long,
        value_name = "URL",
        env = "HELLO_BIRTHDAY_DATABASE_URL",
        default_value = "sqlite:hello-birthday.db",
        help_heading = "Database"
    )]
    database_url: String,
    /// File that holds the database URL, so that it is in no process list; read
    /// again at every new connection to Postgres [default: none]
    #[arg(
        long,
        value_name = "FILE",
        env = "HELLO_BIRTHDAY_DATABASE_URL_FILE",
        conflicts_with = "database_url",
        help_heading = "Database"
    )]
    database_url_file: Option<PathBuf>,
    /// Replica of the Postgres database to find users in, which may lag behind; what
    /// the URL leaves out of user, password and database is the primary's
    /// [default: none]
    #[arg(
        long,
        value_name = "URL",
        env = "HELLO_BIRTHDAY_READ_DATABASE_URL",
        help_heading = "Database"
    )]
    read_database_url: Option<String>,
    /// PEM file of who may sign Postgres's certificate [default: the machine's]
    #[arg(
        long,
        value_name = "FILE",
        env = "HELLO_BIRTHDAY_POSTGRES_CA_FILE",
        help_heading = "Database"
    )]
    postgres_ca_file: Option<PathBuf>,
    /// What to do where the database lacks this release's schema
    #[arg(
        long,
        value_name = "WHAT",
        env = "HELLO_BIRTHDAY_MIGRATE",
        default_value = "auto",
        help_heading = "Database"
    )]
    pub migrate: Migrate,
    /// How SQLite makes a save durable; auto: wal on a local disk, truncate on a
    /// network file system
    #[arg(
        long,
        value_name = "JOURNAL",
        env = "HELLO_BIRTHDAY_SQLITE_JOURNAL",
        default_value = "auto",
        help_heading = "Database"
    )]
    sqlite_journal: JournalChoice,
    /// Requests in one trip to the database
    #[arg(long, hide = true, value_name = "REQUESTS", default_value_t = BATCH_MAX)]
    store_trip_max: NonZeroUsize,

    /// Time zone in which it is today, an IANA name
    #[arg(long, value_name = "ZONE", env = "HELLO_BIRTHDAY_TIME_ZONE",
          default_value = "UTC", value_parser = parse_time_zone, help_heading = "Greeting")]
    pub time_zone: TimeZone,
    /// Day on which those born on 29 February celebrate in common years
    #[arg(
        long,
        value_name = "DAY",
        env = "HELLO_BIRTHDAY_LEAP_DAY_BIRTHDAY",
        default_value = "feb-28",
        help_heading = "Greeting"
    )]
    pub leap_day_birthday: LeapDayBirthday,
    /// Take this for today's date, for tests
    #[arg(long, hide = true, value_name = "DATE", value_parser = parse_today)]
    pub today: Option<Date>,

    /// Time between the first signal and the last accepted connection, for the
    /// balancer to notice, as in 500ms or 15s
    #[arg(long, value_name = "TIME", env = "HELLO_BIRTHDAY_DRAIN_DELAY",
          default_value = "0s", value_parser = parse_duration, help_heading = "Stopping")]
    pub drain_delay: Duration,
    /// Time for requests under way to finish after that, as in 500ms or 20s
    #[arg(long, value_name = "TIME", env = "HELLO_BIRTHDAY_DRAIN_TIMEOUT",
          default_value = "20s", value_parser = parse_duration, help_heading = "Stopping")]
    pub drain_timeout: Duration,

    /// How log lines on stderr look; auto: text on a terminal, json elsewhere
    #[arg(
        long,
        value_name = "FORMAT",
        env = "HELLO_BIRTHDAY_LOG_FORMAT",
        default_value = "auto",
        help_heading = "Logging"
    )]
    pub log_format: LogFormat,
    /// Least important lines to log
    #[arg(
        long,
        value_name = "LEVEL",
        env = "HELLO_BIRTHDAY_LOG_LEVEL",
        default_value = "info",
        help_heading = "Logging"
    )]
    pub log_level: LogLevel,
    /// Log every request: its route, status and milliseconds [default: false]
    #[arg(long, env = "HELLO_BIRTHDAY_ACCESS_LOG",
          value_parser = BoolishValueParser::new(), help_heading = "Logging")]
    pub access_log: bool,
}

impl Options {
    /// The database and how to use it. The error does not quote a URL, which may
    /// hold a password.
    pub fn store(&self) -> Result<(UrlSource, StoreOptions), clap::Error> {
        let source = match &self.database_url_file {
            Some(file) => UrlSource::File(file.clone()),
            None => UrlSource::Text(self.database_url.clone()),
        };
        let database = source.read().map_err(invalid)?;
        let options = StoreOptions {
            sqlite_journal: self.sqlite_journal,
            read_url: self.read_url(&database)?,
            postgres_ca_file: self.postgres_ca_file.clone(),
            migrate: self.migrate,
            batch_max: self.store_trip_max,
        };
        Ok((source, options))
    }

    fn read_url(&self, database: &DatabaseUrl) -> Result<Option<PostgresUrl>, clap::Error> {
        let Some(url) = &self.read_database_url else { return Ok(None) };
        let url = url
            .parse()
            .map_err(|error: DatabaseUrlError| invalid(format!("--read-database-url: {error}")))?;
        match (database, url) {
            (DatabaseUrl::Postgres(_), DatabaseUrl::Postgres(url)) => Ok(Some(url)),
            _ => {
                Err(invalid("--read-database-url: only a Postgres database has a Postgres replica"))
            }
        }
    }
}

impl Copy {
    /// The plan. The error does not quote a URL, which may hold a password.
    pub fn plan(self) -> Result<Plan, clap::Error> {
        let source = |flag, url| {
            let source = UrlSource::Text(url);
            let read = source.read().map_err(|error| invalid(format!("{flag}: {error}")));
            read.map(|_| source)
        };
        if self.from == self.to {
            return Err(invalid("--from and --to are the same database"));
        }
        Ok(Plan {
            from: source("--from", self.from)?,
            to: source("--to", self.to)?,
            on_conflict: if self.replace { OnConflict::Replace } else { OnConflict::Keep },
            postgres_ca_file: self.postgres_ca_file,
        })
    }
}

fn invalid(message: impl Display) -> clap::Error {
    command(None).error(ErrorKind::ValueValidation, message)
}

/// Parses the process's arguments and environment; on bad ones, prints why and
/// exits with status 2.
pub fn parse() -> Cli {
    let mut command = command(std::env::var_os("DATABASE_URL"));
    let first = std::env::args_os().nth(1).unwrap_or_default();
    if command.find_subcommand(first).is_some() {
        // What is wrong with the settings for serving is not this command's business.
        command = command.mut_args(|arg| arg.env(None::<&str>));
    }
    let parsed = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.unwrap_or_else(|error| match error.kind() {
        // A URL without its flag is not to be quoted: it may hold a password.
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument
            if error.to_string().contains("://") =>
        {
            invalid("a URL goes with its flag, as in --database-url URL").exit()
        }
        _ => error.exit(),
    })
}

/// Describes the command line. `database_url` is the database where nothing of
/// ours names one.
pub fn command(database_url: Option<OsString>) -> clap::Command {
    // A value in the environment may be a secret.
    let command = Cli::command()
        .mut_args(|arg| arg.hide_env_values(true))
        .mut_subcommands(|command| command.mut_args(|arg| arg.hide_env_values(true)));
    match database_url {
        Some(url) => command.mut_arg("database_url", |arg| {
            arg.default_value(OsStr::from(url)).hide_default_value(true)
        }),
        None => command,
    }
}

/// The completion script for `shell`.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(None), "hello-birthday", &mut script);
    script
}

/// The manual page, in roff.
pub fn manual() -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command(None)).render(&mut page)?;
    Ok(page)
}

/// Longer than any drain: more is most likely a wrong unit.
const DURATION_MAX: SignedDuration = SignedDuration::from_hours(1);

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text
        .parse()
        .map_err(|_| "not a time: write a number and a unit, as in 500ms, 20s or 2m".to_owned())?;
    match Duration::try_from(duration) {
        Ok(time) if duration <= DURATION_MAX => Ok(time),
        Ok(_) => Err("longer than 1h".to_owned()),
        Err(_) => Err("less than no time".to_owned()),
    }
}

fn parse_time_zone(name: &str) -> Result<TimeZone, String> {
    // The zone data in the binary, whatever the machine has installed.
    TimeZoneDatabase::bundled()
        .get(name)
        .map_err(|_| "no such time zone: use an IANA name, as in Europe/Paris".to_owned())
}

fn parse_today(text: &str) -> Result<Date, String> {
    match text.parse::<Date>() {
        Ok(date) if date.year() < Date::MAX.year() => Ok(date),
        _ => Err("not a date: write YYYY-MM-DD, before the year 9999".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_consistent() {
        command(None).debug_assert();
    }

    #[test]
    fn every_flag_tells_its_default_and_its_variable() {
        let command = command(None);
        let commands = command.get_subcommands().flat_map(clap::Command::get_arguments);
        let args = command.get_arguments().chain(commands.filter(|arg| arg.get_long().is_some()));
        for arg in args.filter(|arg| !arg.is_hide_set()) {
            let flag = arg.get_long().expect("every flag is long");
            if ["help", "version"].contains(&flag) {
                continue;
            }
            let variable = format!("HELLO_BIRTHDAY_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(arg.get_env().and_then(|name| name.to_str()), Some(&*variable), "{flag}");
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let tells_default = arg.is_required_set()
                || !arg.get_default_values().is_empty()
                || help.contains("[default:");
            assert!(tells_default, "{flag}");
        }
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let is_ours = !["help", "version"].contains(&arg.get_id().as_str());
            assert_eq!(arg.get_help_heading().is_some(), is_ours, "{arg}");
        }
    }

    #[test]
    fn times_carry_a_unit() {
        for (text, time) in [
            ("0s", Some(Duration::ZERO)),
            ("500ms", Some(Duration::from_millis(500))),
            ("1m 30s", Some(Duration::from_secs(90))),
            ("1h", Some(Duration::from_secs(3600))),
            ("20", None),
            ("-1s", None),
            ("61m", None),
            ("", None),
        ] {
            assert_eq!(parse_duration(text).ok(), time, "{text:?}");
        }
    }
}
