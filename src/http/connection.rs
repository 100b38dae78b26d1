//! What a connection is doing, and since when, so that those that take too
//! long can be cut off.
//!
//! One sweep looks at all connections a few times a second. That costs a busy
//! connection one store of a number where a timer of its own would be set and
//! cleared for every request.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a connection may be idle once the server is closing: long enough for the
/// request that a busy client is about to send, which is then answered with
/// `Connection: close`.
pub const IDLE_MAX_CLOSING: Duration = Duration::from_secs(1);

/// How long a request's head may take from its first byte.
pub const HEAD_MAX: Duration = Duration::from_secs(10);

/// How long an answer may wait for the client to take it.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);

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
}

/// One connection's phase and when it began.
pub(super) struct Pace {
    /// Milliseconds on the server's clock, then two bits of `Phase`.
    began: AtomicU64,
    server: Arc<ServerState>,
    overdue: Notify,
}

/// What all connections of a server share.
struct ServerState {
    keep_alive_timeout: Duration,
    /// Milliseconds since the server began, as of the last sweep: reading a real
    /// clock a few times per request would cost more than all else here.
    now: AtomicU64,
    closing: AtomicBool,
}

impl Pace {
    /// Notes that the connection does something else from now on.
    pub fn enter(&self, phase: Phase) {
        // Only the connection's own task writes; the sweep may read a little late.
        let now = self.server.now.load(Ordering::Relaxed);
        self.began.store(now << 2 | phase as u64, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        match self.began.load(Ordering::Relaxed) & 3 {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Handling,
            _ => Phase::Answer,
        }
    }

    /// The phase that lasts longer than it may.
    fn overdue_phase(&self) -> Option<Phase> {
        let phase = self.phase();
        let limit = match phase {
            Phase::Idle if self.server.closing.load(Ordering::Relaxed) => IDLE_MAX_CLOSING,
            Phase::Idle => self.server.keep_alive_timeout,
            Phase::Head => HEAD_MAX,
            Phase::Handling => return None,
            Phase::Answer => ANSWER_MAX,
        };
        let now = self.server.now.load(Ordering::Relaxed);
        let lasted = now.saturating_sub(self.began.load(Ordering::Relaxed) >> 2);
        (Duration::from_millis(lasted) > limit).then_some(phase)
    }

    /// Waits until a phase lasts longer than it may.
    pub async fn overdue(&self) -> Phase {
        loop {
            self.overdue.notified().await;
            // It may have moved on since the sweep.
            if let Some(phase) = self.overdue_phase() {
                return phase;
            }
        }
    }
}

/// All open connections of a server.
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Arc<Pace>>>,
    next: AtomicU64,
    began: Instant,
    server: Arc<ServerState>,
}

impl Connections {
    /// An idle connection is closed after `keep_alive_timeout`.
    pub fn new(keep_alive_timeout: Duration) -> Connections {
        let server = ServerState {
            keep_alive_timeout,
            now: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        };
        Connections {
            open: Mutex::default(),
            next: AtomicU64::new(0),
            began: Instant::now(),
            server: Arc::new(server),
        }
    }

    /// Adds a connection, which is removed when what is returned is dropped.
    pub fn open(&self) -> Open<'_> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let pace = Arc::new(Pace {
            began: AtomicU64::new(0),
            server: self.server.clone(),
            overdue: Notify::new(),
        });
        pace.enter(Phase::Idle);
        self.lock().insert(id, pace.clone());
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
        // Nothing panics while it holds the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    }
}

/// A stream that notes when a request begins and when its answer is sent.
pub(super) struct Paced {
    stream: TokioIo<TcpStream>,
    pace: Arc<Pace>,
}

impl Paced {
    pub fn new(stream: TcpStream, pace: Arc<Pace>) -> Paced {
        Paced { stream: TokioIo::new(stream), pace }
    }

    pub fn into_stream(self) -> TcpStream {
        self.stream.into_inner()
    }
}

impl Read for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if self.pace.phase() == Phase::Idle {
            self.pace.enter(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Paced {
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
        slices: &[std::io::IoSlice<'_>],
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
            self.pace.enter(Phase::Idle);
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

    /// The clock of connections counts these.
    const MILLISECOND: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_phase_is_overdue_right_after_its_limit() {
        let cases = [
            (Phase::Idle, false, Some(600 * SECOND)),
            (Phase::Idle, true, Some(SECOND)),
            (Phase::Head, false, Some(10 * SECOND)),
            (Phase::Head, true, Some(10 * SECOND)),
            (Phase::Handling, false, None),
            (Phase::Handling, true, None),
            (Phase::Answer, false, Some(10 * SECOND)),
            (Phase::Answer, true, Some(10 * SECOND)),
        ];
        for (phase, is_closing, limit) in cases {
            let connections = Connections::new(600 * SECOND);
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
        let connections = Connections::new(600 * SECOND);
        let open = connections.open();
        let mut overdue = open.pace.overdue().boxed();
        for phase in [Phase::Head, Phase::Answer, Phase::Idle, Phase::Head] {
            open.pace.enter(phase);
            advance(HEAD_MAX).await;
            connections.sweep();
            assert_eq!(overdue.as_mut().now_or_never(), None, "{phase:?}");
        }
    }
}
