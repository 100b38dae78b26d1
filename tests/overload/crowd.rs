//! Thousands of clients in one thread: busy ones that count how they are answered,
//! and slow ones that only keep connections.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

/// Kept small, so that an answer that is not read waits with the service.
const RECEIVE_BYTES: u32 = 4096;

/// Connections that are made at once, as many as wait for a service without being lost.
const CONNECTING_MAX: usize = 500;

/// Between two bytes of a slow client: a minute for what the limits give seconds.
const DRIP_EVERY: Duration = Duration::from_millis(500);

/// Who comes.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// Save a user of their own, again and again.
    pub busy: usize,
    /// Whether the busy look for that user in between.
    pub finds: bool,
    /// Send most of a large head, and then a byte now and then.
    pub slow_heads: usize,
    /// The same with a body.
    pub slow_bodies: usize,
    /// Ask for more than they read.
    pub slow_readers: usize,
}

/// How the busy were answered.
#[derive(Debug, Default)]
pub struct Seen {
    pub elapsed: Duration,
    pub sent: usize,
    pub by_status: BTreeMap<u16, usize>,
    /// Latencies of requests that the service took on.
    pub admitted: Latencies,
    /// Latencies of 503s.
    pub refused: Latencies,
    /// Requests without an answer.
    pub lost: usize,
}

#[derive(Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Crowd {
    /// Lets everybody in, keeps at it for `time` and until they may leave, and leaves
    /// without a word. All the busy together send `per_second` requests, each of them when
    /// it has the answer to its last; without a number, as many as are answered.
    pub fn visit(
        self,
        server: SocketAddr,
        per_second: Option<f64>,
        time: Duration,
        may_leave: &AtomicBool,
    ) -> Seen {
        let every = per_second.map_or(0.0, |per_second| self.busy as f64 / per_second);
        let every = Duration::from_secs_f64(every);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let elapsed = runtime.block_on(async {
            let mut clients = JoinSet::new();
            let slow = [
                (self.slow_heads, Slow::Head),
                (self.slow_bodies, Slow::Body),
                (self.slow_readers, Slow::Reader),
            ];
            for (count, slow) in slow {
                for _ in 0..count {
                    clients.spawn(dawdle(server, slow));
                }
            }
            let mut streams = Vec::with_capacity(self.busy);
            while streams.len() < self.busy {
                let some = (self.busy - streams.len()).min(CONNECTING_MAX);
                let some = try_join_all((0..some).map(|_| connect(server))).await;
                streams.extend(some.expect("the service accepts"));
            }
            let began = Instant::now();
            for (number, stream) in streams.into_iter().enumerate() {
                let phase = every.mul_f64(number as f64 / self.busy as f64);
                let pace = Pace { phase, every, finds: self.finds };
                clients.spawn(visit(server, number, stream, pace, seen.clone()));
            }
            while began.elapsed() < time || !may_leave.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(20)).await;
            }
            // Dropping them closes their connections.
            clients.shutdown().await;
            began.elapsed()
        });
        drop(runtime);
        let seen = Arc::into_inner(seen).expect("all have left").into_inner().unwrap();
        Seen { elapsed, ..seen }
    }
}

impl Seen {
    /// How many of `count` requests there were in a second.
    pub fn per_second(&self, count: usize) -> f64 {
        count as f64 / self.elapsed.as_secs_f64()
    }

    fn note(&mut self, answer: &Answer, latency: Duration) {
        *self.by_status.entry(answer.status).or_default() += 1;
        match answer.status {
            503 => {
                assert!(answer.tells_when_to_retry, "a 503 without Retry-After");
                self.refused.0.push(latency);
            }
            _ => self.admitted.0.push(latency),
        }
    }
}

impl Latencies {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What `share` of them stay below; zero where there are none.
    pub fn quantile(&mut self, share: f64) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

/// When a busy client sends what.
#[derive(Debug, Clone, Copy)]
struct Pace {
    phase: Duration,
    every: Duration,
    finds: bool,
}

async fn visit(
    server: SocketAddr,
    number: usize,
    mut stream: TcpStream,
    pace: Pace,
    seen: Arc<Mutex<Seen>>,
) {
    let name = name(number);
    let mut next = Instant::now() + pace.phase;
    for turn in 0_u32.. {
        sleep_until(next).await;
        let request = match pace.finds && turn % 2 == 1 {
            false => {
                let born = format!("{}-05-20", 1900 + turn % 100);
                format!(
                    "PUT /hello/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 28\r\n\r\n\
                     {{\"dateOfBirth\":\"{born}\"}}"
                )
            }
            true => format!("GET /hello/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        };
        lock(&seen).sent += 1;
        let began = Instant::now();
        let answered = async {
            stream.write_all(request.as_bytes()).await?;
            Answer::read(&mut stream).await
        };
        match answered.await {
            Ok(answer) => lock(&seen).note(&answer, began.elapsed()),
            Err(_) => {
                lock(&seen).lost += 1;
                stream = reconnect(server).await;
            }
        }
        // Who is answered late does not catch up.
        next = (next + pace.every).max(Instant::now());
    }
}

/// In what a client is slow.
#[derive(Debug, Clone, Copy)]
enum Slow {
    Head,
    Body,
    Reader,
}

/// Comes again whenever the service ends the connection.
async fn dawdle(server: SocketAddr, slow: Slow) {
    let start = "PUT /hello/Slow HTTP/1.1\r\nHost: localhost\r\n";
    let at_once = match slow {
        Slow::Head => format!("{start}X: {}", "x".repeat(12 * 1024)),
        Slow::Body => format!("{start}Content-Length: 8192\r\n\r\n{}", " ".repeat(8000)),
        // A few MB, which is more than the kernel keeps for a connection.
        Slow::Reader => "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000),
    };
    loop {
        let mut stream = reconnect(server).await;
        // However it ends, it was cut off.
        let _: io::Result<()> = async {
            stream.write_all(at_once.as_bytes()).await?;
            let mut drip = interval(DRIP_EVERY);
            let mut byte = [0];
            loop {
                drip.tick().await;
                match slow {
                    Slow::Head | Slow::Body => {
                        stream.write_all(b"x").await?;
                        // What comes is the end: a 408.
                        let read = stream.read(&mut byte);
                        if let Ok(read) = timeout(Duration::ZERO, read).await {
                            read?;
                            return Ok(());
                        }
                    }
                    Slow::Reader => {
                        stream.read_exact(&mut byte).await?;
                    }
                }
            }
        }
        .await;
    }
}

struct Answer {
    status: u16,
    tells_when_to_retry: bool,
}

impl Answer {
    async fn read(stream: &mut TcpStream) -> io::Result<Answer> {
        let mut bytes = Vec::with_capacity(512);
        loop {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
            let head = str::from_utf8(&bytes[..end]).expect("a head is text");
            let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
            let length = header("content-length: ").map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Ok(Answer {
                    status: head[9..12].parse().expect("a status"),
                    tells_when_to_retry: header("retry-after: ").is_some(),
                });
            }
        }
    }
}

async fn reconnect(server: SocketAddr) -> TcpStream {
    loop {
        match connect(server).await {
            Ok(stream) => return stream,
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

fn connect(server: SocketAddr) -> impl Future<Output = io::Result<TcpStream>> {
    let socket = TcpSocket::new_v4().expect("a free file descriptor");
    socket.set_nodelay(true).unwrap();
    socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
    socket.connect(server)
}

fn name(mut number: usize) -> String {
    let mut name = "Busy".to_owned();
    for _ in 0..4 {
        name.push(char::from(b'a' + u8::try_from(number % 26).unwrap()));
        number /= 26;
    }
    name
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap()
}
