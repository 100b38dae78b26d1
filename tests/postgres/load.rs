//! Clients that always have a request in flight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crate::harness::{Client, Service, wait_until};

const CLIENTS: usize = 16;

/// Clients that keep their connections, each with a user of its own that it saves
/// and finds in turn.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<u64>>,
}

impl Load {
    /// Starts the clients, whose users are saved first. Every request must be
    /// answered: with success, or with 503 and `Retry-After`.
    pub fn start(service: &Service) -> Load {
        save_users(service);
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let address = service.address;
        let clients = (0..CLIENTS).map(|number| {
            let (stop, answered) = (stop.clone(), answered.clone());
            thread::spawn(move || send_requests(address, number, &stop, &answered))
        });
        let clients = clients.collect();
        Load { stop, answered, clients }
    }

    /// Waits until this many more requests are answered.
    pub fn wait_for(&self, requests: u64) {
        let enough = self.answered.load(Ordering::Relaxed) + requests;
        wait_until("requests are answered", || {
            (self.answered.load(Ordering::Relaxed) >= enough).then_some(())
        });
    }

    /// Stops the clients, and returns how many requests were answered with 503.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().unwrap()).sum()
    }
}

/// Saves the users of all clients.
pub fn save_users(service: &Service) {
    for client in 0..CLIENTS {
        service.save(&username(client), "1990-05-20");
    }
}

fn username(client: usize) -> String {
    format!("Busy{}", char::from(b'a' + u8::try_from(client).unwrap()))
}

fn send_requests(
    server: SocketAddr,
    number: usize,
    stop: &AtomicBool,
    answered: &AtomicU64,
) -> u64 {
    let mut client = Client::new(server);
    let path = format!("/hello/{}", username(number));
    let mut refused = 0;
    for year in (1950..2020).cycle() {
        let body = format!(r#"{{"dateOfBirth":"{year}-05-20"}}"#);
        for (method, body, success) in [("PUT", &*body, 204), ("GET", "", 200)] {
            if stop.load(Ordering::Relaxed) {
                return refused;
            }
            let answer = client.send(method, &path, body).expect("every request is answered");
            if answer.status == 503 {
                assert!(answer.header("retry-after").is_some(), "a 503 without Retry-After");
                refused += 1;
            } else {
                assert_eq!(answer.status, success, "{method}");
            }
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
    unreachable!("the years go round")
}
