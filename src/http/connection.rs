//! Tracks what each connection is doing and since when, and times out slow ones.
//!
//! One sweep looks at all connections a few times a second. That costs a busy connection
//! one atomic store, where a timer of its own would be set and cleared for every request.

use std::collections::{BTreeMap, HashMap};
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a connection may be idle while the server drains: long enough for the request that
/// a busy client is about to send, which is then answered with `Connection: close`.
pub const IDLE_TIMEOUT_DRAINING: Duration = Duration::from_secs(1);

/// How long a request's head may take, from its first byte.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of requests that have arrived in part, over all connections: 5,000 slow clients
/// would otherwise take more than 128 MiB. A request that arrives in one read is not
/// counted. Large ones are counted until they are answered.
pub const UNFINISHED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many of these may be of large requests that are complete and wait for their answers. The
/// others are left to requests that arrive slowly.
pub const LARGE_BYTES_MAX: usize = UNFINISHED_BYTES_MAX / 2;

/// Bytes from which a request is large: those of the buffer that hyper has for each connection.
/// The buffer for a large one is a second one of twice the size.
pub const LARGE_REQUEST_BYTES: usize = 8 * 1024;

/// How long a response may wait for the client to read it.
pub const RESPONSE_WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after a response to look for the start of the next request among the bytes
/// that hyper has read ahead. A busy client has sent its next request by then, which makes
/// that unnecessary. Not longer than `IDLE_TIMEOUT_DRAINING`, so as not to delay a drain.
const READ_AHEAD_CHECK_DELAY: Duration = IDLE_TIMEOUT_DRAINING;

/// Bytes between two requests that are skipped: a line or two.
const EMPTY_LINE_BYTES_MAX: usize = 4;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Phase {
    /// Waiting for a request.
    Idle,
    /// Reading the head of a request.
    ReadingHead,
    /// Waiting for the rest of a head, with hyper's buffers, which are not needed for that.
    AwaitingHead,
    /// Handling a request; bounded by the handler.
    Handling,
    /// Not handling a request, because too many large ones wait for their answers.
    Refused,
    /// Writing the response.
    WritingResponse,
    /// The response is written. hyper may have read the start of the next request along
    /// with the last one, and shows it only when its connection is taken apart.
    ResponseSent,
}

/// One connection's phase and when it began.
pub struct ConnectionState {
    /// Milliseconds on the server's clock, followed by three bits of `Phase`.
    began: AtomicU64,
    /// The sequence number of its unfinished request; zero if there is none.
    unfinished_number: AtomicU64,
    /// Upper bound on the bytes that are held of the last request.
    request_bytes: AtomicUsize,
    /// How many of these are counted because the request is large.
    large_bytes: AtomicUsize,
    is_shed: AtomicBool,
    has_unread_body: AtomicBool,
    server: Arc<SharedState>,
    wake: Notify,
}

/// What all connections of a server share.
struct SharedState {
    keep_alive_timeout: Duration,
    /// Milliseconds since the server started, as of the last sweep. It avoids a clock read
    /// per phase change.
    now: AtomicU64,
    draining: AtomicBool,
    unfinished: Mutex<UnfinishedRequests>,
}

/// Requests that have arrived in part.
#[derive(Default)]
struct UnfinishedRequests {
    /// Of all unfinished requests, large ones included.
    bytes: usize,
    large_bytes: usize,
    /// By sequence number, so that the oldest comes first.
    by_age: BTreeMap<u64, (usize, Arc<ConnectionState>)>,
    last: u64,
}

impl UnfinishedRequests {
    fn remove(&mut self, number: u64) {
        if let Some((bytes, _)) = self.by_age.remove(&number) {
            self.bytes -= bytes;
        }
    }
}

impl ConnectionState {
    /// Records that the head of a request is complete. Returns whether it may be handled.
    pub fn begin_request(&self) -> bool {
        self.finish_receiving();
        self.has_unread_body.store(false, Ordering::Relaxed);
        let bytes = self.request_bytes();
        let admitted = bytes <= LARGE_REQUEST_BYTES || self.count_large(bytes);
        if admitted {
            self.enter(Phase::Handling);
        } else {
            self.enter(Phase::Refused);
            self.wake.notify_one();
        }
        admitted
    }

    /// Counts the bytes of a large request until its buffer is freed, if there is room.
    fn count_large(&self, bytes: usize) -> bool {
        if self.is_large() {
            // The last request came in the same buffer.
            return true;
        }
        let mut unfinished = lock(&self.server.unfinished);
        let has_room = unfinished.large_bytes + bytes <= LARGE_BYTES_MAX;
        if has_room {
            unfinished.large_bytes += bytes;
            unfinished.bytes += bytes;
            self.large_bytes.store(bytes, Ordering::Relaxed);
        }
        has_room
    }

    /// Records that the buffer of the last request is freed.
    pub fn free_large(&self) {
        let bytes = self.large_bytes.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            let mut unfinished = lock(&self.server.unfinished);
            unfinished.large_bytes -= bytes;
            unfinished.bytes -= bytes;
        }
    }

    fn is_large(&self) -> bool {
        self.large_bytes.load(Ordering::Relaxed) > 0
    }

    /// Records that `bytes` of an unfinished request have arrived. Sheds the oldest ones if
    /// the server holds too many bytes of them.
    fn count_unfinished(self: &Arc<ConnectionState>, bytes: usize) {
        if self.is_shed() {
            return;
        }
        let mut unfinished = lock(&self.server.unfinished);
        let mut number = self.unfinished_number.load(Ordering::Relaxed);
        if number == 0 {
            unfinished.last += 1;
            number = unfinished.last;
            self.unfinished_number.store(number, Ordering::Relaxed);
        }
        unfinished.remove(number);
        unfinished.bytes += bytes;
        unfinished.by_age.insert(number, (bytes, self.clone()));
        while unfinished.bytes > UNFINISHED_BYTES_MAX
            && let Some((_, (bytes, oldest))) = unfinished.by_age.pop_first()
        {
            unfinished.bytes -= bytes;
            oldest.is_shed.store(true, Ordering::Relaxed);
            oldest.wake.notify_one();
        }
    }

    /// Records that the request, as far as it is needed, is complete. From then on it is not
    /// shed.
    pub fn finish_receiving(&self) {
        let number = self.unfinished_number.swap(0, Ordering::Relaxed);
        if number != 0 {
            lock(&self.server.unfinished).remove(number);
            self.is_shed.store(false, Ordering::Relaxed);
        }
    }

    fn request_bytes(&self) -> usize {
        self.request_bytes.load(Ordering::Relaxed)
    }

    fn set_request_bytes(&self, bytes: usize) {
        self.request_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether its unfinished request was shed to make room for others.
    pub fn is_shed(&self) -> bool {
        self.is_shed.load(Ordering::Relaxed)
    }

    /// Records that the body of the last request was not read to its end. What arrives next may be
    /// the rest of it, so it must not be taken for a request.
    pub fn leave_body_unread(&self) {
        self.has_unread_body.store(true, Ordering::Relaxed);
    }

    pub fn has_unread_body(&self) -> bool {
        self.has_unread_body.load(Ordering::Relaxed)
    }

    /// Records that the connection enters `phase` now.
    pub fn enter(&self, phase: Phase) {
        // Only the connection's own task stores; the sweep may see it a little later.
        let now = self.server.now.load(Ordering::Relaxed);
        self.store(now, phase);
    }

    /// Changes the phase, but not when it began.
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
            1 => Phase::ReadingHead,
            2 => Phase::AwaitingHead,
            3 => Phase::Handling,
            4 => Phase::Refused,
            5 => Phase::WritingResponse,
            _ => Phase::ResponseSent,
        }
    }

    /// The current phase, if it has lasted too long.
    fn timed_out_phase(&self) -> Option<Phase> {
        let phase = self.phase();
        let limit = match phase {
            Phase::Idle if self.server.draining.load(Ordering::Relaxed) => IDLE_TIMEOUT_DRAINING,
            Phase::Idle => self.server.keep_alive_timeout,
            Phase::ReadingHead | Phase::Handling if self.is_shed() => return Some(phase),
            Phase::ReadingHead => HEAD_TIMEOUT,
            // Its buffers are freed at once.
            Phase::AwaitingHead => return Some(phase),
            Phase::Handling => return None,
            Phase::Refused => return Some(phase),
            Phase::WritingResponse => RESPONSE_WRITE_TIMEOUT,
            // Its buffer is freed at once.
            Phase::ResponseSent if self.is_large() => return Some(phase),
            Phase::ResponseSent => READ_AHEAD_CHECK_DELAY,
        };
        let now = self.server.now.load(Ordering::Relaxed);
        let lasted = now.saturating_sub(self.began());
        (Duration::from_millis(lasted) > limit).then_some(phase)
    }

    /// Waits until a phase has lasted too long, and returns it.
    pub async fn timed_out(&self) -> Phase {
        loop {
            // The phase may have changed since the sweep.
            if let Some(phase) = self.timed_out_phase() {
                return phase;
            }
            self.wake.notified().await;
        }
    }
}

/// All open connections of a server.
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Arc<ConnectionState>>>,
    next: AtomicU64,
    began: Instant,
    server: Arc<SharedState>,
    gauge: IntGauge,
}

impl Connections {
    /// Starts with none; `gauge` shows how many there are. One that is idle is closed after
    /// `keep_alive_timeout`.
    pub fn new(gauge: IntGauge, keep_alive_timeout: Duration) -> Connections {
        Connections {
            gauge,
            open: Mutex::default(),
            next: AtomicU64::new(0),
            began: Instant::now(),
            server: Arc::new(SharedState {
                keep_alive_timeout,
                now: AtomicU64::new(0),
                draining: AtomicBool::new(false),
                unfinished: Mutex::default(),
            }),
        }
    }

    /// Adds a connection, which is removed when the guard is dropped.
    pub fn open(&self) -> ConnectionGuard<'_> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(ConnectionState {
            began: AtomicU64::new(0),
            unfinished_number: AtomicU64::new(0),
            request_bytes: AtomicUsize::new(0),
            large_bytes: AtomicUsize::new(0),
            is_shed: AtomicBool::new(false),
            has_unread_body: AtomicBool::new(false),
            server: self.server.clone(),
            wake: Notify::new(),
        });
        state.enter(Phase::Idle);
        self.lock().insert(id, state.clone());
        self.gauge.inc();
        ConnectionGuard { id, state, connections: self }
    }

    /// Advances the clock of the connections, and wakes those that have timed out.
    pub fn sweep(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).expect("no server is that old");
        self.server.now.store(now, Ordering::Relaxed);
        for state in self.lock().values() {
            if state.timed_out_phase().is_some() {
                state.wake.notify_one();
            }
        }
    }

    /// From now on each response closes its connection, and idle connections close soon.
    pub fn begin_drain(&self) {
        self.server.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.server.draining.load(Ordering::Relaxed)
    }

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<ConnectionState>>> {
        lock(&self.open)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a connection among the open ones until it is dropped.
pub(super) struct ConnectionGuard<'a> {
    id: u64,
    pub state: Arc<ConnectionState>,
    connections: &'a Connections,
}

impl Drop for ConnectionGuard<'_> {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.id);
        self.state.finish_receiving();
        self.state.free_large();
        self.connections.gauge.dec();
    }
}

/// A TCP stream that records when a request starts and when its response is written.
pub(super) struct TrackedStream {
    stream: TcpStream,
    state: Arc<ConnectionState>,
    /// Bytes to read before those of `stream`.
    read_ahead: Bytes,
    /// Whether these are part of a head of which the rest is still to come.
    awaits_head: bool,
    /// Whether the last read was no more than an empty line, after a response.
    has_empty_line: bool,
    /// Bytes of the last request that are counted as unfinished.
    counted_bytes: usize,
    /// Bytes of the last read. All earlier ones belong to requests that hyper has parsed.
    read_bytes: usize,
    has_responded: bool,
}

impl TrackedStream {
    pub fn new(stream: TcpStream, state: Arc<ConnectionState>) -> TrackedStream {
        TrackedStream {
            stream,
            state,
            read_ahead: Bytes::new(),
            awaits_head: false,
            has_empty_line: false,
            counted_bytes: 0,
            read_bytes: 0,
            has_responded: false,
        }
    }

    /// Takes back `bytes` that hyper read after the last request: the start of the next
    /// request, if any.
    pub fn put_back(&mut self, bytes: Bytes) {
        self.has_empty_line = false;
        self.state.free_large();
        // hyper pauses after some requests, and may not have read all that was put back before.
        let bytes = match self.read_ahead.is_empty() {
            true => bytes,
            false => [bytes, std::mem::take(&mut self.read_ahead)].concat().into(),
        };
        if is_empty_line(&bytes) {
            self.state.correct(Phase::Idle);
            self.state.set_request_bytes(0);
        } else {
            self.state.correct(Phase::ReadingHead);
            self.state.set_request_bytes(bytes.len());
            self.read_bytes = bytes.len();
            self.read_ahead = bytes;
        }
        self.counted_bytes = 0;
    }

    /// Takes back `bytes`, with which hyper waits for the rest of a head.
    pub fn put_back_head(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.has_responded && is_empty_line(bytes) {
            self.put_back(Bytes::new());
            return;
        }
        self.state.free_large();
        if self.has_empty_line {
            // Until now it was idle.
            self.state.enter(Phase::ReadingHead);
        } else {
            self.state.correct(Phase::ReadingHead);
        }
        self.state.set_request_bytes(bytes.len());
        // A copy takes the memory that is needed, and no more.
        self.read_ahead = Bytes::copy_from_slice(bytes);
        self.awaits_head = true;
    }

    /// Waits until there is something to read.
    pub async fn readable(&self) {
        if self.read_ahead.is_empty() || self.awaits_head {
            // The next read reports an error.
            let _ = self.stream.readable().await;
        }
    }

    /// Whether hyper can do nothing until more of a head arrives.
    fn needs_no_hyper(&self) -> bool {
        match self.state.phase() {
            Phase::Idle | Phase::ReadingHead => true,
            Phase::ResponseSent => self.has_empty_line,
            _ => false,
        }
    }

    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

/// Whether `bytes` are what some clients send after a body, which starts no request (RFC 9112,
/// section 2.2). More of them take memory as those of a request do.
fn is_empty_line(bytes: &[u8]) -> bool {
    bytes.len() <= EMPTY_LINE_BYTES_MAX && bytes.iter().all(|byte| b"\r\n".contains(byte))
}

impl AsyncRead for TrackedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let began = buffer.filled().len();
        if !self.read_ahead.is_empty() {
            let length = self.read_ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.read_ahead.split_to(length));
            if !self.read_ahead.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // An empty slice would keep the whole buffer allocated.
            self.read_ahead = Bytes::new();
            // The rest of a head goes into the same buffer: hyper makes a larger one after each read
            // that does not complete a head.
            if !std::mem::take(&mut self.awaits_head) || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        // hyper reads on in these phases only if the head or the body is incomplete.
        let request_bytes = self.state.request_bytes();
        if matches!(self.state.phase(), Phase::ReadingHead | Phase::AwaitingHead | Phase::Handling)
            && request_bytes != self.counted_bytes
        {
            self.counted_bytes = request_bytes;
            self.state.count_unfinished(request_bytes);
        }
        let filled = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if filled > began
            && (!matches!(polled, Poll::Ready(Ok(()))) || buffer.filled().len() == filled)
        {
            // What ends the stream is seen by the next read.
            return Poll::Ready(Ok(()));
        }
        if polled.is_pending() && self.needs_no_hyper() {
            self.state.correct(Phase::AwaitingHead);
            self.state.wake.notify_one();
        }
        ready!(polled)?;
        let read = buffer.filled().len() - filled;
        let phase = self.state.phase();
        let is_between = matches!(phase, Phase::Idle | Phase::ResponseSent);
        self.has_empty_line =
            is_between && self.has_responded && is_empty_line(&buffer.filled()[filled..]);
        match phase {
            Phase::ReadingHead | Phase::Handling => {
                self.state.set_request_bytes(request_bytes + read);
            }
            Phase::AwaitingHead => {
                self.state.set_request_bytes(request_bytes + read);
                self.state.correct(Phase::ReadingHead);
            }
            Phase::Idle | Phase::ResponseSent if self.has_empty_line => {}
            Phase::Idle | Phase::ResponseSent => {
                self.state.set_request_bytes(request_bytes + read);
                self.state.enter(Phase::ReadingHead);
            }
            Phase::Refused | Phase::WritingResponse => {}
        }
        self.read_bytes = read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TrackedStream {
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
        // hyper flushes when it has handed the whole response to the kernel.
        if self.state.phase() == Phase::WritingResponse {
            self.state.enter(Phase::ResponseSent);
            self.has_responded = true;
            // A next request may have begun in the last read.
            self.state.set_request_bytes(self.read_bytes);
            self.counted_bytes = 0;
            if self.state.is_large() {
                self.state.wake.notify_one();
            }
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
        let gauge = IntGauge::new("connections", "Open connections.").unwrap();
        Connections::new(gauge, 600 * SECOND)
    }

    /// The clock of connections counts these.
    const MILLISECOND: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_phase_times_out_right_after_its_limit() {
        let cases = [
            (Phase::Idle, false, Some(600 * SECOND)),
            (Phase::Idle, true, Some(SECOND)),
            (Phase::ReadingHead, false, Some(10 * SECOND)),
            (Phase::ReadingHead, true, Some(10 * SECOND)),
            (Phase::Handling, false, None),
            (Phase::Handling, true, None),
            (Phase::WritingResponse, false, Some(10 * SECOND)),
            (Phase::WritingResponse, true, Some(10 * SECOND)),
            (Phase::ResponseSent, false, Some(SECOND)),
            (Phase::ResponseSent, true, Some(SECOND)),
        ];
        for (phase, is_draining, limit) in cases {
            let connections = connections();
            if is_draining {
                connections.begin_drain();
            }
            let guard = connections.open();
            guard.state.enter(phase);
            let mut timed_out = guard.state.timed_out().boxed();
            advance(limit.unwrap_or(1000 * SECOND)).await;
            connections.sweep();
            assert_eq!(timed_out.as_mut().now_or_never(), None, "{phase:?} at {limit:?}");
            advance(MILLISECOND).await;
            connections.sweep();
            let expected = limit.map(|_| phase);
            assert_eq!(timed_out.as_mut().now_or_never(), expected, "{phase:?} after {limit:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_phase_starts_with_its_full_time() {
        let connections = connections();
        let guard = connections.open();
        let mut timed_out = guard.state.timed_out().boxed();
        for phase in
            [Phase::ReadingHead, Phase::WritingResponse, Phase::ResponseSent, Phase::ReadingHead]
        {
            guard.state.enter(phase);
            advance(if phase == Phase::ResponseSent {
                READ_AHEAD_CHECK_DELAY
            } else {
                HEAD_TIMEOUT
            })
            .await;
            connections.sweep();
            assert_eq!(timed_out.as_mut().now_or_never(), None, "{phase:?}");
        }
    }
}
