//! The life of the service, from its flags to its exit.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::reload::reload_on;
use crate::cli::Options;
use crate::clock::{self, Clock};
use crate::http::admin::Admin;
use crate::http::handlers::Api;
use crate::http::rates::RatesApi;
use crate::http::server::{self, ADMIN_CONNECTIONS_MAX, CONNECTIONS_MAX, ServerLimits};
use crate::http::telemetry::RequestMetrics;
use crate::lifecycle::{Lifecycle, Signals};
use crate::logging;
use crate::metrics::Metrics;
use crate::reporting;
use crate::store::{STORE_OUTAGE_MAX, Store, StoreOptions, UrlSource, cause_of};
use crate::systemd::{self, Sockets};

/// File descriptors that public connections must leave free: for the admin listener's
/// connections, and for the database, which reopens its journal again and again.
const RESERVED_FDS: usize = ADMIN_CONNECTIONS_MAX + 64;

/// How long a probe's or scraper's connection may be idle. Few are allowed, so idle
/// ones must not keep others out for long.
const ADMIN_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long the database may take to commit what is queued and to close. Longer than
/// a batch waits for another process's lock.
const STORE_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a signal that exits at once waits for log lines to be written: too short to be noticed.
const EXIT_FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

/// Serves until a signal, then drains. Returns once every acknowledged save is durable, the
/// database is closed and errors are reported.
pub async fn serve(
    options: Options,
    database: UrlSource,
    store_options: StoreOptions,
    reports: Option<reporting::Settings>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<()> {
    if let Some(settings) = reports {
        reporting::start(settings, metrics.reports()).context("cannot report errors")?;
    }
    let served = serve_until_drained(options, database, store_options, metrics).await;
    if let Err(error) = &served {
        reporting::report_end(cause_of(error));
    }
    reporting::flush().await;
    served
}

async fn serve_until_drained(
    options: Options,
    database: UrlSource,
    store_options: StoreOptions,
    metrics: Arc<Metrics>,
) -> anyhow::Result<()> {
    // From now on it does not end the process, as it does where a terminal is closed.
    let hangups = signal(SignalKind::hangup()).context("cannot catch signals")?;
    let mut signals = Signals::catch().context("cannot catch signals")?;
    let files = raise_file_limit();
    let opened = database.read().context("cannot open the store")?;
    let opening = async {
        let store = Store::open(&database, store_options, &metrics).await;
        let store = Arc::new(store.context("cannot open the store")?);
        store.ping().await.context("the store does not answer")?;
        anyhow::Ok(store)
    };
    let store = tokio::select! {
        store = opening => store?,
        _ = signals.next() => {
            tracing::info!("stopped before it served");
            return Ok(());
        }
    };

    let mut sockets = Sockets::from_environment();
    let public = sockets.next_or_bind(options.listen)?;
    let admin = sockets.next_or_bind(options.admin_listen)?;
    let status = format!(
        "serving on {}, admin on {}",
        public.socket.local_addr()?,
        admin.socket.local_addr()?
    );
    log_start(&options, &store, &status);

    let outage_max = options.store_outage_max.unwrap_or(STORE_OUTAGE_MAX);
    let lifecycle = Arc::new(Lifecycle::default());
    let api = Api {
        store: store.clone(),
        clock: Clock::new(options.time_zone, options.today),
        leap_day: options.leap_day_birthday,
        lifecycle: lifecycle.clone(),
        metrics: RequestMetrics::new(metrics.clone(), options.access_log),
        rates: RatesApi::default(),
    };
    let (stop, stopped) = oneshot::channel();
    let mut public = tokio::spawn(server::serve(
        public,
        api,
        metrics.listener("public"),
        ServerLimits {
            connections_max: files.saturating_sub(RESERVED_FDS).clamp(1, CONNECTIONS_MAX),
            keep_alive_timeout: options.keep_alive_timeout,
            drain_timeout: options.drain_timeout,
        },
        async { drop(stopped.await) },
    ));
    let mut admin = tokio::spawn(server::serve(
        admin,
        Admin::new(lifecycle.clone(), store.clone(), outage_max, metrics.clone()),
        metrics.listener("admin"),
        ServerLimits {
            connections_max: ADMIN_CONNECTIONS_MAX,
            keep_alive_timeout: ADMIN_KEEP_ALIVE_TIMEOUT,
            drain_timeout: Duration::ZERO,
        },
        // Serves probes until the process exits.
        std::future::pending(),
    ));
    let probed = store.clone();
    tokio::spawn(async move { probed.probe_when_idle().await });
    tokio::spawn(reload_on(hangups, options.logging, database, opened, store.clone()));
    tokio::spawn(systemd::feed_watchdog());
    systemd::ready(&status);

    tokio::select! {
        _ = signals.next() => {}
        ended = &mut public => bail!("the public listener stopped unexpectedly: {ended:?}"),
        ended = &mut admin => bail!("the admin listener stopped unexpectedly: {ended:?}"),
    }
    exit_on_next(signals);
    lifecycle.stop();
    drain(options.drain_delay, stop, public, &store).await
}

/// The end, in order: readiness probes fail, load balancers have time to notice, in-flight
/// requests finish, and the store commits what is queued.
async fn drain(
    delay: Duration,
    stop: oneshot::Sender<()>,
    public: JoinHandle<usize>,
    store: &Store,
) -> anyhow::Result<()> {
    systemd::stopping("draining");
    // A delay is at most an hour.
    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(delay_ms, "shutting down: readiness probes now fail");
    sleep(delay).await;

    tracing::info!("draining in-flight requests");
    drop(stop);
    let open = public.await.context("the public listener panicked")?;
    if open > 0 {
        tracing::warn!(connections = open, "drain timeout exceeded: closing connections");
    }

    let closed = timeout(STORE_CLOSE_TIMEOUT, store.close()).await;
    closed.context("timed out closing the database; every acknowledged save is durable")?;
    tracing::info!("stopped");
    Ok(())
}

fn log_start(options: &Options, store: &Store, status: &str) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        commit = env!("HELLO_BIRTHDAY_COMMIT"),
        database = store.database(),
        journal = store.journal(),
        time_zone = options.time_zone.iana_name().unwrap_or("unknown"),
        time_zone_data = clock::zone_data(),
        "{status}"
    );
    if options.today.is_some() {
        tracing::warn!("--today fixes today's date: use it only in tests");
    }
}

/// Raises the soft limit to the hard one: every connection takes a file descriptor, and
/// shells allow few by default. Returns the limit.
fn raise_file_limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the open file limit");
    }
    let allowed = getrlimit(Resource::Nofile).current;
    // None means no limit.
    allowed.and_then(|allowed| usize::try_from(allowed).ok()).unwrap_or(usize::MAX)
}

/// Exits at the next signal, at once.
pub(super) fn exit_on_next(mut signals: Signals) {
    tokio::spawn(async move {
        let signal = signals.next().await;
        logging::flush(EXIT_FLUSH_TIMEOUT);
        // The status that a shell reports for a process ended by this signal.
        std::process::exit(128 + signal.as_raw_value());
    });
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use clap::FromArgMatches;

    use super::*;
    use crate::cli::{self, Cli, Defaults};
    use crate::logging::LOG_FLUSH_TIMEOUT;

    const UNIT: &str = include_str!("../../systemd/hello-birthday.service");

    #[test]
    fn systemd_waits_for_the_whole_drain() {
        let options = options_of_the_unit();
        let drain = options.drain_delay
            + options.drain_timeout
            + STORE_CLOSE_TIMEOUT
            + reporting::REPORT_FLUSH_TIMEOUT
            + LOG_FLUSH_TIMEOUT;
        let patience = seconds("TimeoutStopSec");
        assert!(patience > drain, "killed after {patience:?}, done after {drain:?}");
    }

    #[test]
    fn systemd_grants_more_connections_than_are_served() {
        let granted: usize = values("LimitNOFILE").next().unwrap().parse().unwrap();
        assert!(granted >= CONNECTIONS_MAX + RESERVED_FDS, "{granted} open files");
    }

    /// The options that the unit's environment sets. Fails on a variable that no flag reads.
    fn options_of_the_unit() -> Options {
        let command = cli::command(Defaults::default());
        let mut arguments = vec!["hello-birthday".to_owned()];
        for (variable, value) in values("Environment").map(|line| line.split_once('=').unwrap()) {
            let flag = command
                .get_arguments()
                .find(|flag| flag.get_env() == Some(OsStr::new(variable)))
                .unwrap_or_else(|| panic!("no flag reads {variable}"));
            arguments.push(format!("--{}={value}", flag.get_long().unwrap()));
        }
        let matches = command.try_get_matches_from(arguments).unwrap();
        Cli::from_arg_matches(&matches).unwrap().options
    }

    fn seconds(key: &str) -> Duration {
        let value = values(key).next().unwrap();
        let number = value.strip_suffix('s').unwrap_or_else(|| panic!("{key}={value}: no unit"));
        Duration::from_secs(number.parse().unwrap())
    }

    fn values(key: &str) -> impl Iterator<Item = &'static str> {
        UNIT.lines().filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
    }
}
