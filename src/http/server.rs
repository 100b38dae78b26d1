//! The server loop: accepts connections, keeps every client to its limits, and
//! ends without losing a request.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::connection::{Connections, HEAD_MAX, Paced, Phase};
use super::{Handler, Problem, Request, Response};
use crate::metrics::ListenerMetrics;

pub use crate::listener::Listener;

/// Public connections at once, where that many files may be open. A balancer
/// needs a few hundred; at about 11 KiB for an idle one, this many stay below
/// 128 MiB.
pub const CONNECTIONS_MAX: usize = 10_000;

/// Admin connections at once: probes and a few scrapers.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Bytes of a request line and its headers. The longest name takes a few
/// hundred; the rest is for the headers that proxies add.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How often connections are looked at for being too slow.
const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// How long to wait when no connection can be accepted, most likely for want of
/// file descriptors, which only closing connections give back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a client may take to close after us. Closing before it has read the
/// answer would destroy that answer (RFC 9112, section 9.6).
const LINGER_MAX: Duration = Duration::from_secs(2);

/// Bytes thrown away meanwhile.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// How a listener is served.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; the next waits to be accepted.
    pub connections_max: usize,
    /// How long a connection may wait for its next request.
    pub keep_alive_timeout: Duration,
    /// How long requests under way may take to finish.
    pub drain_timeout: Duration,
}

/// Serves `listener` until `stop`, then answers what is under way, for as long
/// as the limits allow. Returns how many connections were still open by then.
pub async fn serve(
    listener: Listener,
    handler: impl Handler,
    metrics: ListenerMetrics,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> usize {
    let server = Arc::new(Server {
        handler,
        metrics,
        connections: Connections::new(limits.keep_alive_timeout),
        free: Arc::new(Semaphore::new(limits.connections_max)),
    });
    tokio::select! {
        never = server.accept_all(&listener.socket) => match never {},
        never = server.sweep() => match never {},
        () = stop => {}
    }
    server.connections.start_closing();
    if !listener.inherited {
        server.accept_backlog(listener.socket);
    }
    let all = u32::try_from(limits.connections_max).expect("the limit is small");
    tokio::select! {
        never = server.sweep() => match never {},
        // Elapsing means that some are left, which the count tells.
        _ = timeout(limits.drain_timeout, server.free.acquire_many(all)) => {}
    }
    server.connections.count()
}

struct Server<H> {
    handler: H,
    metrics: ListenerMetrics,
    connections: Connections,
    free: Arc<Semaphore>,
}

impl<H: Handler> Server<H> {
    async fn sweep(&self) -> Infallible {
        loop {
            sleep(SWEEP_EVERY).await;
            self.connections.sweep();
        }
    }

    async fn accept_all(self: &Arc<Self>, socket: &TcpListener) -> Infallible {
        let mut failing = false;
        loop {
            let place = self.free.clone().acquire_owned().await;
            let place = place.expect("the semaphore is never closed");
            match socket.accept().await {
                Ok((stream, _)) => {
                    failing = false;
                    self.start(stream, place);
                }
                Err(error) => {
                    self.metrics.accept_errors.inc();
                    if is_about_one_peer(&error) {
                        continue;
                    }
                    if !failing {
                        tracing::warn!(%error, "cannot accept connections");
                    }
                    failing = true;
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Accepts the connections that the kernel has already made, and closes the socket,
    /// which would reset them. Asks the kernel itself, since Tokio may not know of them yet.
    fn accept_backlog(self: &Arc<Self>, socket: TcpListener) {
        // It fails only where the socket is not registered, which it is.
        let Ok(socket) = socket.into_std() else { return };
        while let Ok(place) = self.free.clone().try_acquire_owned() {
            let accepted = socket.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                TcpStream::from_std(stream)
            });
            match accepted {
                Ok(stream) => self.start(stream, place),
                Err(error) if is_about_one_peer(&error) => {}
                // There are no more, or no more can be accepted.
                Err(_) => return,
            }
        }
    }

    fn start(self: &Arc<Self>, stream: TcpStream, place: OwnedSemaphorePermit) {
        // Without it, an answer may wait for the acknowledgement of the last one.
        // A connection that is gone already says so when it is read.
        let _ = stream.set_nodelay(true);
        let server = self.clone();
        tokio::spawn(async move {
            server.metrics.connections.inc();
            server.serve_connection(stream).await;
            server.metrics.connections.dec();
            drop(place);
        });
    }

    /// Serves one client until it, or we, want no more of it.
    async fn serve_connection(self: &Arc<Self>, stream: TcpStream) {
        let open = self.connections.open();
        let service = service_fn(|request| {
            let server = self.clone();
            let pace = open.pace.clone();
            // Boxed, so that an idle connection does not keep room for it.
            Box::pin(async move {
                pace.enter(Phase::Handling);
                let response = server.answer(request).await;
                pace.enter(Phase::Answer);
                Ok::<_, Infallible>(response)
            }) as Pin<Box<dyn Future<Output = _> + Send>>
        });
        let mut connection = http1::Builder::new()
            // A client may close its sending side and still wait for the answer.
            .half_close(true)
            .max_buf_size(HEAD_BYTES_MAX)
            // Ours cover more, and answer 408.
            .header_read_timeout(None)
            .serve_connection(Paced::new(stream, open.pace.clone()), service);
        let overdue = tokio::select! {
            biased;
            // The error is the client's, and was answered where it could be.
            _ = poll_fn(|context| connection.poll_without_shutdown(context)) => None,
            phase = open.pace.overdue() => Some(phase),
        };
        let stream = connection.into_parts().io.into_stream();
        match overdue {
            None => linger(stream).await,
            Some(Phase::Head) => {
                self.metrics.slow_heads.inc();
                send_too_slow(stream).await;
            }
            Some(Phase::Answer) => self.metrics.slow_answers.inc(),
            Some(Phase::Idle | Phase::Handling) => {}
        }
    }

    /// Answers a request, whatever becomes of the handler.
    fn answer(&self, request: Request) -> impl Future<Output = Response> {
        // No async block: it would keep room for the handler's future twice.
        let answer = AssertUnwindSafe(self.handler.handle(request)).catch_unwind();
        answer.map(|answer| {
            let mut response = answer.unwrap_or_else(|_| {
                self.metrics.panics.inc();
                Problem::bug().into()
            });
            if self.connections.are_closing() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        })
    }
}

/// Whether an error of accept(2) is about the connection that was to be accepted: Linux
/// reports what happened to it in the meantime ("Error handling" there). Others are not
/// concerned, so they need not wait.
fn is_about_one_peer(error: &std::io::Error) -> bool {
    const ABOUT_ONE_PEER: [Errno; 11] = [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::PERM,
        Errno::PROTO,
        Errno::NETDOWN,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETUNREACH,
    ];
    Errno::from_io_error(error).is_some_and(|error| ABOUT_ONE_PEER.contains(&error))
}

/// Tells a client that its request's head took too long.
async fn send_too_slow(mut stream: TcpStream) {
    let body = Problem::too_slow("head of the request", HEAD_MAX.as_secs()).body();
    let mut answer = format!(
        "HTTP/1.1 408 Request Timeout\r\n\
         content-type: application/problem+json\r\n\
         content-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend(body);
    // Nothing was sent before, so there is room for it; a client that is gone
    // misses nothing.
    let _ = timeout(LINGER_MAX, stream.write_all(&answer)).await;
    linger(stream).await;
}

/// Closes a connection so that the client can still read the last answer.
async fn linger(mut stream: TcpStream) {
    let closed = async {
        stream.shutdown().await?;
        let mut thrown_away = 0;
        while thrown_away < LINGER_BYTES_MAX {
            stream.readable().await?;
            // Not held while waiting, so that connections stay small.
            match stream.try_read(&mut [0; 4096]) {
                Ok(0) => break,
                Ok(bytes) => thrown_away += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    // However it ends, it is over.
    let _: Result<std::io::Result<()>, _> = timeout(LINGER_MAX, closed).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aborted_connection_is_about_one_peer_and_a_lack_of_files_about_all() {
        let cases = [
            (Errno::CONNABORTED, true),
            (Errno::PROTO, true),
            (Errno::MFILE, false),
            (Errno::NFILE, false),
            (Errno::NOBUFS, false),
            (Errno::NOMEM, false),
        ];
        for (error, expected) in cases {
            assert_eq!(is_about_one_peer(&error.into()), expected, "{error}");
        }
    }
}
