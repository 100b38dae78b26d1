//! Reports panics and failures of the store to an error tracker that speaks Sentry's protocol.
//!
//! A report has a fixed list of fields, and their values are texts of this program and the place in
//! it: never the message of a panic that was formatted, an error's text, or a field of a log line,
//! which may hold a name or a date. It is small, unlike the tracker's own client, which also would
//! send all of these. Reporting holds nothing up: reports beyond a short queue are dropped, as are
//! those that the tracker does not accept.

mod dsn;
mod envelope;
mod transport;

use std::collections::HashMap;
use std::panic::Location;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use self::envelope::envelope;
use self::transport::Transport;
use crate::clock;
use crate::metrics::ReportMetrics;

pub use self::dsn::{Dsn, DsnError};

/// Reports that may wait to be sent. There is one of a kind a minute, and there are few kinds.
const QUEUE_MAX: usize = 32;

/// How often a failure of one kind at one place is reported: a repeated failure should not
/// use up the tracker's quota.
const REPEAT_EVERY: Duration = Duration::from_secs(60);

/// Kinds and places that are remembered; there are far fewer.
const KINDS_MAX: usize = 1000;

/// How long the end of the process waits for reports to be sent. Less than the stop may take
/// altogether, and long enough for an exchange with a tracker that works.
pub const REPORT_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// As global as panics are. Absent unless there is a DSN.
static REPORTER: OnceLock<Reporter> = OnceLock::new();

/// Where reports go, and the environment that they name.
pub struct Settings {
    pub dsn: Dsn,
    /// As in `production`.
    pub environment: String,
}

/// A failure to report.
#[derive(Debug, Clone)]
struct Failure {
    /// The title of failures of this kind in the tracker.
    kind: &'static str,
    message: &'static str,
    file: String,
    line: u32,
    /// `read`, `write`, `ping` or `rates`.
    store_kind: Option<&'static str>,
    store_cause: Option<&'static str>,
    unix_seconds: f64,
}

impl Failure {
    fn new(kind: &'static str, message: &'static str, place: &Location<'_>) -> Failure {
        Failure {
            kind,
            message,
            file: without_registry(place.file()).to_owned(),
            line: place.line(),
            store_kind: None,
            store_cause: None,
            unix_seconds: clock::unix_seconds(),
        }
    }

    fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// Leaves out where the machine that built the program keeps the sources of crates.
fn without_registry(file: &str) -> &str {
    let below = file.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/'));
    below.map_or(file, |(_, path)| path)
}

/// Reports from now on, with a task of the Tokio runtime that this is called in.
pub fn start(settings: Settings, metrics: ReportMetrics) -> anyhow::Result<()> {
    let transport = Transport::new(settings.dsn)?;
    let (queue, reports) = mpsc::channel(QUEUE_MAX);
    let sender = Sender {
        transport,
        environment: settings.environment,
        metrics: metrics.clone(),
        resume_at: Instant::now(),
        is_failing: false,
    };
    tokio::spawn(sender.run(reports));
    REPORTER.get_or_init(|| Reporter { queue, metrics, reported: Mutex::default() });
    Ok(())
}

/// Reports a panic; `message` is a literal.
pub fn report_panic(place: &Location<'_>, message: Option<&'static str>) {
    report(|| Failure::new("panic", message.unwrap_or("panic"), place));
}

/// Reports that batches of `store_kind` fail, and what kind of error it is, as far as that is known.
#[track_caller]
pub fn report_store_failure(
    message: &'static str,
    store_kind: Option<&'static str>,
    store_cause: Option<&'static str>,
) {
    let place = Location::caller();
    report(|| Failure { store_kind, store_cause, ..Failure::new("store failure", message, place) });
}

/// Reports that the service could not start or ended by itself, and the store's error if it has
/// one.
#[track_caller]
pub fn report_end(store_cause: Option<&'static str>) {
    let place = Location::caller();
    let message = "the service ended with an error";
    report(|| Failure { store_cause, ..Failure::new("service failure", message, place) });
}

fn report(failure: impl FnOnce() -> Failure) {
    if let Some(reporter) = REPORTER.get() {
        reporter.enqueue(failure());
    }
}

/// Waits until what was reported before is sent, at most for [`REPORT_FLUSH_TIMEOUT`].
pub async fn flush() {
    if let Some(reporter) = REPORTER.get() {
        // What is not sent by then is lost.
        let _ = timeout(REPORT_FLUSH_TIMEOUT, reporter.flush()).await;
    }
}

struct Reporter {
    queue: mpsc::Sender<Message>,
    metrics: ReportMetrics,
    /// When each kind of failure was reported last.
    reported: Mutex<HashMap<String, Instant>>,
}

enum Message {
    Report(Box<Failure>),
    /// Answered by being dropped.
    Flush(oneshot::Sender<()>),
}

impl Reporter {
    /// Never waits.
    fn enqueue(&self, failure: Failure) {
        if !self.is_due(&failure) {
            self.metrics.suppressed.inc();
        } else if self.queue.try_send(Message::Report(Box::new(failure))).is_err() {
            self.metrics.dropped.inc();
        }
    }

    /// Whether no failure of this kind was reported recently; records this one.
    fn is_due(&self, failure: &Failure) -> bool {
        let key = format!("{} {} {:?}", failure.kind, failure.place(), failure.store_kind);
        let now = Instant::now();
        // Nothing panics while it holds the lock.
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = match reported.get(&key) {
            Some(last) => now.duration_since(*last) >= REPEAT_EVERY,
            None => reported.len() < KINDS_MAX,
        };
        if is_due {
            reported.insert(key, now);
        }
        is_due
    }

    async fn flush(&self) {
        let (flushing, flushed) = oneshot::channel();
        if self.queue.send(Message::Flush(flushing)).await.is_ok() {
            // Fails by design once the other end is dropped.
            let _ = flushed.await;
        }
    }
}

/// The task that sends.
struct Sender {
    transport: Transport,
    environment: String,
    metrics: ReportMetrics,
    /// Until then no reports are sent, as the tracker asked.
    resume_at: Instant,
    /// Whether the last report was not accepted: a change is logged.
    is_failing: bool,
}

impl Sender {
    async fn run(mut self, mut reports: mpsc::Receiver<Message>) {
        while let Some(message) = reports.recv().await {
            match message {
                Message::Report(failure) => self.send(&failure).await,
                Message::Flush(flushing) => drop(flushing),
            }
        }
    }

    async fn send(&mut self, failure: &Failure) {
        if Instant::now() < self.resume_at {
            self.metrics.suppressed.inc();
            return;
        }
        match self.transport.send(envelope(failure, &self.environment)).await {
            Ok(answer) => {
                if let Some(pause) = answer.pause {
                    self.resume_at = Instant::now() + pause;
                }
                let counter = match answer.is_accepted {
                    true => &self.metrics.sent,
                    false => &self.metrics.suppressed,
                };
                counter.inc();
                self.is_failing = false;
            }
            Err(error) => {
                self.metrics.failed.inc();
                if !std::mem::replace(&mut self.is_failing, true) {
                    let error = format_args!("{error:#}");
                    tracing::warn!(%error, "cannot report an error: check the DSN and the network");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::logging::log_and_report;
    use crate::metrics::Metrics;

    fn reporter() -> (Reporter, mpsc::Receiver<Message>) {
        let (queue, reports) = mpsc::channel(QUEUE_MAX);
        let metrics = Metrics::new().reports();
        (Reporter { queue, metrics, reported: Mutex::default() }, reports)
    }

    fn failure(line: u32) -> Failure {
        Failure { line, ..Failure::new("panic", "panic", Location::caller()) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_reported_once_a_minute() {
        let (reporter, mut reports) = reporter();
        let mut queued = || std::iter::from_fn(|| reports.try_recv().ok()).count();
        for _ in 0..3 {
            reporter.enqueue(failure(1));
            reporter.enqueue(failure(2));
        }
        assert_eq!(queued(), 2);
        assert_eq!(reporter.metrics.suppressed.get(), 4);
        tokio::time::advance(REPEAT_EVERY - Duration::from_millis(1)).await;
        reporter.enqueue(failure(1));
        assert_eq!(queued(), 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        reporter.enqueue(failure(1));
        assert_eq!(queued(), 1);
    }

    #[tokio::test]
    async fn reports_beyond_the_queue_are_dropped_and_counted() {
        let (reporter, _reports) = reporter();
        for line in 0..40 {
            reporter.enqueue(failure(line));
        }
        assert_eq!(reporter.metrics.dropped.get(), 40 - QUEUE_MAX as u64);
    }

    #[tokio::test]
    async fn a_panic_is_reported_with_its_place_and_without_what_was_formatted_into_it() {
        let tracker = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dsn = format!("http://key@{}/42", tracker.local_addr().unwrap());
        let settings = Settings { dsn: dsn.parse().unwrap(), environment: "staging".to_owned() };
        start(settings, Metrics::new().reports()).unwrap();
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            log_and_report(panic);
            default(panic);
        }));
        let username = String::from("Rumpelstiltskin");
        let line = line!() + 1;
        assert!(std::panic::catch_unwind(|| panic!("no such user: {username}")).is_err());

        // Other tests panic too.
        let place = format!("\"filename\":\"{}\",\"lineno\":{line}}}", file!());
        loop {
            let (mut stream, _) = tracker.accept().await.unwrap();
            let mut envelope = Vec::new();
            while !envelope.ends_with(b"}\n") {
                assert_ne!(stream.read_buf(&mut envelope).await.unwrap(), 0);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            let envelope = String::from_utf8(envelope).unwrap();
            assert!(!envelope.contains("Rumpel"), "{envelope}");
            if envelope.contains(&place) {
                assert!(envelope.contains("\"type\":\"panic\",\"value\":\"panic\""), "{envelope}");
                break;
            }
        }
    }

    #[test]
    fn a_place_in_a_crate_does_not_name_a_folder_of_the_building_machine() {
        for (file, short) in [
            (
                "/home/ada/.cargo/registry/src/index.crates.io-1/hyper-1.0/src/a.rs",
                "hyper-1.0/src/a.rs",
            ),
            ("src/store/mod.rs", "src/store/mod.rs"),
            ("/rustc/abc/library/core/src/option.rs", "/rustc/abc/library/core/src/option.rs"),
        ] {
            assert_eq!(without_registry(file), short);
        }
    }
}
