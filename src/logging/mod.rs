//! Logs, for people on a terminal and for machines elsewhere.

mod writer;

use std::any::Any;
use std::ffi::OsString;
use std::fs;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use prometheus::IntCounter;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::reporting;
use writer::LogWriter;

/// The target of the access log's lines.
pub const ACCESS_LOG_TARGET: &str = "access";

/// How long the end of the process waits for stderr to take the last lines: longer than a
/// busy machine keeps the thread that writes them from running.
pub const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// As global as stderr and the subscriber are.
static WRITER: OnceLock<LogWriter> = OnceLock::new();

static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Human-readable lines.
    Text,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogLevel {
    /// Errors.
    Error,
    /// Warnings.
    Warn,
    /// Start, stop and other events.
    #[default]
    Info,
    /// Debugging details.
    Debug,
}

impl LogLevel {
    fn filter(self) -> Targets {
        let level = match self {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
        };
        // The access log has a flag of its own, so no level hides it.
        Targets::new().with_default(level).with_target(ACCESS_LOG_TARGET, LevelFilter::INFO)
    }
}

/// Reads the level that `file` names.
pub fn read_level(file: &Path) -> Result<LogLevel, String> {
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| format!("cannot read {shown}: {error}"))?;
    LogLevel::from_str(text.trim(), true)
        .map_err(|_| format!("{shown} names no log level: write error, warn, info or debug"))
}

/// Logs from `level` on from now on.
pub fn set_level(level: LogLevel) {
    if let Some(filter) = FILTER.get() {
        // Fails only where the subscriber is gone.
        let _ = filter.reload(level.filter());
    }
}

/// Sends logs to stderr from now on, panics among them, which are reported too. A line never waits
/// for stderr: those that it is too slow for are counted in `dropped`.
pub fn start(format: LogFormat, level: LogLevel, dropped: IntCounter) -> anyhow::Result<()> {
    let has_priority = is_journal(&std::io::stderr(), std::env::var_os("JOURNAL_STREAM"));
    let writer = LogWriter::start(std::io::stderr(), has_priority, dropped);
    let writer = writer.context("cannot start a thread")?;
    let writer = WRITER.get_or_init(|| writer).clone();
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        // Reporting a failed write to the same stderr would panic.
        .log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(terminal).boxed(),
        LogFormat::Auto if terminal => lines.boxed(),
        LogFormat::Auto | LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let (filter, handle) = reload::Layer::new(level.filter());
    FILTER.get_or_init(|| handle);
    tracing_subscriber::registry().with(filter).with(lines).init();
    std::panic::set_hook(Box::new(log_and_report));
    Ok(())
}

/// The panic hook.
pub(crate) fn log_and_report(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = literal(panic.payload());
    tracing::error!(place, panic_message = message, "panic");
    if let Some(place) = panic.location() {
        reporting::report_panic(place, message);
    }
}

/// Whether `output` goes to systemd's journal, which names its device and inode in
/// `JOURNAL_STREAM` (systemd.exec(5)). It reads a priority in front of each line
/// (sd-daemon(3)).
fn is_journal(output: &impl AsFd, stream: Option<OsString>) -> bool {
    let Some(stream) = stream.and_then(|stream| stream.into_string().ok()) else { return false };
    rustix::fs::fstat(output).is_ok_and(|file| format!("{}:{}", file.st_dev, file.st_ino) == stream)
}

/// A panic's message where it is a literal. One that was formatted may quote a request.
fn literal(payload: &dyn Any) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
}

/// Prints a sentence for the user to stderr, after what was logged.
pub fn print(sentence: &str) {
    let line = format!("hello-birthday: {sentence}\n");
    match WRITER.get() {
        Some(writer) => writer.push(Level::ERROR, line.as_bytes()),
        // If stderr is closed, the sentence cannot be shown.
        None => drop(std::io::stderr().write_all(line.as_bytes())),
    }
}

/// Waits until stderr has taken all lines, at most for `timeout`. What ends the process must
/// call this.
pub fn flush(timeout: Duration) {
    if let Some(writer) = WRITER.get() {
        writer.flush(timeout);
    }
}

/// Flushes when it is dropped, so after a panic too.
pub struct Flush;

impl Drop for Flush {
    fn drop(&mut self) {
        flush(LOG_FLUSH_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn only_literal_panic_messages_are_logged() {
        let username = String::from("Rumpelstiltskin");
        let literal_one = catch_unwind(|| panic!("the queue is locked")).unwrap_err();
        assert_eq!(literal(&*literal_one), Some("the queue is locked"));
        let formatted = catch_unwind(|| panic!("no such user: {username}")).unwrap_err();
        assert_eq!(literal(&*formatted), None);
        let parsed = username.parse::<u32>();
        let expected = catch_unwind(|| parsed.expect("a number")).unwrap_err();
        assert_eq!(literal(&*expected), None);
    }
}
