//! Busy clients, and what they were answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::{Client, Service, wait_until};

/// Connections that are kept, and send the next request when they have the answer
/// to the last: a PUT and a GET of their own users by turns.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Answers>>,
}

/// What clients were answered. A request without an answer fails the test.
#[derive(Debug, Default)]
pub struct Answers {
    pub by_status: BTreeMap<u16, u64>,
    pub slowest: Duration,
}

impl Load {
    /// Starts `connections` clients of `service`.
    pub fn start(service: &Service, connections: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let address = service.address;
        let clients = (0..connections).map(|number| {
            let (stop, answered) = (stop.clone(), answered.clone());
            thread::spawn(move || keep_busy(address, number, &stop, &answered))
        });
        let clients = clients.collect();
        Load { stop, answered, clients }
    }

    /// Waits until this many more requests were answered.
    pub fn wait_for(&self, requests: u64) {
        let enough = self.answered.load(Ordering::Relaxed) + requests;
        wait_until("requests are answered", || {
            (self.answered.load(Ordering::Relaxed) >= enough).then_some(())
        });
    }

    /// Lets the clients finish, and gives what they were answered.
    pub fn stop(self) -> Answers {
        self.stop.store(true, Ordering::Relaxed);
        let answers = self.clients.into_iter().map(|client| client.join().unwrap());
        answers.fold(Answers::default(), Answers::and)
    }
}

impl Answers {
    /// Expects that every request was served.
    #[track_caller]
    pub fn expect_all_served(self) -> Answers {
        assert!(self.by_status.keys().all(|status| [200, 204].contains(status)), "{self:?}");
        self
    }

    fn and(mut self, other: Answers) -> Answers {
        for (status, count) in other.by_status {
            *self.by_status.entry(status).or_default() += count;
        }
        self.slowest = self.slowest.max(other.slowest);
        self
    }
}

fn keep_busy(
    server: SocketAddr,
    number: usize,
    stop: &AtomicBool,
    answered: &AtomicU64,
) -> Answers {
    let mut client = Client::new(server);
    let letter = |number: usize| char::from(b'a' + u8::try_from(number % 26).unwrap());
    let path = format!("/hello/Busy{}{}", letter(number / 26), letter(number));
    let mut answers = Answers::default();
    let mut born = (1950..2020).cycle();
    while !stop.load(Ordering::Relaxed) {
        let year = born.next().expect("years go round");
        let body = format!(r#"{{"dateOfBirth":"{year}-05-20"}}"#);
        for (method, body) in [("PUT", &*body), ("GET", "")] {
            let began = Instant::now();
            let answer = client.send(method, &path, body).expect("every request is answered");
            answers.slowest = answers.slowest.max(began.elapsed());
            assert!(
                answer.status != 503 || answer.header("retry-after").is_some(),
                "a 503 without Retry-After"
            );
            *answers.by_status.entry(answer.status).or_default() += 1;
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
    answers
}
