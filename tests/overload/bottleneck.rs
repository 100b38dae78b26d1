//! What makes a service slow: a database that others hold, a processor that others
//! use. Both let go as long as the test runs, or has failed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

/// Goes on until it is dropped.
pub struct Bottleneck {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bottleneck {
    /// Another process that has the file to itself for `held` after every commit of
    /// others, or where nobody commits, every now and then.
    pub fn of_the_database(file: &Path, held: Duration) -> Bottleneck {
        let connection = Connection::open(file).unwrap();
        connection.busy_timeout(Duration::from_secs(30)).unwrap();
        // Another number after each commit of others.
        let version = move |connection: &Connection| {
            connection.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0)).unwrap()
        };
        Bottleneck::start(move || {
            let before = version(&connection);
            let free_until = Instant::now() + held;
            while version(&connection) == before && Instant::now() < free_until {
                sleep(Duration::from_millis(1));
            }
            connection.execute_batch("begin exclusive").unwrap();
            sleep(held);
            connection.execute_batch("rollback").unwrap();
        })
    }

    /// A processor of which the process gets `free` after every `held`, as one
    /// with a quota does.
    pub fn of_the_processor(process: Pid, held: Duration, free: Duration) -> Bottleneck {
        Bottleneck::start(move || {
            kill_process(process, Signal::STOP).unwrap();
            sleep(held);
            kill_process(process, Signal::CONT).unwrap();
            sleep(free);
        })
    }

    /// Does `hold` again and again, which must leave everything free at its end.
    fn start(hold: impl Fn() + Send + 'static) -> Bottleneck {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                hold();
            }
        });
        Bottleneck { stop, thread: Some(thread) }
    }
}

impl Drop for Bottleneck {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("it is dropped once").join();
        assert!(ended.is_ok() || thread::panicking(), "the bottleneck broke");
    }
}
