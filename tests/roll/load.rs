//! Clients that save and find users, and know what they must find.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep, timeout};

use crate::harness::{PATIENCE, wait_until};

/// Today's date for the service: the first day of a common year, like that in which
/// everyone is born.
pub const TODAY: &str = "2023-01-01";

/// How long a patient client waits before it retries where no `Retry-After` says so.
const PAUSE: Duration = Duration::from_secs(1);

/// Connections that are opened at once, so that the service's backlog holds them.
static CONNECTING: Semaphore = Semaphore::const_new(500);

/// Clients, each with a connection and a user of its own. Each sends its next request when
/// it has the answer to its last.
#[derive(Debug, Clone, Copy)]
pub struct Clients {
    pub count: usize,
    /// Requests of all of them together that they try to send in a second.
    pub per_second: u32,
    /// Whether a client whose answer was late sends the sooner afterwards.
    pub catches_up: bool,
    /// Saves alone, or a find after every save.
    pub finds: bool,
    /// Retries when `Retry-After` says or after [`PAUSE`], or takes any answer but the
    /// expected one for a failure.
    pub patient: bool,
}

/// Clients at work, until they are stopped.
pub struct Load {
    began: Instant,
    stop: Arc<AtomicBool>,
    /// Requests that each client is done with.
    done: Arc<[AtomicUsize]>,
    thread: JoinHandle<Seen>,
}

/// What the clients saw.
#[derive(Default)]
pub struct Seen {
    pub requests: usize,
    pub failed: Vec<Failure>,
    /// Attempts that were followed by another.
    pub retried: usize,
    /// Attempts without an answer.
    pub unanswered: usize,
    /// Answers with status 503 and no `Retry-After`.
    pub without_retry_after: usize,
    pub acknowledged: usize,
    /// Of requests that did not fail, from their first attempt to their answer.
    pub latencies: Vec<Duration>,
    pub elapsed: Duration,
    users: Vec<User>,
}

/// A request without the answer that it should have.
#[derive(Debug)]
pub struct Failure {
    pub sent: Instant,
    pub took: Duration,
    pub why: String,
}

/// A user, with the days to the birthday that was acknowledged last, and those that may
/// have been saved since without an acknowledgement.
#[derive(Debug)]
struct User {
    path: String,
    acknowledged: Option<u32>,
    maybe: Vec<u32>,
}

impl Load {
    /// Sends requests to `server` from now on.
    pub fn start(server: SocketAddr, clients: Clients) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let done: Arc<[_]> = (0..clients.count).map(|_| AtomicUsize::new(0)).collect();
        let thread = thread::spawn({
            let (stop, done) = (stop.clone(), done.clone());
            move || on_one_thread(send_all(server, clients, stop, done))
        });
        Load { began: Instant::now(), stop, done, thread }
    }

    /// Waits until every client has an answer to a request that it sends after this call.
    pub fn wait_for_round(&self) {
        let count = |done: &AtomicUsize| done.load(Ordering::Relaxed);
        let before: Vec<_> = self.done.iter().map(count).collect();
        wait_until("every client is answered", || {
            assert!(!self.thread.is_finished(), "a client has failed");
            // The first of two may have been in flight.
            let all = self.done.iter().zip(&before).all(|(done, before)| count(done) >= before + 2);
            all.then_some(())
        });
    }

    /// Finishes the requests in flight.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let elapsed = self.began.elapsed();
        let seen = self.thread.join().expect("every answer is as it should be");
        Seen { elapsed, ..seen }
    }
}

async fn send_all(
    server: SocketAddr,
    clients: Clients,
    stop: Arc<AtomicBool>,
    done: Arc<[AtomicUsize]>,
) -> Seen {
    let began = Instant::now();
    let Clients { count, per_second, catches_up, finds, patient } = clients;
    let period = Duration::from_secs(1) * count as u32 / per_second;
    let mut running = JoinSet::new();
    for number in 0..count {
        let first = began + period * number as u32 / count as u32;
        let mut client = Client::new(server, patient);
        let (stop, done) = (stop.clone(), done.clone());
        running.spawn(async move {
            let mut turn = interval_at(first.into(), period);
            if !catches_up {
                turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
            }
            for request in 0.. {
                turn.tick().await;
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                client.send(if finds { request } else { 2 * request }).await;
                done[number].fetch_add(1, Ordering::Relaxed);
            }
            Seen { users: vec![client.user], ..client.seen }
        });
    }
    let mut all = Seen::default();
    while let Some(client) = running.join_next().await {
        all.add(client.expect("a client sees what it may see"));
    }
    all
}

fn on_one_thread<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

impl Seen {
    pub fn add(&mut self, other: Seen) {
        self.requests += other.requests;
        self.failed.extend(other.failed);
        self.retried += other.retried;
        self.unanswered += other.unanswered;
        self.without_retry_after += other.without_retry_after;
        self.acknowledged += other.acknowledged;
        self.latencies.extend(other.latencies);
        self.elapsed += other.elapsed;
        self.users.extend(other.users);
    }

    #[track_caller]
    pub fn expect_no_failure(&self) {
        assert!(self.failed.is_empty(), "{self}");
    }

    /// No request that was sent after `moment` has failed.
    #[track_caller]
    pub fn expect_no_failure_after(&self, moment: Instant) {
        assert!(self.failed.iter().all(|failure| failure.sent < moment), "{self}");
    }

    /// Every one of `servers` must have all that was acknowledged.
    pub fn expect_nothing_lost(&self, servers: impl IntoIterator<Item = SocketAddr>) {
        for server in servers {
            on_one_thread(async {
                let mut connection = Connection { server, stream: None };
                for user in &self.users {
                    let answer = connection.exchange(&user.find()).await.expect("an answer");
                    assert!(user.is_answered_by(&answer), "lost: {answer}: {user:?}");
                }
            });
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let per_second = self.requests as f64 / self.elapsed.as_secs_f64();
        write!(f, "{} requests ({per_second:.0}/s), ", self.requests)?;
        write!(f, "{} failed", self.failed.len())?;
        let sent = || self.failed.iter().map(|failure| failure.sent);
        if let Some((first, last)) = sent().min().zip(sent().max()) {
            let why: BTreeSet<_> = self.failed.iter().map(|failure| &*failure.why).collect();
            let why = Vec::from_iter(why).join(", ");
            write!(f, " within {:.1?} ({why})", last - first)?;
        }
        let failed = self.failed.iter().map(|failure| &failure.took);
        let slowest = self.latencies.iter().chain(failed).max().copied().unwrap_or_default();
        let Seen { retried, acknowledged, .. } = self;
        write!(f, ", {retried} retried, {acknowledged} saves acknowledged, slowest {slowest:.1?}")
    }
}

/// One client.
struct Client {
    connection: Connection,
    patient: bool,
    user: User,
    seen: Seen,
}

impl Client {
    fn new(server: SocketAddr, patient: bool) -> Client {
        static USERS: AtomicUsize = AtomicUsize::new(0);
        let mut number = USERS.fetch_add(1, Ordering::Relaxed);
        let mut path = "/hello/".to_owned();
        for _ in 0..5 {
            path.push(char::from(b'a' + u8::try_from(number % 26).unwrap()));
            number /= 26;
        }
        let user = User { path, acknowledged: None, maybe: Vec::new() };
        let connection = Connection { server, stream: None };
        Client { connection, patient, user, seen: Seen::default() }
    }

    /// Saves with even numbers, and finds with odd ones.
    async fn send(&mut self, number: usize) {
        let days = 1 + u32::try_from(number / 2 % 364).unwrap();
        let sent = Instant::now();
        self.seen.requests += 1;
        loop {
            let answer = match number % 2 {
                0 => self.user.save(&mut self.connection, days).await,
                _ => self.connection.exchange(&self.user.find()).await,
            };
            let (why, pause) = match answer {
                Ok(answer) if [200, 204, 404].contains(&answer.status) => {
                    match answer.status {
                        204 => self.seen.acknowledged += 1,
                        _ => {
                            assert!(self.user.is_answered_by(&answer), "{answer}: {:?}", self.user)
                        }
                    }
                    self.seen.latencies.push(sent.elapsed());
                    return;
                }
                Ok(Answer { status, retry_after, .. }) => {
                    let is_told = status != 503 || retry_after.is_some();
                    self.seen.without_retry_after += usize::from(!is_told);
                    (status.to_string(), retry_after.unwrap_or(PAUSE))
                }
                Err(error) => {
                    self.seen.unanswered += 1;
                    (error.to_string(), PAUSE)
                }
            };
            let took = sent.elapsed();
            if !self.patient || took > PATIENCE {
                self.seen.failed.push(Failure { sent, took, why });
                return;
            }
            self.seen.retried += 1;
            sleep(pause).await;
        }
    }
}

impl User {
    fn find(&self) -> String {
        format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", self.path)
    }

    /// Saves a birthday that is so many days away.
    async fn save(&mut self, connection: &mut Connection, days: u32) -> io::Result<Answer> {
        self.maybe.push(days);
        let born = jiff::civil::date(1990, 1, 1).saturating_add(jiff::Span::new().days(days));
        let body = format!(r#"{{"dateOfBirth":"{born}"}}"#);
        let head = format!("PUT {} HTTP/1.1\r\nHost: localhost\r\n", self.path);
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let answer = connection.exchange(&request).await?;
        if answer.status == 204 {
            self.acknowledged = Some(days);
            self.maybe.clear();
        }
        Ok(answer)
    }

    fn is_answered_by(&self, answer: &Answer) -> bool {
        let days = answer
            .body
            .split_once("birthday is in ")
            .and_then(|(_, rest)| rest.split_once(' ')?.0.parse::<u32>().ok());
        match (answer.status, days) {
            (200, Some(days)) => self.acknowledged == Some(days) || self.maybe.contains(&days),
            (404, _) => self.acknowledged.is_none(),
            _ => false,
        }
    }
}

/// A connection that is kept for as long as the server keeps it.
struct Connection {
    server: SocketAddr,
    stream: Option<TcpStream>,
}

struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", self.status, self.body)
    }
}

impl Connection {
    /// Sends `request`, and reads its answer.
    async fn exchange(&mut self, request: &str) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.server).await?,
        };
        let (head, body) = timeout(PATIENCE, exchange(&mut stream, request)).await??;
        let header = |name| head.lines().find_map(|line| line.strip_prefix(name));
        if header("connection: ") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(Answer {
            status: head[9..12].parse().unwrap(),
            retry_after: header("retry-after: ").map(|it| Duration::from_secs(it.parse().unwrap())),
            body,
        })
    }
}

async fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let _permit = CONNECTING.acquire().await.expect("it is never closed");
    let stream = timeout(PATIENCE, TcpStream::connect(server)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn exchange(stream: &mut TcpStream, request: &str) -> io::Result<(String, String)> {
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = str::from_utf8(&bytes).expect("an answer is text");
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        // HAProxy's own answers have none, and end with the connection.
        let is_whole = match length {
            Some(length) => body.len() >= length.parse().unwrap(),
            None => true,
        };
        if is_whole {
            return Ok((head.to_owned(), body.to_owned()));
        }
    }
}
