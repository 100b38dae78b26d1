//! Clients that save and find users, and know what they must find: a save that was
//! acknowledged, through whatever happens.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep, timeout};

use crate::harness::{self, Answer, PATIENCE, Service, letters, random, request, wait_until};

/// Today's date for the service: the first day of a common year, like that in which
/// everyone is born.
pub const TODAY: &str = "2023-01-01";

/// How long a patient client waits before it retries where no `Retry-After` says so.
const PAUSE: Duration = Duration::from_secs(1);

/// Connections without a first answer, which shows that the service has accepted them: no
/// more than fit in any backlog, where the kernel would drop them.
static NEW_CONNECTIONS: Semaphore = Semaphore::const_new(100);

/// Kept small, so that an answer that is not read stays with the service.
const RECEIVE_BYTES: u32 = 4096;

/// Clients, each with a connection and a user of its own. Each sends its next request when
/// it has the answer to its last.
#[derive(Debug, Clone, Copy)]
pub struct Clients {
    pub count: usize,
    /// Requests of all of them together that they try to send in a second.
    pub per_second: u32,
    /// Whether a client whose answer was late sends the sooner afterwards.
    pub catches_up: bool,
    /// Saves alone, or finds too: then a quarter of the clients only save, another one only
    /// finds, and the others alternate, so that neither stops for what the other waits for.
    pub finds: bool,
    /// Retries when `Retry-After` says or after [`PAUSE`], or takes any answer but the
    /// expected one for a failure.
    pub patient: bool,
    /// Whether others save the same users, or a replica may answer: then it is not known
    /// what must be found.
    pub shared: bool,
}

/// They send a request as soon as they may.
pub const BUSY: Clients = Clients {
    count: 16,
    per_second: 1_000_000,
    catches_up: false,
    finds: true,
    patient: true,
    shared: false,
};

/// Part of the 5 s that the service gives a request, and no more than it gives the
/// database to answer one. The rest is enough to find the database again.
const MOST_OF_A_REQUESTS_TIME: Duration = Duration::from_secs(3);

/// Clients at work, until they are stopped.
pub struct Load {
    began: Instant,
    progress: Arc<Progress>,
    thread: JoinHandle<Seen>,
}

/// What clients are to do and have done so far.
struct Progress {
    stop: AtomicBool,
    /// Each client sends its requests to one of them.
    servers: Mutex<Vec<SocketAddr>>,
    /// Attempts that each client is done with.
    done: Vec<AtomicUsize>,
    acknowledged: AtomicUsize,
    retried: AtomicUsize,
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
    /// Answers but for success that have no `Retry-After`.
    pub without_retry_after: usize,
    /// The longest time to such an answer.
    slowest_refusal: Duration,
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
    shared: bool,
    acknowledged: Option<u32>,
    maybe: Vec<u32>,
}

impl Load {
    /// Sends requests to `server` from now on.
    pub fn start(server: SocketAddr, clients: Clients) -> Load {
        Load::start_on(&[server], clients)
    }

    /// The same to several servers.
    pub fn start_on(servers: &[SocketAddr], clients: Clients) -> Load {
        let progress = Arc::new(Progress {
            stop: AtomicBool::new(false),
            servers: Mutex::new(servers.into()),
            done: (0..clients.count).map(|_| AtomicUsize::new(0)).collect(),
            acknowledged: AtomicUsize::new(0),
            retried: AtomicUsize::new(0),
        });
        let thread = thread::spawn({
            let progress = progress.clone();
            move || {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(send_all(clients, progress))
            }
        });
        Load { began: Instant::now(), progress, thread }
    }

    /// Waits until every client has an answer, whatever it says, to a request that it sends
    /// after this call.
    pub fn wait_for_round(&self) {
        let count = |done: &AtomicUsize| done.load(Ordering::Relaxed);
        let done = &self.progress.done;
        let before: Vec<_> = done.iter().map(count).collect();
        self.wait_until(|| {
            // The first of two may have been in flight.
            done.iter().zip(&before).all(|(done, before)| count(done) >= before + 2)
        });
    }

    /// Waits until that many more saves are acknowledged, and one that was sent after this
    /// call.
    pub fn wait_for_saves(&self, saves: usize) {
        let acknowledged = || self.progress.acknowledged.load(Ordering::Relaxed);
        // One of each client may have been in flight.
        let enough = acknowledged() + saves.max(self.progress.done.len() + 1);
        self.wait_until(|| acknowledged() >= enough);
    }

    /// Waits until an answer said to retry.
    pub fn wait_for_retry(&self) {
        self.wait_until(|| self.progress.retried.load(Ordering::Relaxed) > 0);
    }

    fn wait_until(&self, condition: impl Fn() -> bool) {
        wait_until("clients are answered", || {
            assert!(!self.thread.is_finished(), "a client has failed");
            condition().then_some(())
        });
    }

    /// Moves the clients to other servers, and waits until what they sent before is answered.
    pub fn move_to(&self, servers: &[SocketAddr]) {
        *self.progress.servers.lock().unwrap() = servers.into();
        self.wait_for_round();
    }

    /// Finishes the requests in flight.
    pub fn stop(self) -> Seen {
        self.progress.stop.store(true, Ordering::Relaxed);
        let elapsed = self.began.elapsed();
        let seen = self.thread.join().expect("every answer is as it should be");
        Seen { elapsed, ..seen }
    }
}

/// Kills the service under load, starts it again, and expects each time that all is there
/// that was acknowledged.
pub fn kill_again_and_again(rounds: usize, start: impl Fn() -> Service) {
    let mut acknowledged = 0;
    let mut service = start();
    for _ in 0..rounds {
        let load = Load::start(service.address, Clients { patient: false, ..BUSY });
        load.wait_for_saves(1);
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(random(90)));
        service.kill();
        let seen = load.stop();
        service = start();
        seen.expect_nothing_lost([service.address]);
        acknowledged += seen.acknowledged;
    }
    println!("{acknowledged} saves acknowledged in {rounds} rounds, none lost");
}

async fn send_all(clients: Clients, progress: Arc<Progress>) -> Seen {
    let Clients { count, per_second, catches_up, finds, patient, shared } = clients;
    let period = Duration::from_secs(1) * count as u32 / per_second;
    let mut running = JoinSet::new();
    for number in 0..count {
        let phase = period * number as u32 / count as u32;
        let user = User::new(shared.then_some(number));
        let connection = Connection::new(progress.server(number));
        let mut client = Client { connection, patient, user, seen: Seen::default() };
        let progress = progress.clone();
        running.spawn(async move {
            // Opens the connection, which a failure leaves to the first request.
            let _ = client.connection.exchange("GET", &client.user.path, "").await;
            let mut turn = interval_at(tokio::time::Instant::now() + phase, period);
            if !catches_up {
                turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
            }
            for request in 0.. {
                turn.tick().await;
                if progress.stop.load(Ordering::Relaxed) {
                    break;
                }
                client.connection.move_to(progress.server(number));
                let request = match number % 4 {
                    1 if finds => request.min(1),
                    2 | 3 if finds => request,
                    _ => 2 * request,
                };
                client.send(request, &progress, number).await;
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

impl Progress {
    /// Where a client sends its next request.
    fn server(&self, number: usize) -> SocketAddr {
        let servers = self.servers.lock().unwrap();
        servers[number % servers.len()]
    }
}

impl Seen {
    pub fn add(&mut self, other: Seen) {
        self.requests += other.requests;
        self.failed.extend(other.failed);
        self.retried += other.retried;
        self.unanswered += other.unanswered;
        self.without_retry_after += other.without_retry_after;
        self.slowest_refusal = self.slowest_refusal.max(other.slowest_refusal);
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

    /// Every request was answered, with success in the end, and before that with the time
    /// to retry.
    #[track_caller]
    pub fn expect_all_answered(&self) {
        self.expect_no_failure();
        assert_eq!((self.unanswered, self.without_retry_after), (0, 0), "{self}");
    }

    /// Fails if requests were refused although the database was never away for most of their
    /// time, `longest_away`, as it may be on a slow or busy machine.
    #[track_caller]
    pub fn expect_none_refused(&self, service: &Service, longest_away: Duration) {
        self.expect_all_answered();
        if self.retried == 0 {
            return;
        }
        let why = format!("{self}, the database away for {longest_away:.1?} at most");
        assert!(longest_away >= MOST_OF_A_REQUESTS_TIME, "{why}: {}", service.log());
        // Unlike what is printed, it is seen although the test passes.
        let notice = format!("not shown, the machine is too slow: {why}\n");
        io::stderr().write_all(notice.as_bytes()).unwrap();
    }

    /// Every one of `servers` must have all that was acknowledged.
    pub fn expect_nothing_lost(&self, servers: impl IntoIterator<Item = SocketAddr>) {
        for server in servers {
            let mut client = harness::Client::new(server);
            for user in &self.users {
                let answer = client.send("GET", &user.path, "").expect("an answer");
                assert!(user.is_answered_by(&answer), "lost: {answer:?}: {user:?}");
            }
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
        let Seen { retried, acknowledged, slowest_refusal, .. } = self;
        write!(f, ", {retried} retried")?;
        if *slowest_refusal > Duration::ZERO {
            write!(f, " (slowest refusal {slowest_refusal:.1?})")?;
        }
        write!(f, ", {acknowledged} saves acknowledged, slowest {slowest:.1?}")
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
    /// Saves with even numbers, and finds with odd ones.
    async fn send(&mut self, number: usize, progress: &Progress, client: usize) {
        let days = 1 + u32::try_from(number / 2 % 364).unwrap();
        let sent = Instant::now();
        self.seen.requests += 1;
        loop {
            let began = Instant::now();
            let answer = async {
                match number % 2 {
                    0 => self.save(days).await,
                    _ => self.connection.exchange("GET", &self.user.path, "").await,
                }
            };
            let answer = timeout(PATIENCE, answer).await;
            progress.done[client].fetch_add(1, Ordering::Relaxed);
            let (why, pause) = match answer.unwrap_or_else(|late| Err(late.into())) {
                Ok(answer) if [200, 204, 404].contains(&answer.status) => {
                    if answer.status == 204 {
                        self.seen.acknowledged += 1;
                        progress.acknowledged.fetch_add(1, Ordering::Relaxed);
                    } else {
                        let user = &self.user;
                        assert!(user.is_answered_by(&answer), "{answer:?}: {user:?}");
                    }
                    self.seen.latencies.push(sent.elapsed());
                    return;
                }
                Ok(answer) => {
                    let pause = answer.header("retry-after");
                    self.seen.without_retry_after += usize::from(pause.is_none());
                    self.seen.slowest_refusal = self.seen.slowest_refusal.max(began.elapsed());
                    let pause = pause.map(|pause| Duration::from_secs(pause.parse().unwrap()));
                    (answer.status.to_string(), pause.unwrap_or(PAUSE))
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
            progress.retried.fetch_add(1, Ordering::Relaxed);
            sleep(pause).await;
        }
    }

    /// Saves a birthday that is so many days away.
    async fn save(&mut self, days: u32) -> io::Result<Answer> {
        self.user.maybe.push(days);
        let born = jiff::civil::date(1990, 1, 1).saturating_add(jiff::Span::new().days(days));
        let body = format!(r#"{{"dateOfBirth":"{born}"}}"#);
        let answer = self.connection.exchange("PUT", &self.user.path, &body).await?;
        if answer.status == 204 {
            self.user.acknowledged = Some(days);
            self.user.maybe.clear();
        }
        Ok(answer)
    }
}

impl User {
    /// One that nobody else saves, or the one with this number.
    fn new(number: Option<usize>) -> User {
        static USERS: AtomicUsize = AtomicUsize::new(1_000_000);
        let shared = number.is_some();
        let number = number.unwrap_or_else(|| USERS.fetch_add(1, Ordering::Relaxed));
        let path = format!("/hello/{}", letters(number));
        User { path, shared, acknowledged: None, maybe: Vec::new() }
    }

    fn is_answered_by(&self, answer: &Answer) -> bool {
        if self.shared {
            return true;
        }
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
pub struct Connection {
    server: SocketAddr,
    pub stream: Option<TcpStream>,
}

impl Connection {
    pub fn new(server: SocketAddr) -> Connection {
        Connection { server, stream: None }
    }

    fn move_to(&mut self, server: SocketAddr) {
        if self.server != server {
            *self = Connection::new(server);
        }
    }

    /// Sends a request, and reads its answer.
    pub async fn exchange(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let (mut stream, _permit) = match self.stream.take() {
            Some(stream) => (stream, None),
            None => {
                let permit = NEW_CONNECTIONS.acquire().await.expect("it is never closed");
                let socket = TcpSocket::new_v4()?;
                socket.set_nodelay(true)?;
                socket.set_recv_buffer_size(RECEIVE_BYTES)?;
                (socket.connect(self.server).await?, Some(permit))
            }
        };
        stream.write_all(request(method, path, "", body).as_bytes()).await?;
        let mut bytes = Vec::with_capacity(1024);
        while !is_whole(&bytes) {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let answer = Answer::parse(bytes);
        if answer.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let text = str::from_utf8(answer).expect("an answer is text");
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    // HAProxy's own answers have none, and come at once.
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}
