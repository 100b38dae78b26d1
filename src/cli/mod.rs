//! The command line. Every flag has an environment variable.

mod completions;
mod manual;
mod values;
mod variables;

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{BoolishValueParser, OsStr, PossibleValue};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::clock;
use crate::domain::LeapDayBirthday;
use crate::logging::{self, LogFormat, LogLevel};
use crate::reporting::{self, DsnError};
use crate::store::{
    BATCH_MAX, DatabaseUrl, JournalChoice, Migrate, OnConflict, StoreOptions, UrlSource,
};

use values::{
    parse_address, parse_any_duration, parse_duration, parse_keep_alive_timeout, parse_time_zone,
    parse_today,
};
use variables::Given;

pub use completions::completions;
pub use manual::manual;

/// As in `0.1.0 (abc1234)`.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("HELLO_BIRTHDAY_COMMIT"), ")");

/// Keeps dates of birth and greets people.
///
/// Without a command, serves HTTP until SIGTERM or SIGINT.
#[derive(Parser)]
#[command(name = "hello-birthday", version = VERSION, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Subcommand)]
pub enum Command {
    /// Check a running service: exit 0 if it works, else 1
    Health(HealthArgs),
    /// Create or update the database's schema, then exit
    ///
    /// If the role that serves must not change the schema, run this as another role before
    /// each release, and serve with --migrate=check. --migrate=only is an older name for
    /// this command.
    Migrate(MigrateArgs),
    /// Copy all users from one database to another, and verify the result
    ///
    /// Rates are not copied: load-rates loads them into any database.
    ///
    /// The copy can be interrupted and restarted. To miss no user, copy with the service
    /// stopped. If that takes too long, copy while it runs, then stop it and copy again with
    /// --replace before serving from the destination. Users that are only in the destination
    /// stay there, so erase from both databases whoever asks for it in between. If a URL holds a
    /// password, pass it in its environment variable, which no process list shows.
    Copy(CopyArgs),
    /// Replace all rates with those of a pg_dump file; the service may be running
    ///
    /// The dump is plain text with the tables regions, ports and prices. Readers find the earlier
    /// rates until all new ones are loaded. If anything in the dump is invalid, the error names the
    /// line and nothing changes. On Postgres, run this as the role that owns the tables.
    LoadRates(LoadRatesArgs),
    /// Erase the data of users at their request; the service may be running
    ///
    /// Prints how many were erased, without names. A user who does not exist is not an error, so
    /// the command can be run again. Backups keep erased users until the backups are deleted. A
    /// Postgres role needs the privilege delete, which the owner of the tables has.
    Erase(EraseArgs),
    /// Copy the SQLite file to another one; the service may be running
    ///
    /// The copy is consistent and checked, and replaces FILE once it is complete. Only one
    /// process at a time makes a copy of FILE. For Postgres use pg_dump.
    Backup(BackupArgs),
    /// Print a shell completion script
    Completions {
        /// Shell to complete for
        shell: Shell,
    },
    /// Print the manual page in roff format
    Man,
}

#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Address and port of the service
    #[arg(
        long,
        value_name = "ADDR",
        env = "HELLO_BIRTHDAY_LISTEN",
        default_value = "127.0.0.1:8080",
        value_parser = parse_address
    )]
    pub listen: SocketAddr,
    /// How long to wait for the response, as in 500ms or 2s
    #[arg(
        long,
        value_name = "TIME",
        env = "HELLO_BIRTHDAY_TIMEOUT",
        default_value = "2s",
        value_parser = parse_duration
    )]
    pub timeout: Duration,
}

#[derive(Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub logging: LoggingArgs,
}

#[derive(Args)]
pub struct CopyArgs {
    /// Source database URL, as for --database-url
    #[arg(long, value_name = "URL", env = "HELLO_BIRTHDAY_FROM", required = true)]
    from: String,
    /// Destination database URL
    #[arg(long, value_name = "URL", env = "HELLO_BIRTHDAY_TO", required = true)]
    to: String,
    /// Overwrite dates that differ in the destination [default: false]
    #[arg(long, env = "HELLO_BIRTHDAY_REPLACE", value_parser = BoolishValueParser::new())]
    replace: bool,
    /// PEM file of the CA certificates to trust for Postgres [default: the machine's]
    #[arg(long, value_name = "FILE", env = "HELLO_BIRTHDAY_POSTGRES_CA_FILE")]
    postgres_ca_file: Option<PathBuf>,
}

#[derive(Args)]
pub struct LoadRatesArgs {
    /// The dump, or - for stdin
    file: PathBuf,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args)]
pub struct EraseArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Usernames; or - to read them from stdin, one per line, so that no process list shows them
    #[arg(value_name = "USERNAME", required = true)]
    usernames: Vec<String>,
}

#[derive(Args)]
pub struct BackupArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Do nothing if FILE is newer than this, as in 12h [default: none]
    #[arg(long, value_name = "TIME", env = "HELLO_BIRTHDAY_UNLESS_NEWER",
          value_parser = parse_any_duration)]
    unless_newer: Option<Duration>,
    /// File to write, which is replaced
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
pub struct Options {
    /// Address and port of the public API, as in 0.0.0.0:8080, [::]:8080, :8080 for all IPv4
    /// addresses or 8080 for 127.0.0.1; port 0 picks a free one
    #[arg(
        long,
        value_name = "ADDR",
        env = "HELLO_BIRTHDAY_LISTEN",
        default_value = "127.0.0.1:8080",
        value_parser = parse_address,
        help_heading = "Listening"
    )]
    pub listen: SocketAddr,
    /// Address and port of /livez, /readyz and /metrics; do not expose it to the public
    #[arg(
        long,
        value_name = "ADDR",
        env = "HELLO_BIRTHDAY_ADMIN_LISTEN",
        default_value = "127.0.0.1:8081",
        value_parser = parse_address,
        help_heading = "Listening"
    )]
    pub admin_listen: SocketAddr,
    /// How long to keep an idle connection open, from 1s to 2h; must be longer than the
    /// load balancer's idle timeout, or requests may meet a closed connection
    #[arg(long, value_name = "TIME", env = "HELLO_BIRTHDAY_KEEP_ALIVE_TIMEOUT",
          default_value = "75s", value_parser = parse_keep_alive_timeout,
          help_heading = "Listening")]
    pub keep_alive_timeout: Duration,

    #[command(flatten)]
    store: StoreArgs,
    /// URL of a Postgres replica to read from, which may lag behind; user, password and
    /// database default to the primary's [default: none]
    #[arg(
        long,
        value_name = "URL",
        env = "HELLO_BIRTHDAY_READ_DATABASE_URL",
        help_heading = "Database"
    )]
    read_database_url: Option<String>,
    /// File with the URL of the replica; read again for each new connection [default: none]
    #[arg(
        long,
        value_name = "FILE",
        env = "HELLO_BIRTHDAY_READ_DATABASE_URL_FILE",
        conflicts_with = "read_database_url",
        help_heading = "Database"
    )]
    read_database_url_file: Option<PathBuf>,
    /// What to do if the schema is missing or outdated
    #[arg(
        long,
        value_name = "WHAT",
        env = "HELLO_BIRTHDAY_MIGRATE",
        default_value = "auto",
        help_heading = "Database"
    )]
    migrate: MigrateFlag,
    /// Maximum requests in a batch
    #[arg(long, hide = true, value_name = "REQUESTS", default_value_t = BATCH_MAX)]
    store_batch_max: NonZeroUsize,
    /// How long the store may not answer before /readyz reports it, for tests
    #[arg(long, hide = true, value_name = "TIME", value_parser = parse_duration)]
    pub store_outage_max: Option<Duration>,

    /// Time zone that decides today's date, an IANA name
    #[arg(long, value_name = "ZONE", env = "HELLO_BIRTHDAY_TIME_ZONE",
          default_value = "UTC", value_parser = parse_time_zone, help_heading = "Greeting")]
    pub time_zone: TimeZone,
    /// Day on which people born on 29 February celebrate in common years
    #[arg(
        long,
        value_name = "DAY",
        env = "HELLO_BIRTHDAY_LEAP_DAY_BIRTHDAY",
        default_value = "feb-28",
        help_heading = "Greeting"
    )]
    pub leap_day_birthday: LeapDayBirthday,
    /// Today's date, for tests
    #[arg(long, hide = true, value_name = "DATE", value_parser = parse_today)]
    pub today: Option<Date>,

    /// How long to keep accepting connections after SIGTERM or SIGINT, so that load
    /// balancers stop sending, as in 500ms or 15s
    #[arg(long, value_name = "TIME", env = "HELLO_BIRTHDAY_DRAIN_DELAY",
          default_value = "0s", value_parser = parse_duration, help_heading = "Stopping")]
    pub drain_delay: Duration,
    /// How long in-flight requests may then take to finish, as in 500ms or 20s
    #[arg(long, value_name = "TIME", env = "HELLO_BIRTHDAY_DRAIN_TIMEOUT",
          default_value = "20s", value_parser = parse_duration, help_heading = "Stopping")]
    pub drain_timeout: Duration,

    #[command(flatten)]
    pub logging: LoggingArgs,
    /// Log every handled request at any log level: method, route, status, duration in milliseconds
    /// and request ids
    /// [default: false]
    #[arg(long, env = "HELLO_BIRTHDAY_ACCESS_LOG",
          value_parser = BoolishValueParser::new(), help_heading = "Logging")]
    pub access_log: bool,

    #[command(flatten)]
    pub reports: ReportArgs,
}

#[derive(Args)]
pub struct ReportArgs {
    /// DSN of the Sentry project to report panics and failures of the store to; if neither this
    /// flag nor its variable is set, SENTRY_DSN is used [default: none]
    #[arg(
        long,
        value_name = "DSN",
        env = "HELLO_BIRTHDAY_SENTRY_DSN",
        help_heading = "Error reporting"
    )]
    sentry_dsn: Option<String>,
    /// File with the DSN, so that no process list shows it [default: none]
    #[arg(
        long,
        value_name = "FILE",
        env = "HELLO_BIRTHDAY_SENTRY_DSN_FILE",
        conflicts_with = "sentry_dsn",
        help_heading = "Error reporting"
    )]
    sentry_dsn_file: Option<PathBuf>,
    /// Environment that reports name; if neither this flag nor its variable is set,
    /// SENTRY_ENVIRONMENT is used
    #[arg(
        long,
        value_name = "NAME",
        env = "HELLO_BIRTHDAY_SENTRY_ENVIRONMENT",
        default_value = "production",
        help_heading = "Error reporting"
    )]
    sentry_environment: String,
}

impl ReportArgs {
    /// Where to report errors, if anywhere. The error does not quote a DSN, which holds a key.
    pub fn settings(&self) -> Result<Option<reporting::Settings>, clap::Error> {
        let dsn = match (&self.sentry_dsn_file, &self.sentry_dsn) {
            (Some(file), _) => fs::read_to_string(file)
                .map_err(|error| error.to_string())
                .and_then(|dsn| dsn.trim().parse().map_err(|error: DsnError| error.to_string()))
                .map_err(|error| {
                    let file = file.display();
                    invalid(format!("{}: {file}: {error}", origin("--sentry-dsn-file", &[])))
                })?,
            (None, Some(dsn)) => dsn.parse().map_err(|error| {
                invalid(format!("{}: {error}", origin("--sentry-dsn", &["SENTRY_DSN"])))
            })?,
            (None, None) => return Ok(None),
        };
        Ok(Some(reporting::Settings { dsn, environment: self.sentry_environment.clone() }))
    }
}

#[derive(Args)]
pub struct DatabaseArgs {
    /// Database URL: sqlite:PATH or postgres://USER@HOST/DATABASE
    ///
    /// If neither this flag nor its variable is set, DATABASE_URL is used. A Postgres URL
    /// may name several hosts and have libpq's options; sslmode is disable, require or
    /// verify-full, which is the default unless the host is local.
    #[arg(
        long,
        value_name = "URL",
        env = "HELLO_BIRTHDAY_DATABASE_URL",
        default_value = "sqlite:hello-birthday.db",
        help_heading = "Database"
    )]
    database_url: String,
    /// File with the database URL, so that no process list shows it; read again for each
    /// new connection to Postgres, and on SIGHUP [default: none]
    #[arg(
        long,
        value_name = "FILE",
        env = "HELLO_BIRTHDAY_DATABASE_URL_FILE",
        conflicts_with = "database_url",
        help_heading = "Database"
    )]
    database_url_file: Option<PathBuf>,
    /// PEM file of the CA certificates to trust for Postgres [default: the machine's]
    #[arg(
        long,
        value_name = "FILE",
        env = "HELLO_BIRTHDAY_POSTGRES_CA_FILE",
        help_heading = "Database"
    )]
    postgres_ca_file: Option<PathBuf>,
}

/// A database that the service is to use.
#[derive(Args)]
pub struct StoreArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// SQLite journal mode; auto: wal on a known local file system, truncate on any other
    #[arg(
        long,
        value_name = "JOURNAL",
        env = "HELLO_BIRTHDAY_SQLITE_JOURNAL",
        default_value = "auto",
        help_heading = "Database"
    )]
    sqlite_journal: JournalChoice,
}

#[derive(Args)]
pub struct LoggingArgs {
    /// Log format on stderr; auto: text on a terminal, json elsewhere
    #[arg(
        long,
        value_name = "FORMAT",
        env = "HELLO_BIRTHDAY_LOG_FORMAT",
        default_value = "auto",
        help_heading = "Logging"
    )]
    pub log_format: LogFormat,
    /// File with the minimum log level, read again on SIGHUP [default: none]
    #[arg(
        long,
        value_name = "FILE",
        env = "HELLO_BIRTHDAY_LOG_LEVEL_FILE",
        conflicts_with = "log_level",
        help_heading = "Logging"
    )]
    pub log_level_file: Option<PathBuf>,
    /// Minimum log level
    #[arg(
        long,
        value_name = "LEVEL",
        env = "HELLO_BIRTHDAY_LOG_LEVEL",
        default_value = "info",
        help_heading = "Logging"
    )]
    pub log_level: LogLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MigrateFlag {
    /// Create or update it, then serve
    Auto,
    /// Refuse to start
    Check,
    /// Run the command migrate
    #[value(hide = true)]
    Only,
}

impl Options {
    /// Whether to run the command `migrate`, of which `--migrate=only` is an older name.
    pub fn only_migrates(&self) -> bool {
        self.migrate == MigrateFlag::Only
    }

    /// The database and how to use it. The error does not quote a URL, which may
    /// hold a password.
    pub fn store(&self) -> Result<(UrlSource, StoreOptions), clap::Error> {
        let (source, options) = self.store.store()?;
        let options = StoreOptions {
            read_source: self.read_source(&source)?,
            migrate: match self.migrate {
                MigrateFlag::Auto | MigrateFlag::Only => Migrate::Auto,
                MigrateFlag::Check => Migrate::Check,
            },
            batch_max: self.store_batch_max,
            ..options
        };
        Ok((source, options))
    }

    fn read_source(&self, primary: &UrlSource) -> Result<Option<UrlSource>, clap::Error> {
        let (flag, source) = match (&self.read_database_url_file, &self.read_database_url) {
            (Some(file), _) => ("--read-database-url-file", UrlSource::File(file.clone())),
            (None, Some(url)) => ("--read-database-url", UrlSource::Text(url.clone())),
            (None, None) => return Ok(None),
        };
        let invalid = |error: &dyn Display| invalid(format!("{}: {error}", origin(flag, &[])));
        let replica = source.read().map_err(|error| invalid(&error))?;
        match (primary.read().map_err(|error| invalid(&error))?, replica) {
            (DatabaseUrl::Postgres(_), DatabaseUrl::Postgres(_)) => Ok(Some(source)),
            _ => Err(invalid(&"only a Postgres database has a Postgres replica")),
        }
    }
}

impl DatabaseArgs {
    /// The database. The error does not quote a URL, which may hold a password.
    pub fn source(&self) -> Result<UrlSource, clap::Error> {
        let (source, origin) = match &self.database_url_file {
            Some(file) => (UrlSource::File(file.clone()), origin("--database-url-file", &[])),
            None => (
                UrlSource::Text(self.database_url.clone()),
                origin("--database-url", &["DATABASE_URL"]),
            ),
        };
        source.read().map_err(|error| invalid(format!("{origin}: {error}")))?;
        Ok(source)
    }
}

impl StoreArgs {
    /// The database and how to use it. The error does not quote a URL, which may
    /// hold a password.
    pub fn store(&self) -> Result<(UrlSource, StoreOptions), clap::Error> {
        let source = self.database.source()?;
        let options = StoreOptions {
            sqlite_journal: self.sqlite_journal,
            postgres_ca_file: self.database.postgres_ca_file.clone(),
            ..StoreOptions::default()
        };
        Ok((source, options))
    }
}

impl LoggingArgs {
    /// The current minimum log level.
    pub fn level(&self) -> Result<LogLevel, clap::Error> {
        let Some(file) = &self.log_level_file else { return Ok(self.log_level) };
        logging::read_level(file)
            .map_err(|error| invalid(format!("{}: {error}", origin("--log-level-file", &[]))))
    }
}

/// Whom to erase, and from where.
pub struct ErasePlan {
    pub database: UrlSource,
    pub postgres_ca_file: Option<PathBuf>,
    /// As the user wrote them.
    pub usernames: Vec<String>,
}

impl EraseArgs {
    /// The plan. The error does not quote a URL, which may hold a password.
    pub fn plan(self) -> Result<ErasePlan, clap::Error> {
        Ok(ErasePlan {
            database: self.database.source()?,
            postgres_ca_file: self.database.postgres_ca_file,
            usernames: self.usernames,
        })
    }
}

/// What to back up, and where to.
pub struct BackupPlan {
    pub database: UrlSource,
    /// Replaced once the copy is complete.
    pub file: PathBuf,
    /// Nothing is done if the file is newer.
    pub unless_newer: Option<Duration>,
}

impl BackupArgs {
    /// The plan. The error does not quote a URL, which may hold a password.
    pub fn plan(self) -> Result<BackupPlan, clap::Error> {
        let database = self.database.source()?;
        Ok(BackupPlan { database, file: self.file, unless_newer: self.unless_newer })
    }
}

/// What to copy, and how.
pub struct CopyPlan {
    pub from: UrlSource,
    /// Users that are only in this one stay.
    pub to: UrlSource,
    /// What happens to users that are in both with different dates.
    pub on_conflict: OnConflict,
    /// As in [`StoreOptions`].
    pub postgres_ca_file: Option<PathBuf>,
}

impl CopyArgs {
    /// The plan. The error does not quote a URL, which may hold a password.
    pub fn plan(self) -> Result<CopyPlan, clap::Error> {
        let source = |flag, url| {
            let source = UrlSource::Text(url);
            let invalid = |error| invalid(format!("{}: {error}", origin(flag, &[])));
            source.read().map_err(invalid).map(|_| source)
        };
        if self.from == self.to {
            return Err(invalid("--from and --to are the same database"));
        }
        Ok(CopyPlan {
            from: source("--from", self.from)?,
            to: source("--to", self.to)?,
            on_conflict: if self.replace { OnConflict::Replace } else { OnConflict::Keep },
            postgres_ca_file: self.postgres_ca_file,
        })
    }
}

/// Which rates to load, and where.
pub struct LoadPlan {
    /// A dump; `-` is stdin.
    pub file: PathBuf,
    /// The database to load it into.
    pub database: UrlSource,
    /// As in [`StoreOptions`].
    pub postgres_ca_file: Option<PathBuf>,
}

impl LoadRatesArgs {
    /// The plan. The error does not quote a URL, which may hold a password.
    pub fn plan(self) -> Result<LoadPlan, clap::Error> {
        Ok(LoadPlan {
            file: self.file,
            database: self.database.source()?,
            postgres_ca_file: self.database.postgres_ca_file,
        })
    }
}

impl ValueEnum for LeapDayBirthday {
    fn value_variants<'a>() -> &'a [LeapDayBirthday] {
        &[LeapDayBirthday::Feb28, LeapDayBirthday::Mar1]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            LeapDayBirthday::Feb28 => PossibleValue::new("feb-28").help("The last day of February"),
            LeapDayBirthday::Mar1 => {
                PossibleValue::new("mar-1").help("The day after the last day of February")
            }
        })
    }
}

impl ValueEnum for JournalChoice {
    fn value_variants<'a>() -> &'a [JournalChoice] {
        &[JournalChoice::Auto, JournalChoice::Wal, JournalChoice::Truncate]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            JournalChoice::Auto => {
                PossibleValue::new("auto").help("The one that suits the file system")
            }
            JournalChoice::Wal => PossibleValue::new("wal")
                .help("A write-ahead log; refused on file systems not known to be local"),
            JournalChoice::Truncate => {
                PossibleValue::new("truncate").help("A rollback journal, truncated at each commit")
            }
        })
    }
}

fn invalid(message: impl Display) -> clap::Error {
    command(Defaults::default()).error(ErrorKind::ValueValidation, message)
}

/// What to call the value of `flag` in an error, as in [`Given::origin`].
fn origin(flag: &str, shared: &[&str]) -> String {
    Given::to_this_process().origin(flag, shared)
}

/// Parses the process's arguments and environment; on bad ones, prints why and
/// exits with status 2.
pub fn parse() -> Cli {
    let given = Given::to_this_process();
    let mut command = command(Defaults::of(&given))
        .mut_args(|arg| given.without_empty(arg))
        .mut_subcommands(|command| command.mut_args(|arg| given.without_empty(arg)));
    let first = std::env::args_os().nth(1).unwrap_or_default();
    if command.find_subcommand(first).is_some() {
        // Invalid variables of flags that only serving has must not fail a command.
        command = command.mut_args(|arg| arg.env(None::<&str>));
    }
    let parsed = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.unwrap_or_else(|mut error| match error.kind() {
        // clap would quote a URL without its flag, which may hold a password.
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument
            if error.to_string().contains("://") =>
        {
            invalid("a URL needs its flag, as in --database-url URL").exit()
        }
        _ => {
            given.name_origins(&mut error);
            error.exit()
        }
    })
}

/// Logs a warning for each variable that looks like this program's but is unknown, most likely
/// because of a typo.
pub fn warn_of_unknown_variables() {
    for (variable, nearest) in Given::to_this_process().unknown(&command(Defaults::default())) {
        match nearest {
            Some(nearest) => tracing::warn!(variable, did_you_mean = nearest, "unknown variable"),
            None => tracing::warn!(variable, "unknown variable"),
        }
    }
}

/// Values of variables that other programs read too, for flags that are not given.
#[derive(Default)]
pub struct Defaults {
    database_url: Option<OsString>,
    sentry_dsn: Option<OsString>,
    sentry_environment: Option<OsString>,
}

impl Defaults {
    fn of(given: &Given) -> Defaults {
        Defaults {
            database_url: given.variable("DATABASE_URL"),
            sentry_dsn: given.variable("SENTRY_DSN"),
            sentry_environment: given.variable("SENTRY_ENVIRONMENT"),
        }
    }
}

/// Describes the command line, with these defaults.
pub fn command(defaults: Defaults) -> clap::Command {
    // A value in the environment may be a secret.
    let mut command = Cli::command()
        .long_version(format!("{VERSION}\ntime-zone data {}", clock::zone_data()))
        .mut_args(|arg| arg.hide_env_values(true))
        .mut_subcommands(|command| command.mut_args(|arg| arg.hide_env_values(true)));
    let with_default = |value| {
        let value = OsStr::from(value);
        move |arg: clap::Arg| arg.default_value(&value).hide_default_value(true)
    };
    if let Some(url) = defaults.database_url.map(with_default) {
        let has_url = |command: &clap::Command| {
            command.get_arguments().any(|arg| arg.get_id() == "database_url")
        };
        command = command.mut_arg("database_url", &url).mut_subcommands(|command| {
            if has_url(&command) { command.mut_arg("database_url", &url) } else { command }
        });
    }
    if let Some(dsn) = defaults.sentry_dsn.map(with_default) {
        command = command.mut_arg("sentry_dsn", dsn);
    }
    if let Some(environment) = defaults.sentry_environment.map(with_default) {
        command = command.mut_arg("sentry_environment", environment);
    }
    command
}

#[cfg(test)]
mod tests {
    use clap::ArgAction;

    use super::*;

    #[test]
    fn the_description_is_consistent() {
        command(Defaults::default()).debug_assert();
    }

    #[test]
    fn every_flag_states_its_default_and_its_variable() {
        let command = command(Defaults::default());
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
            let states_default = arg.is_required_set()
                || !arg.get_default_values().is_empty()
                || help.contains("[default:");
            assert!(states_default, "{flag}");
        }
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let is_ours = !["help", "version"].contains(&arg.get_id().as_str());
            assert_eq!(arg.get_help_heading().is_some(), is_ours, "{arg}");
        }
    }

    #[test]
    fn the_readme_states_the_defaults_of_the_flags_that_it_names() {
        let readme = include_str!("../../README.md");
        let command = command(Defaults::default());
        let mut rows = 0;
        for row in readme.lines().filter_map(|line| line.strip_prefix("| `--")) {
            let (flag, rest) = row.split_once([' ', '`']).unwrap();
            let stated = rest.split('|').nth(1).unwrap().trim().trim_matches('`');
            let found = |arg: &&clap::Arg| arg.get_long() == Some(flag);
            let arg = command.get_arguments().find(found);
            let arg = arg.unwrap_or_else(|| panic!("there is no --{flag}"));
            let default = arg.get_default_values().first().and_then(|value| value.to_str());
            let default = default.unwrap_or(match arg.get_action() {
                ArgAction::SetTrue => "off",
                _ => "",
            });
            assert_eq!(stated, default, "--{flag}");
            rows += 1;
        }
        assert!(rows > 5, "the README states {rows} defaults");
    }
}
