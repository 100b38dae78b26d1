//! Writes log lines to stderr from a thread of its own: where stderr is a pipe that is not
//! read, or a journal whose disk stalls, only that thread waits. Lines beyond a bound are
//! dropped and counted.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that wait for stderr: about 5,000 lines, more than a short stall leaves
/// waiting. As many again may be on their way to it.
const QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// Queues lines without ever waiting for the output.
#[derive(Clone)]
pub(super) struct LogWriter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Notified when an idle thread has lines to write.
    filled: Condvar,
    /// Notified when all lines are written.
    drained: Condvar,
    dropped: IntCounter,
    /// Whether each line starts with its priority.
    has_priority: bool,
}

#[derive(Default)]
struct Queue {
    lines: Lines,
    /// Whether the thread waits for lines, so has written all it took.
    is_idle: bool,
}

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    count: u64,
}

impl LogWriter {
    /// Starts the thread that writes to `output`, each line with its priority in front if
    /// `has_priority`. Lines that do not reach it are counted in `dropped`.
    pub fn start(
        output: impl Write + Send + 'static,
        has_priority: bool,
        dropped: IntCounter,
    ) -> io::Result<LogWriter> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
            dropped,
            has_priority,
        });
        let writer = LogWriter(shared.clone());
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.run(output))?;
        Ok(writer)
    }

    /// Queues a whole line.
    pub fn push(&self, level: Level, line: &[u8]) {
        let priority = if self.0.has_priority { priority(level) } else { "" };
        let mut queue = self.0.lock();
        if queue.lines.bytes.len() + priority.len() + line.len() > QUEUE_BYTES_MAX {
            self.0.dropped.inc();
            return;
        }
        queue.lines.bytes.extend_from_slice(priority.as_bytes());
        queue.lines.bytes.extend_from_slice(line);
        queue.lines.count += 1;
        if queue.is_idle {
            self.0.filled.notify_one();
        }
    }

    /// Waits until all lines are written. Returns whether they were within `timeout`.
    pub fn flush(&self, timeout: Duration) -> bool {
        let is_pending = |queue: &mut Queue| queue.lines.count > 0 || !queue.is_idle;
        let waited = self.0.drained.wait_timeout_while(self.0.lock(), timeout, is_pending);
        let (_queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }
}

impl Shared {
    fn run(&self, mut output: impl Write) {
        let mut lines = Lines::default();
        loop {
            lines = self.next_lines(lines);
            if output.write_all(&lines.bytes).is_err() {
                // Some may have been written; how many is not known.
                self.dropped.inc_by(lines.count);
            }
        }
    }

    /// Waits for lines and takes them all. `written` is the buffer of the last ones, to be
    /// filled again.
    fn next_lines(&self, mut written: Lines) -> Lines {
        written.bytes.clear();
        written.count = 0;
        let mut queue = self.lock();
        if queue.lines.count == 0 {
            queue.is_idle = true;
            self.drained.notify_all();
            let filled = self.filled.wait_while(queue, |queue| queue.lines.count == 0);
            queue = filled.unwrap_or_else(PoisonError::into_inner);
            queue.is_idle = false;
        }
        std::mem::replace(&mut queue.lines, written)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The priority as sd-daemon(3) writes it.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { writer: self, level: Level::INFO }
    }

    fn make_writer_for(&'a self, line: &Metadata<'_>) -> LineWriter<'a> {
        LineWriter { writer: self, level: *line.level() }
    }
}

/// Takes one line.
pub(super) struct LineWriter<'a> {
    writer: &'a LogWriter,
    level: Level,
}

impl Write for LineWriter<'_> {
    /// Takes a whole line, as the formatter writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.writer.push(self.level, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    /// Longer than any machine needs.
    const PATIENCE: Duration = Duration::from_secs(120);

    /// An output that accepts nothing until a signal, and passes on what it accepts.
    struct Gate {
        open: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // It stays open once the sender is gone.
            let _ = self.open.recv();
            self.written.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start() -> (LogWriter, IntCounter, Sender<()>, Receiver<Vec<u8>>) {
        let dropped = IntCounter::new("dropped", "Lines.").unwrap();
        let (opener, open) = mpsc::channel();
        let (written, output) = mpsc::channel();
        let writer = LogWriter::start(Gate { open, written }, false, dropped.clone()).unwrap();
        (writer, dropped, opener, output)
    }

    #[test]
    fn lines_beyond_the_bound_are_dropped_and_counted_and_the_others_are_written_in_order() {
        let (writer, dropped, opener, output) = start();
        assert!(writer.flush(PATIENCE), "there is nothing to write");
        let line = |number: usize| format!("{number:1023}\n");
        // What the thread takes before it blocks, then a queue twice over.
        let lines = 3 * QUEUE_BYTES_MAX / 1024;
        (0..lines).for_each(|number| writer.push(Level::INFO, line(number).as_bytes()));
        assert!(!writer.flush(Duration::ZERO), "the output took a line");
        let lost = usize::try_from(dropped.get()).unwrap();
        assert!((QUEUE_BYTES_MAX / 1024..lines).contains(&lost), "{lost} of {lines} lines dropped");

        drop(opener);
        assert!(writer.flush(PATIENCE), "the output takes lines again");
        let written = String::from_utf8(output.try_iter().flatten().collect()).unwrap();
        let numbers: Vec<usize> =
            written.lines().map(|line| line.trim().parse().unwrap()).collect();
        assert_eq!(numbers.len(), lines - lost);
        assert!(numbers.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn lines_that_the_output_refuses_are_counted() {
        let (writer, dropped, opener, output) = start();
        drop((opener, output));
        writer.push(Level::INFO, b"one\n");
        assert!(writer.flush(PATIENCE));
        assert_eq!(dropped.get(), 1);
    }
}
