//! What a connection is doing, and since when, so that those that take too
//! long can be cut off.
//!
//! One sweep looks at all connections a few times a second. That costs a busy
//! connection one store of a number where a timer of its own would be set and
//! cleared for every request.

use std::collections::{BTreeMap, HashMap};
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a connection may wait for its next request. Longer than the 60 s of
/// an AWS load balancer, so that it is the balancer that closes and no request
/// meets a closing connection
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html#connection-idle-timeout>).
pub const IDLE_MAX: Duration = Duration::from_secs(75);

/// The same once the server is closing: long enough for the request that a busy
/// client is about to send, which is then answered with `Connection: close`.
pub const IDLE_MAX_CLOSING: Duration = Duration::from_secs(1);

/// How long a request's head may take from its first byte.
pub const HEAD_MAX: Duration = Duration::from_secs(10);

/// Bytes of heads of which only a part has arrived, over all connections: of those of
/// 5,000 slow clients alone, memory would exceed 128 MiB. Clients that send a head at once
/// are seldom among them, and never for long.
pub const UNFINISHED_HEADS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long an answer may wait for the client to take it.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long after an answer a connection is asked whether it holds a part of the next
/// request. Most clients have sent a whole one by then, and need not be asked. Not longer
/// than `IDLE_MAX_CLOSING`, so that idle connections do not hold up the end.
const CHECK_AFTER: Duration = IDLE_MAX_CLOSING;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Phase {
    /// Waits for a request.
    Idle,
    /// Reads the head of a request.
    Head,
    /// Answers a request; bounded by the handler.
    Handling,
    /// Sends the answer.
    Answer,
    /// Has sent the answer. hyper may have read a part of the next request along with the
    /// last one, which shows only where the connection is taken from it.
    Answered,
}

/// One connection's phase and when it began.
pub(super) struct Pace {
    /// Milliseconds on the server's clock, then three bits of `Phase`.
    began: AtomicU64,
    /// Its number among the unfinished heads, or zero.
    head: AtomicU64,
    is_shed: AtomicBool,
    server: Arc<ServerState>,
    overdue: Notify,
}

/// What all connections of a server share.
#[derive(Default)]
struct ServerState {
    /// Milliseconds since the server began, as of the last sweep: reading a real
    /// clock a few times per request would cost more than all else here.
    now: AtomicU64,
    closing: AtomicBool,
    heads: Mutex<UnfinishedHeads>,
}

/// The heads of which only a part has arrived.
#[derive(Default)]
struct UnfinishedHeads {
    bytes: usize,
    /// By number, so the oldest is the first.
    by_age: BTreeMap<u64, (usize, Arc<Pace>)>,
    last: u64,
}

impl UnfinishedHeads {
    fn remove(&mut self, number: u64) {
        if let Some((bytes, _)) = self.by_age.remove(&number) {
            self.bytes -= bytes;
        }
    }
}

impl Pace {
    /// Notes that a request has arrived.
    pub fn begin_request(&self) {
        self.forget_head();
        self.enter(Phase::Handling);
    }

    /// Notes that of a head only `bytes` have arrived, and cuts off the oldest ones if
    /// there are too many.
    fn count_head(self: &Arc<Pace>, bytes: usize) {
        if self.is_shed() {
            return;
        }
        let mut heads = lock(&self.server.heads);
        let mut number = self.head.load(Ordering::Relaxed);
        if number == 0 {
            heads.last += 1;
            number = heads.last;
            self.head.store(number, Ordering::Relaxed);
        }
        heads.remove(number);
        heads.bytes += bytes;
        heads.by_age.insert(number, (bytes, self.clone()));
        while heads.bytes > UNFINISHED_HEADS_BYTES_MAX
            && let Some((_, (bytes, oldest))) = heads.by_age.pop_first()
        {
            heads.bytes -= bytes;
            oldest.is_shed.store(true, Ordering::Relaxed);
            oldest.overdue.notify_one();
        }
    }

    /// Counts its head no longer.
    pub fn forget_head(&self) {
        let number = self.head.swap(0, Ordering::Relaxed);
        if number != 0 {
            lock(&self.server.heads).remove(number);
            self.is_shed.store(false, Ordering::Relaxed);
        }
    }

    /// Whether its head is cut off to make room for others.
    pub fn is_shed(&self) -> bool {
        self.is_shed.load(Ordering::Relaxed)
    }

    /// Notes that the connection does something else from now on.
    pub fn enter(&self, phase: Phase) {
        // Only the connection's own task writes; the sweep may read a little late.
        let now = self.server.now.load(Ordering::Relaxed);
        self.store(now, phase);
    }

    /// Notes what the connection has been doing all along.
    fn correct(&self, phase: Phase) {
        self.store(self.began(), phase);
    }

    fn store(&self, began: u64, phase: Phase) {
        self.began.store(began << 3 | phase as u64, Ordering::Relaxed);
    }

    fn began(&self) -> u64 {
        self.began.load(Ordering::Relaxed) >> 3
    }

    fn phase(&self) -> Phase {
        match self.began.load(Ordering::Relaxed) & 7 {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Handling,
            3 => Phase::Answer,
            _ => Phase::Answered,
        }
    }

    /// The phase that lasts longer than it may.
    fn overdue_phase(&self) -> Option<Phase> {
        let phase = self.phase();
        let limit = match phase {
            Phase::Idle if self.server.closing.load(Ordering::Relaxed) => IDLE_MAX_CLOSING,
            Phase::Idle => IDLE_MAX,
            Phase::Head if self.is_shed() => return Some(phase),
            Phase::Head => HEAD_MAX,
            Phase::Handling => return None,
            Phase::Answer => ANSWER_MAX,
            Phase::Answered => CHECK_AFTER,
        };
        let now = self.server.now.load(Ordering::Relaxed);
        let lasted = now.saturating_sub(self.began());
        (Duration::from_millis(lasted) > limit).then_some(phase)
    }

    /// Waits until a phase lasts longer than it may.
    pub async fn overdue(&self) -> Phase {
        loop {
            // It may have moved on since the sweep.
            if let Some(phase) = self.overdue_phase() {
                return phase;
            }
            self.overdue.notified().await;
        }
    }
}

/// All open connections of a server.
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Arc<Pace>>>,
    next: AtomicU64,
    began: Instant,
    server: Arc<ServerState>,
    gauge: IntGauge,
}

impl Connections {
    /// Shows how many there are in `gauge`.
    pub fn new(gauge: IntGauge) -> Connections {
        Connections {
            gauge,
            open: Mutex::default(),
            next: AtomicU64::new(0),
            began: Instant::now(),
            server: Arc::default(),
        }
    }

    /// Adds a connection, which is removed when what is returned is dropped.
    pub fn open(&self) -> Open<'_> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let pace = Arc::new(Pace {
            began: AtomicU64::new(0),
            head: AtomicU64::new(0),
            is_shed: AtomicBool::new(false),
            server: self.server.clone(),
            overdue: Notify::new(),
        });
        pace.enter(Phase::Idle);
        self.lock().insert(id, pace.clone());
        self.gauge.inc();
        Open { id, pace, connections: self }
    }

    /// Wakes the connections that take too long. Their clock advances with it.
    pub fn sweep(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).expect("no server is that old");
        self.server.now.store(now, Ordering::Relaxed);
        for pace in self.lock().values() {
            if pace.overdue_phase().is_some() {
                pace.overdue.notify_one();
            }
        }
    }

    /// From now on an answer closes its connection, and idle ones close soon.
    pub fn start_closing(&self) {
        self.server.closing.store(true, Ordering::Relaxed);
    }

    pub fn are_closing(&self) -> bool {
        self.server.closing.load(Ordering::Relaxed)
    }

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Pace>>> {
        lock(&self.open)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection's place among the others.
pub(super) struct Open<'a> {
    id: u64,
    pub pace: Arc<Pace>,
    connections: &'a Connections,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.id);
        self.pace.forget_head();
        self.connections.gauge.dec();
    }
}

/// A stream that notes when a request begins and when its answer is sent.
pub(super) struct Paced {
    stream: TcpStream,
    pace: Arc<Pace>,
    /// Comes before what is still to be read from `stream`.
    read_ahead: Bytes,
    /// Bytes of the last head, and of what was read before it and not used.
    head_bytes: usize,
    /// How many of them are counted as unfinished.
    counted_bytes: usize,
    /// Bytes of the last read, after which nothing that came before is left in hyper.
    read_bytes: usize,
}

impl Paced {
    pub fn new(stream: TcpStream, pace: Arc<Pace>) -> Paced {
        Paced {
            stream,
            pace,
            read_ahead: Bytes::new(),
            head_bytes: 0,
            counted_bytes: 0,
            read_bytes: 0,
        }
    }

    /// Takes back `bytes` that were read after the last request: the start of the next
    /// one, if there are any.
    pub fn put_back(&mut self, bytes: Bytes) {
        // Some clients send an empty line after a body (RFC 9112, section 2.2).
        if bytes.iter().all(|byte| b"\r\n".contains(byte)) {
            self.pace.correct(Phase::Idle);
            self.head_bytes = 0;
        } else {
            self.pace.correct(Phase::Head);
            self.head_bytes = bytes.len();
            self.read_bytes = bytes.len();
            self.read_ahead = bytes;
        }
        self.counted_bytes = 0;
    }

    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.read_ahead.is_empty() {
            let length = self.read_ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.read_ahead.split_to(length));
            if self.read_ahead.is_empty() {
                // It keeps all of the buffer that it was a part of.
                self.read_ahead = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        // hyper asks for more only of a head that is not whole.
        if self.pace.phase() == Phase::Head && self.head_bytes != self.counted_bytes {
            self.counted_bytes = self.head_bytes;
            self.pace.count_head(self.head_bytes);
        }
        let filled = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len() - filled;
        match self.pace.phase() {
            Phase::Head => self.head_bytes += read,
            phase @ (Phase::Idle | Phase::Answered) => {
                let read_before = if phase == Phase::Idle { 0 } else { self.read_bytes };
                self.head_bytes = read_before + read;
                self.counted_bytes = 0;
                self.pace.enter(Phase::Head);
            }
            Phase::Handling | Phase::Answer => {}
        }
        self.read_bytes = read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        // The server flushes when it has handed all of an answer to the kernel.
        if self.pace.phase() == Phase::Answer {
            self.pace.enter(Phase::Answered);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn connections() -> Connections {
        Connections::new(IntGauge::new("connections", "Open connections.").unwrap())
    }

    /// The clock of connections counts these.
    const MILLISECOND: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_phase_is_overdue_right_after_its_limit() {
        let cases = [
            // A balancer closes after 60 s, and must be the one that does.
            (Phase::Idle, false, Some(75 * SECOND)),
            (Phase::Idle, true, Some(SECOND)),
            (Phase::Head, false, Some(10 * SECOND)),
            (Phase::Head, true, Some(10 * SECOND)),
            (Phase::Handling, false, None),
            (Phase::Handling, true, None),
            (Phase::Answer, false, Some(10 * SECOND)),
            (Phase::Answer, true, Some(10 * SECOND)),
            (Phase::Answered, false, Some(SECOND)),
            (Phase::Answered, true, Some(SECOND)),
        ];
        for (phase, is_closing, limit) in cases {
            let connections = connections();
            if is_closing {
                connections.start_closing();
            }
            let open = connections.open();
            open.pace.enter(phase);
            let mut overdue = open.pace.overdue().boxed();
            advance(limit.unwrap_or(1000 * SECOND)).await;
            connections.sweep();
            assert_eq!(overdue.as_mut().now_or_never(), None, "{phase:?} at {limit:?}");
            advance(MILLISECOND).await;
            connections.sweep();
            let expected = limit.map(|_| phase);
            assert_eq!(overdue.as_mut().now_or_never(), expected, "{phase:?} after {limit:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_phase_has_its_whole_time() {
        let connections = connections();
        let open = connections.open();
        let mut overdue = open.pace.overdue().boxed();
        for phase in [Phase::Head, Phase::Answer, Phase::Answered, Phase::Head] {
            open.pace.enter(phase);
            advance(if phase == Phase::Answered { CHECK_AFTER } else { HEAD_MAX }).await;
            connections.sweep();
            assert_eq!(overdue.as_mut().now_or_never(), None, "{phase:?}");
        }
    }
}
