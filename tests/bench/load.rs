//! A client that keeps a number of connections busy.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Makes the request with a number, for one of `connections`.
pub type MakeRequest = Arc<dyn Fn(u64, &mut Vec<u8>) + Send + Sync>;

/// What a load saw.
pub struct Seen {
    /// Requests answered as expected.
    pub requests: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    latencies: Vec<u32>,
}

impl Seen {
    /// The latency that `share` of all requests stayed below.
    pub fn latency(&self, share: f64) -> Duration {
        let last = self.latencies.len() - 1;
        let at = (last as f64 * share).round() as usize;
        Duration::from_micros(self.latencies[at].into())
    }
}

/// When to stop.
#[derive(Clone, Copy)]
pub enum Until {
    Elapsed(Duration),
    Requests(u64),
}

/// Keeps `connections` busy, each with one request at a time. A client that is told to retry
/// later does so, with the same request. Anything but that and the `expected` status ends
/// the measurement.
pub fn run(
    server: SocketAddr,
    connections: usize,
    until: Until,
    expected: &'static str,
    make: MakeRequest,
) -> Seen {
    // One thread, so that the client's own wake-ups do not crowd out the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let numbers = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let last = match until {
            Until::Requests(requests) => requests,
            Until::Elapsed(_) => u64::MAX,
        };
        let began = Instant::now();
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                let (numbers, stop, make) = (numbers.clone(), stop.clone(), make.clone());
                tokio::spawn(async move {
                    let mut client = Client::connect(server, expected).await;
                    let mut request = Vec::new();
                    let mut latencies = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let number = numbers.fetch_add(1, Ordering::Relaxed);
                        if number >= last {
                            break;
                        }
                        request.clear();
                        make(number, &mut request);
                        let sent = Instant::now();
                        while let Err(ComeAgain(pause)) = client.exchange(&request).await {
                            tokio::time::sleep(pause).await;
                        }
                        let latency = sent.elapsed().as_micros();
                        latencies.push(u32::try_from(latency).expect("a short time"));
                    }
                    latencies
                })
            })
            .collect();
        if let Until::Elapsed(time) = until {
            tokio::time::sleep(time).await;
            stop.store(true, Ordering::Relaxed);
        }
        let mut latencies = Vec::new();
        for client in clients {
            latencies.extend(client.await.expect("every answer is the expected one"));
        }
        let elapsed = began.elapsed();
        latencies.sort_unstable();
        Seen { requests: latencies.len() as u64, elapsed, latencies }
    })
}

/// The service is too busy for a request, and names a time.
struct ComeAgain(Duration);

struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
    expected: &'static str,
}

impl Client {
    async fn connect(server: SocketAddr, expected: &'static str) -> Client {
        let stream = TcpStream::connect(server).await.expect("the server accepts");
        stream.set_nodelay(true).expect("a TCP option");
        Client { stream, answer: Vec::with_capacity(4096), expected }
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<(), ComeAgain> {
        self.stream.write_all(request).await.expect("the server reads");
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await.expect("the server answers");
            assert!(read > 0, "the server closed the connection");
            if let Some(end) = self.answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = str::from_utf8(&self.answer[..end]).expect("a head is text");
                if self.answer.len() < end + 4 + number_of(head, "content-length: ").unwrap_or(0) {
                    continue;
                }
                let status = head.get(9..12);
                if let (Some("503"), Some(seconds)) = (status, number_of(head, "retry-after: ")) {
                    return Err(ComeAgain(Duration::from_secs(seconds)));
                }
                assert_eq!(status, Some(self.expected), "status of: {head}");
                return Ok(());
            }
        }
    }
}

/// The value of a header.
fn number_of<T: FromStr>(head: &str, header: &str) -> Option<T> {
    let value = head.lines().find_map(|line| line.strip_prefix(header))?;
    value.parse().ok()
}
