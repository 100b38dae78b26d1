//! Clients that always have a request in flight, and what they wait for.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::cluster;
use crate::harness::{Client, Service, wait_until};
use crate::writers::{Written, join, next_save, spawn};

const CLIENTS: usize = 16;

/// How long a writer that was refused waits before it tries again.
const PAUSE: Duration = Duration::from_millis(10);

/// Part of the 5 s that the service gives a request, and no more than it gives the
/// database to answer one.
const MOST_OF_A_REQUESTS_TIME: Duration = Duration::from_secs(3);

/// What writers saw.
pub struct Seen {
    pub written: Written,
    pub answers: Answers,
}

/// How long requests waited for their answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answers {
    /// How many were 503.
    pub refused: u64,
    pub slowest: Duration,
    /// The longest time to a 503.
    slowest_refusal: Duration,
}

impl Answers {
    fn note(&mut self, waited: Duration, status: u16) {
        let refused = status == 503;
        let slowest_refusal = if refused { waited } else { Duration::ZERO };
        self.add(Answers { refused: refused.into(), slowest: waited, slowest_refusal });
    }

    fn add(&mut self, other: Answers) {
        self.refused += other.refused;
        self.slowest = self.slowest.max(other.slowest);
        self.slowest_refusal = self.slowest_refusal.max(other.slowest_refusal);
    }

    /// Fails if requests were refused. On a machine so slow, or so busy, that one waited for
    /// most of its time before it was, that is right; then others need not have waited.
    #[track_caller]
    pub fn expect_none_refused(&self, service: &Service) {
        let right = self.slowest_refusal >= MOST_OF_A_REQUESTS_TIME;
        assert!(self.refused == 0 || right, "{self:?}: {}", service.log());
        if right {
            println!("not shown, the machine is too slow: {self:?}: {}", service.log());
        }
    }
}

/// Clients that keep their connections, each with a user of its own that it saves
/// and finds in turn.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Answers>>,
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

    /// Stops the clients.
    pub fn stop(self) -> Answers {
        self.stop.store(true, Ordering::Relaxed);
        let mut answers = Answers::default();
        self.clients.into_iter().for_each(|client| answers.add(client.join().unwrap()));
        answers
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
) -> Answers {
    let mut client = Client::new(server);
    let path = format!("/hello/{}", username(number));
    let mut answers = Answers::default();
    for year in (1950..2020).cycle() {
        let body = format!(r#"{{"dateOfBirth":"{year}-05-20"}}"#);
        for (method, body, success) in [("PUT", &*body, 204), ("GET", "", 200)] {
            if stop.load(Ordering::Relaxed) {
                return answers;
            }
            let sent = Instant::now();
            let answer = client.send(method, &path, body).expect("every request is answered");
            answers.note(sent.elapsed(), answer.status);
            if answer.status == 503 {
                assert!(answer.header("retry-after").is_some(), "a 503 without Retry-After");
            } else {
                assert_eq!(answer.status, success, "{method}");
            }
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
    unreachable!("the years go round")
}

pub fn wait_until_unhealthy(service: &Service) {
    wait_until("health reports the outage", || {
        (service.get("/health").status == 503).then_some(())
    });
}

/// Waits until the service saves and finds again, and says so.
pub fn wait_until_works(service: &Service) {
    for (method, path, body, success) in [
        ("PUT", "/hello/John", r#"{"dateOfBirth":"1990-05-20"}"#, 204),
        ("GET", "/hello/John", "", 200),
        ("GET", "/health", "", 200),
    ] {
        wait_until("it works again", || {
            (service.request(method, path, body).status == success).then_some(())
        });
    }
}

/// Waits until this many more saves are acknowledged.
pub fn wait_for_saves(service: &Service, saves: u32) {
    let enough = answered(service, "204") + f64::from(saves);
    wait_until("saves are acknowledged", || (answered(service, "204") >= enough).then_some(()));
}

/// How many saves were answered with `status`.
fn answered(service: &Service, status: &str) -> f64 {
    let route = r#"method="PUT",route="/hello/{username}""#;
    service.metric(&format!("hello_birthday_http_requests_total{{{route},status=\"{status}\"}}"))
}

/// Waits until a save is refused and health reports the outage.
pub fn wait_until_refused(service: &Service) {
    wait_until("a save is refused", || (answered(service, "503") > 0.0).then_some(()));
    wait_until_unhealthy(service);
    service.ask_admin("/readyz").expect_status(200);
}

/// Saves and finds users while `meanwhile` runs. The service must answer every request: with
/// success, or that it may be tried again.
pub fn write_during(server: SocketAddr, round: usize, meanwhile: impl FnOnce()) -> Seen {
    let stop = Arc::new(AtomicBool::new(false));
    let answers = Arc::new(Mutex::new(Answers::default()));
    let writers = spawn({
        let (stop, answers) = (stop.clone(), answers.clone());
        move |writer| write_through_outages(server, writer, round, &stop, &answers)
    });
    meanwhile();
    stop.store(true, Ordering::Relaxed);
    let written = join(writers);
    let answers = *answers.lock().unwrap();
    Seen { written, answers }
}

fn write_through_outages(
    server: SocketAddr,
    writer: usize,
    round: usize,
    stop: &AtomicBool,
    answers: &Mutex<Answers>,
) -> Written {
    let mut client = Client::new(server);
    let mut written = Written::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return written;
        }
        let (username, born) = next_save(writer, round * 1_000_003 + number);
        for method in ["PUT", "GET"] {
            let sent = Instant::now();
            let answer = match method {
                "PUT" => written.save(&mut client, &username, &born),
                _ => client.send(method, &format!("/hello/{username}"), ""),
            };
            let answer = answer.expect("every request is answered");
            answers.lock().unwrap().note(sent.elapsed(), answer.status);
            if answer.status == 503 {
                written.refused += 1;
                assert!(answer.header("retry-after").is_some(), "no Retry-After");
                thread::sleep(PAUSE);
            } else {
                assert!([200, 204, 404].contains(&answer.status), "{}", answer.status);
            }
        }
    }
    unreachable!("it is stopped first")
}

/// All users in a database with their dates of birth.
pub fn read_all<Users: FromIterator<(String, String)>>(url: &str) -> Users {
    let rows = cluster::execute(url, "select username, date_of_birth from users");
    let user =
        |row: &str| row.split_once('|').map(|(name, born)| (name.to_owned(), born.to_owned()));
    rows.lines().map(|row| user(row).unwrap()).collect()
}
