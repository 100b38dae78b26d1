//! The life of the process, from its flags to its exit.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::cli::Options;
use crate::clock::Clock;
use crate::http::admin::Admin;
use crate::http::handlers::Api;
use crate::http::server::{self, ADMIN_CONNECTIONS_MAX, CONNECTIONS_MAX, ServerLimits};
use crate::http::telemetry::RequestMetrics;
use crate::metrics::Metrics;
use crate::shutdown::{Lifecycle, Signals};
use crate::store::{Migrate, Store, StoreOptions, UrlSource};
use crate::systemd::{self, Sockets};

/// File descriptors that public connections leave alone: for the admin listener's
/// connections, and for the database, which opens its journal again and again.
const FILES_KEPT: usize = ADMIN_CONNECTIONS_MAX + 64;

/// How long the database may take to carry out what waits and to close. Longer
/// than the lock of another process is waited for.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// Event loops on half of the processors; the database's threads and the kernel
/// need the others. More loops would mostly wake each other: on two processors
/// one loop answers as many requests as two, for less.
pub fn event_loops() -> std::io::Result<Runtime> {
    let processors = available_parallelism().map_or(1, NonZeroUsize::get);
    let loops = processors.div_ceil(2);
    Builder::new_multi_thread().worker_threads(loops).enable_all().build()
}

/// Serves until a signal, then drains. Returns once all that was acknowledged is
/// on disk and the database is closed.
pub async fn run(
    options: Options,
    database: UrlSource,
    store_options: StoreOptions,
) -> anyhow::Result<()> {
    let files = raise_file_limit();
    let metrics = Arc::new(Metrics::new());
    let store = Store::open(&database, store_options, &metrics).await;
    let store = Arc::new(store.context("cannot open the store")?);
    if options.migrate == Migrate::Only {
        store.close().await;
        tracing::info!(database = store.database(), "the database has this release's schema");
        return Ok(());
    }
    let lifecycle = Arc::new(Lifecycle::default());
    store.ping().await.context("the store does not answer")?;
    lifecycle.store_has_answered();

    let mut sockets = Sockets::from_environment();
    let public = sockets.next_or_bind(options.listen).await?;
    let admin = sockets.next_or_bind(options.admin_listen).await?;
    let mut signals = Signals::catch().context("cannot catch signals")?;
    let status = format!(
        "serving on {}, admin on {}",
        public.socket.local_addr()?,
        admin.socket.local_addr()?
    );
    log_start(&options, &store, &status);

    let api = Api {
        store: store.clone(),
        clock: Clock::new(options.time_zone, options.today),
        leap_day: options.leap_day_birthday,
        lifecycle: lifecycle.clone(),
        metrics: RequestMetrics::new(metrics.clone(), options.access_log),
    };
    let (stop, stopped) = oneshot::channel();
    let mut public = tokio::spawn(server::serve(
        public,
        api,
        metrics.listener("public"),
        ServerLimits {
            connections_max: files.saturating_sub(FILES_KEPT).clamp(1, CONNECTIONS_MAX),
            drain_timeout: options.drain_timeout,
        },
        async { drop(stopped.await) },
    ));
    let mut admin = tokio::spawn(server::serve(
        admin,
        Admin { lifecycle: lifecycle.clone(), metrics: metrics.clone() },
        metrics.listener("admin"),
        ServerLimits { connections_max: ADMIN_CONNECTIONS_MAX, drain_timeout: Duration::ZERO },
        // Probes are answered to the end, so nothing stops this one.
        std::future::pending(),
    ));
    tokio::spawn(systemd::feed_watchdog());
    systemd::ready(&status);

    tokio::select! {
        _ = signals.next() => {}
        ended = &mut public => bail!("the public server ended by itself: {ended:?}"),
        ended = &mut admin => bail!("the admin server ended by itself: {ended:?}"),
    }
    exit_at_next(signals);
    lifecycle.stop();
    drain(options.drain_delay, stop, public, &store).await
}

/// The end, in order: balancers are told, given time to notice, requests under
/// way are finished, and what they saved is on disk.
async fn drain(
    delay: Duration,
    stop: oneshot::Sender<()>,
    public: JoinHandle<usize>,
    store: &Store,
) -> anyhow::Result<()> {
    systemd::stopping("draining");
    tracing::info!(delay_ms = delay.as_millis(), "stopping: probes say so");
    sleep(delay).await;

    tracing::info!("finishing the requests under way");
    drop(stop);
    let open = public.await.context("the server died")?;
    if open > 0 {
        tracing::warn!(connections = open, "the drain timeout passed: cutting off connections");
    }

    let closed = timeout(CLOSE_MAX, store.close()).await;
    closed.context("the database did not close in time: all that was acknowledged is on disk")?;
    tracing::info!("stopped");
    Ok(())
}

fn log_start(options: &Options, store: &Store, status: &str) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        database = store.database(),
        journal = store.journal(),
        time_zone = options.time_zone.iana_name().unwrap_or("unknown"),
        "{status}"
    );
    if options.today.is_some() {
        tracing::warn!("today's date is fixed by --today: for tests only");
    }
}

/// Every connection takes a file descriptor, and shells allow few by default.
/// Returns how many there may be now.
fn raise_file_limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
    let allowed = getrlimit(Resource::Nofile).current;
    // None means no limit.
    allowed.and_then(|allowed| usize::try_from(allowed).ok()).unwrap_or(usize::MAX)
}

/// Whoever signals again does not want to wait.
fn exit_at_next(mut signals: Signals) {
    tokio::spawn(async move {
        let signal = signals.next().await;
        // As a shell reports a process that the signal ended.
        std::process::exit(128 + signal.as_raw_value());
    });
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use clap::FromArgMatches;

    use super::*;
    use crate::cli::{self, Cli};

    const UNIT: &str = include_str!("../systemd/hello-birthday.service");

    #[test]
    fn systemd_waits_for_the_whole_drain() {
        let options = options_of_the_unit();
        let drain = options.drain_delay + options.drain_timeout + CLOSE_MAX;
        let patience = seconds("TimeoutStopSec");
        assert!(patience > drain, "killed after {patience:?}, done after {drain:?}");
    }

    #[test]
    fn systemd_grants_more_connections_than_are_served() {
        let granted: usize = values("LimitNOFILE").next().unwrap().parse().unwrap();
        assert!(granted >= CONNECTIONS_MAX + FILES_KEPT, "{granted} open files");
    }

    /// What the unit's environment makes of the flags; a variable that is none of
    /// ours is found by its name.
    fn options_of_the_unit() -> Options {
        let command = cli::command(None);
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
