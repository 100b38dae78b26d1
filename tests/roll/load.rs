//! Clients that save and find users, and know what they must find.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval_at, sleep, timeout};

use crate::harness::PATIENCE;

/// The day on which all of this happens: the first of a common year, like that in which
/// everyone is born.
pub const TODAY: &str = "2023-01-01";

/// Clients, each with a connection and users of its own.
const CLIENTS: usize = 64;
const USERS: usize = 4;

/// Requests of all clients together. One that waited sends the sooner afterwards.
const REQUESTS_PER_SECOND: u32 = 2_500;

/// Fewer mean that it was no such load.
const REQUESTS_PER_SECOND_MIN: f64 = 2_000.0;

/// How long a patient client waits where nobody says how long.
const PAUSE: Duration = Duration::from_secs(1);

/// What a client does with an answer of the kind that may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Takes it for a failure.
    Strict,
    /// Tries again when `Retry-After` says, or after [`PAUSE`].
    Patient,
}

/// Requests under way, until they are stopped.
pub struct Load {
    began: Instant,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What the clients saw.
#[derive(Default)]
pub struct Seen {
    pub requests: u64,
    pub failed: Vec<Failure>,
    /// Answers that were tried again.
    pub retried: u64,
    pub acknowledged: u64,
    pub slowest: Duration,
    pub elapsed: Duration,
    users: Vec<User>,
}

/// A request without the answer that it should have.
#[derive(Debug, Clone)]
pub struct Failure {
    pub sent: Instant,
    pub why: String,
}

/// Somebody, with the days to the birthday that was acknowledged last, and those that may
/// have been saved since without an acknowledgement.
#[derive(Debug)]
struct User {
    path: String,
    acknowledged: Option<u32>,
    maybe: Vec<u32>,
}

impl Load {
    /// Sends requests to `server` from now on.
    pub fn start(server: SocketAddr, manner: Manner) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = stop.clone();
            move || on_one_thread(send_all(server, manner, stop))
        });
        Load { began: Instant::now(), stop, thread }
    }

    /// Finishes the requests under way.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let elapsed = self.began.elapsed();
        let seen = self.thread.join().expect("every answer is as it should be");
        Seen { elapsed, ..seen }
    }
}

async fn send_all(server: SocketAddr, manner: Manner, stop: Arc<AtomicBool>) -> Seen {
    let began = Instant::now();
    let period = Duration::from_secs(1) * CLIENTS as u32 / REQUESTS_PER_SECOND;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let first = began + period * number as u32 / CLIENTS as u32;
            let mut client = Client::new(server, manner, number);
            let stop = stop.clone();
            tokio::spawn(async move {
                let mut turn = interval_at(first.into(), period);
                for number in 0.. {
                    turn.tick().await;
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    client.send(number).await;
                }
                client.seen
            })
        })
        .collect();
    let mut all = Seen::default();
    for client in clients {
        all.add(client.await.expect("a client sees what it may see"));
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
        self.acknowledged += other.acknowledged;
        self.slowest = self.slowest.max(other.slowest);
        self.elapsed += other.elapsed;
        self.users.extend(other.users);
    }

    /// From the first request that failed to the last one, as they were sent.
    pub fn failing_for(&self) -> Duration {
        let sent = || self.failed.iter().map(|failure| failure.sent);
        sent().max().zip(sent().min()).map_or(Duration::ZERO, |(last, first)| last - first)
    }

    fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    #[track_caller]
    pub fn expect_enough_requests(&self) {
        assert!(self.requests_per_second() >= REQUESTS_PER_SECOND_MIN, "{self}");
    }

    #[track_caller]
    pub fn expect_no_failure(&self) {
        assert!(self.failed.is_empty(), "{self}");
    }

    /// Every one of `servers` must have all that was acknowledged.
    pub fn expect_nothing_lost(&self, servers: impl IntoIterator<Item = SocketAddr>) {
        for server in servers {
            on_one_thread(async {
                let mut connection = Connection::new(server);
                for user in &self.users {
                    let answer = connection.exchange(&user.find()).await.expect("an answer");
                    assert!(user.is_answered_by(&answer), "lost: {answer}, not {user:?}");
                }
            });
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Seen { requests, retried, acknowledged, slowest, .. } = self;
        write!(f, "{requests} requests ({:.0}/s), ", self.requests_per_second())?;
        match self.failed.len() {
            0 => write!(f, "0 failed, ")?,
            failed => {
                let why: BTreeSet<_> = self.failed.iter().map(|failure| &*failure.why).collect();
                let why = Vec::from_iter(why).join(", ");
                write!(f, "{failed} failed in {:.2?} ({why}), ", self.failing_for())?;
            }
        }
        if *retried > 0 {
            write!(f, "{retried} tried again, ")?;
        }
        write!(f, "{acknowledged} saves acknowledged and none lost, slowest {slowest:.1?}")
    }
}

/// One client, which saves a user and then finds it, again and again.
struct Client {
    connection: Connection,
    manner: Manner,
    seen: Seen,
}

impl Client {
    fn new(server: SocketAddr, manner: Manner, number: usize) -> Client {
        let users = (0..USERS).map(|user| User::new(number * USERS + user)).collect();
        let seen = Seen { users, ..Seen::default() };
        Client { connection: Connection::new(server), manner, seen }
    }

    async fn send(&mut self, number: usize) {
        let user = &mut self.seen.users[number / 2 % USERS];
        let days = 1 + u32::try_from(number / 2 / USERS % 364).unwrap();
        let sent = Instant::now();
        loop {
            let answer = match number % 2 {
                0 => user.save(&mut self.connection, days).await,
                _ => self.connection.exchange(&user.find()).await,
            };
            let (why, pause) = match answer {
                Ok(answer) if answer.status == 204 => {
                    self.seen.acknowledged += 1;
                    break;
                }
                Ok(answer) if [200, 404].contains(&answer.status) => {
                    assert!(user.is_answered_by(&answer), "{answer}, not {user:?}");
                    break;
                }
                Ok(answer) => (answer.status.to_string(), answer.retry_after.unwrap_or(PAUSE)),
                Err(error) => (error.to_string(), PAUSE),
            };
            if self.manner == Manner::Patient && sent.elapsed() < PATIENCE {
                self.seen.retried += 1;
                sleep(pause).await;
                continue;
            }
            self.seen.failed.push(Failure { sent, why });
            break;
        }
        self.seen.requests += 1;
        self.seen.slowest = self.seen.slowest.max(sent.elapsed());
    }
}

impl User {
    fn new(number: usize) -> User {
        let letter = |number: usize| char::from(b'a' + u8::try_from(number % 26).unwrap());
        let letters = [number / 26 / 26, number / 26, number].map(letter);
        let path = format!("/hello/{}", String::from_iter(letters));
        User { path, acknowledged: None, maybe: Vec::new() }
    }

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
    fn new(server: SocketAddr) -> Connection {
        Connection { server, stream: None }
    }

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
