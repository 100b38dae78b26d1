//! Keeps a service busy, and remembers what was acknowledged and when.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::{Client, wait_until};
use crate::writers::{WRITERS, Written, next_save};

/// How long a writer that was refused waits before it tries again.
const PAUSE: Duration = Duration::from_millis(50);

/// Writers that save and find users, each its own and one at a time.
pub struct Load {
    stop: Arc<AtomicBool>,
    /// Acknowledged so far.
    saves: Arc<AtomicU64>,
    writers: Vec<JoinHandle<Seen>>,
}

/// What writers saw.
#[derive(Default)]
pub struct Seen {
    pub written: Written,
    pub answers: Vec<Answered>,
    /// Requests without an answer.
    pub lost: usize,
}

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    pub method: &'static str,
    pub sent: Instant,
    pub at: Instant,
    pub status: u16,
}

impl Load {
    /// Starts the writers of one of several services, which is at `server`.
    pub fn start(server: SocketAddr, service: usize, round: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let saves = Arc::new(AtomicU64::new(0));
        let writers = (0..WRITERS)
            .map(|writer| {
                let (stop, saves) = (stop.clone(), saves.clone());
                let writer = service * WRITERS + writer;
                thread::spawn(move || write(server, writer, round, &stop, &saves))
            })
            .collect();
        Load { stop, saves, writers }
    }

    /// Waits until a writer saved something that it began to save after now.
    pub fn wait_for_save(&self) {
        // What was sent before may be under way once for each writer.
        let enough = self.saves.load(Ordering::Relaxed) + WRITERS as u64 + 1;
        wait_until("a save", || (self.saves.load(Ordering::Relaxed) >= enough).then_some(()));
    }

    /// Stops the writers, and tells what they saw.
    pub fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for writer in self.writers {
            let Seen { written, answers, lost } = writer.join().unwrap();
            all.written.add(written);
            all.lost += lost;
            all.answers.extend(answers);
        }
        all.answers.sort_by_key(|answered| answered.at);
        all
    }
}

impl Seen {
    /// The longest that a request took.
    pub fn slowest(&self) -> Duration {
        self.answers.iter().map(|it| it.at - it.sent).max().unwrap_or_default()
    }

    /// The first success after `moment`, of a request that was sent after it.
    pub fn success_after(&self, method: &str, moment: Instant) -> Option<Duration> {
        let mut later = self.answers.iter().filter(|it| it.method == method && it.sent >= moment);
        later.find(|it| it.status < 300).map(|it| it.at - moment)
    }

    /// Requests answered with 503.
    pub fn refused(&self) -> usize {
        self.answers.iter().filter(|it| it.status == 503).count()
    }
}

/// Saves and finds until told to stop, or until the service is gone. Whatever is
/// answered must be success, or that it may be tried again.
fn write(
    server: SocketAddr,
    writer: usize,
    round: usize,
    stop: &AtomicBool,
    saves: &AtomicU64,
) -> Seen {
    let mut client = Client::new(server);
    let mut seen = Seen::default();
    for number in 0.. {
        let (username, born) = next_save(writer, round * 1_000_003 + number);
        for method in ["PUT", "GET"] {
            if stop.load(Ordering::Relaxed) {
                return seen;
            }
            let sent = Instant::now();
            let answer = match method {
                "PUT" => seen.written.save(&mut client, &username, &born),
                _ => client.send("GET", &format!("/hello/{username}"), ""),
            };
            let Ok(answer) = answer else {
                seen.lost += 1;
                return seen;
            };
            let status = answer.status;
            seen.answers.push(Answered { method, sent, at: Instant::now(), status });
            if status == 204 {
                saves.fetch_add(1, Ordering::Relaxed);
            }
            if status == 503 {
                assert!(answer.header("retry-after").is_some(), "no Retry-After");
                thread::sleep(PAUSE);
            } else {
                assert!([200, 204, 404].contains(&status), "{status}");
            }
        }
    }
    unreachable!("it is stopped first")
}
