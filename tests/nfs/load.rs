//! Keeps services busy, and remembers what was acknowledged.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::{Answer, Client, wait_until};
use crate::writers::{WRITERS, Written, next_save};

/// How long a writer that was refused waits before it tries again.
const PAUSE: Duration = Duration::from_millis(50);

/// Writers that save and find users, each its own and one at a time.
pub struct Load {
    state: Arc<Mutex<State>>,
    writers: Vec<JoinHandle<Written>>,
}

struct State {
    /// Each writer sends its requests to one of them.
    servers: Vec<SocketAddr>,
    stop: bool,
    seen: Seen,
}

/// What writers saw.
#[derive(Clone, Default)]
pub struct Seen {
    pub saved: usize,
    /// Requests answered with 503.
    pub refused: usize,
    /// Requests without an answer.
    pub lost: usize,
    /// Requests of each writer that were answered.
    pub answered: [usize; WRITERS],
    /// The longest that an answer took.
    pub slowest: Duration,
}

impl Load {
    /// Starts writers that share `servers`. Loads that run at once differ in `number`,
    /// and those with the same number in `round`.
    pub fn start(servers: &[SocketAddr], number: usize, round: usize) -> Load {
        let state = State { servers: servers.into(), stop: false, seen: Seen::default() };
        let state = Arc::new(Mutex::new(state));
        let writers = (0..WRITERS)
            .map(|writer| {
                let state = state.clone();
                thread::spawn(move || write(&state, writer, number, round))
            })
            .collect();
        Load { state, writers }
    }

    /// What the writers have seen so far.
    pub fn seen(&self) -> Seen {
        self.state.lock().unwrap().seen.clone()
    }

    /// Waits until a writer saved something that it began to save after now.
    pub fn wait_for_save(&self) {
        // What was sent before may be under way once for each writer.
        self.wait_for_saves(WRITERS + 1);
    }

    /// Waits until that many more saves are acknowledged.
    pub fn wait_for_saves(&self, saves: usize) {
        let enough = self.seen().saved + saves;
        wait_until("saves", || (self.seen().saved >= enough).then_some(()));
    }

    /// Moves the writers to other servers, and waits until what they sent before is
    /// answered.
    pub fn move_to(&self, servers: &[SocketAddr]) {
        self.state.lock().unwrap().servers = servers.into();
        let before = self.seen().answered;
        wait_until("every writer has moved", || {
            let now = self.seen().answered;
            now.iter().zip(&before).all(|(now, before)| now > before).then_some(())
        });
    }

    /// Stops the writers, and tells what they wrote and saw.
    pub fn finish(self) -> (Written, Seen) {
        self.state.lock().unwrap().stop = true;
        let mut written = Written::default();
        for writer in self.writers {
            written.add(writer.join().unwrap());
        }
        (written, self.state.lock().unwrap().seen.clone())
    }
}

impl State {
    /// Where a writer sends its next request, unless it is to stop.
    fn server(&self, writer: usize) -> Option<SocketAddr> {
        (!self.stop).then(|| self.servers[writer % self.servers.len()])
    }
}

impl Seen {
    /// Notes an answer, which must be success, or that it may be tried again.
    fn note(&mut self, writer: usize, answer: &Answer, took: Duration) {
        match answer.status {
            204 => self.saved += 1,
            // Not found is what was not saved.
            200 | 404 => {}
            503 if answer.header("retry-after").is_some() => self.refused += 1,
            _ => panic!("{answer:?}"),
        }
        self.answered[writer] += 1;
        self.slowest = self.slowest.max(took);
    }
}

/// Saves and finds until told to stop, or until the service is gone.
fn write(state: &Mutex<State>, writer: usize, load: usize, round: usize) -> Written {
    let mut written = Written::default();
    let mut clients = HashMap::new();
    for number in 0.. {
        let (username, born) = next_save(load * WRITERS + writer, round * 1_000_003 + number);
        for method in ["PUT", "GET"] {
            let Some(server) = state.lock().unwrap().server(writer) else {
                return written;
            };
            let client = clients.entry(server).or_insert_with(|| Client::new(server));
            let sent = Instant::now();
            let answer = match method {
                "PUT" => written.save(client, &username, &born),
                _ => client.send("GET", &format!("/hello/{username}"), ""),
            };
            let took = sent.elapsed();
            let Ok(answer) = answer else {
                state.lock().unwrap().seen.lost += 1;
                return written;
            };
            state.lock().unwrap().seen.note(writer, &answer, took);
            if answer.status == 503 {
                thread::sleep(PAUSE);
            }
        }
    }
    unreachable!("it is stopped first")
}
