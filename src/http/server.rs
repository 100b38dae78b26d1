//! The server loop: accepts connections, enforces limits on every client, and drains
//! without losing a request.

use std::convert::Infallible;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use hyper::Method;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::connection::{ConnectionState, Connections, HEAD_TIMEOUT, Phase, TrackedStream};
use super::{Handler, Problem, Request, RequestBody, Response};
use crate::metrics::ListenerMetrics;

pub use crate::listener::Listener;

/// Public connections at once, if that many files may be open. A balancer needs a few
/// hundred; at about 11 KiB for an idle one, this many stay below 128 MiB.
pub const CONNECTIONS_MAX: usize = 10_000;

/// Admin connections at once: probes and a few scrapers.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Bytes of a request line and its headers. The longest name takes a few
/// hundred; the rest is for the headers that proxies add.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Headers of a request. Clients send a dozen; proxies in front add some to each.
pub const HEADERS_MAX: usize = 128;

/// The response to a client that speaks HTTP/2 without negotiation: frames that refuse it with
/// an error that the client can show (RFC 9113, sections 6.5, 6.8 and 7).
const HTTP2_REFUSAL: &[u8] = b"\
    \0\0\0\x04\0\0\0\0\0\
    \0\0\x22\x07\0\0\0\0\0\
    \0\0\0\0\0\0\0\x0d\
    use HTTP/1.1 on this port.";

/// How often connections are checked for timeouts.
const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// How long to wait when no connection can be accepted, most likely because there are no
/// file descriptors left until other connections close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a client may take to close after the server has closed its side. Closing both
/// before the client has read the response would destroy it (RFC 9112, section 9.6).
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes read and discarded meanwhile.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// How a listener is served.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Connections at once; the next waits to be accepted.
    pub connections_max: usize,
    /// How long a connection may wait for its next request.
    pub keep_alive_timeout: Duration,
    /// How long requests in flight may take to finish.
    pub drain_timeout: Duration,
}

/// Serves `listener` until `stop`, then drains for up to `drain_timeout`. Returns how many
/// connections were still open after that.
pub async fn serve(
    listener: Listener,
    handler: impl Handler,
    metrics: ListenerMetrics,
    limits: ServerLimits,
    stop: impl Future<Output = ()>,
) -> usize {
    let server = Arc::new(Server::new(handler, metrics, limits));
    tokio::select! {
        never = server.accept_all(&listener.socket) => match never {},
        never = server.sweep() => match never {},
        () = stop => {}
    }
    server.connections.begin_drain();
    if !listener.inherited {
        server.accept_backlog(listener.socket);
    }
    let all = u32::try_from(limits.connections_max).expect("the limit is small");
    tokio::select! {
        never = server.sweep() => match never {},
        // If it elapses, the count below says how many are left.
        _ = timeout(limits.drain_timeout, server.permits.acquire_many(all)) => {}
    }
    server.connections.count()
}

struct Server<H> {
    handler: H,
    metrics: ListenerMetrics,
    connections: Connections,
    permits: Arc<Semaphore>,
    http: http1::Builder,
}

impl<H: Handler> Server<H> {
    fn new(handler: H, metrics: ListenerMetrics, limits: ServerLimits) -> Server<H> {
        let mut http = http1::Builder::new();
        // A client may close its sending side and still wait for the response.
        http.half_close(true)
            .max_buf_size(HEAD_BYTES_MAX)
            // The buffer holds more than that after pipelined requests.
            .max_header_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            // `ConnectionState` bounds more than that, and answers 408.
            .header_read_timeout(None);
        Server {
            handler,
            connections: Connections::new(metrics.connections.clone(), limits.keep_alive_timeout),
            metrics,
            permits: Arc::new(Semaphore::new(limits.connections_max)),
            http,
        }
    }

    async fn sweep(&self) -> Infallible {
        loop {
            sleep(SWEEP_EVERY).await;
            self.connections.sweep();
        }
    }

    async fn accept_all(self: &Arc<Self>, socket: &TcpListener) -> Infallible {
        let mut failing = false;
        loop {
            let permit = self.permits.clone().acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            match socket.accept().await {
                Ok((stream, _)) => {
                    failing = false;
                    self.start(stream, permit);
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
        while let Ok(permit) = self.permits.clone().try_acquire_owned() {
            let accepted = socket.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                TcpStream::from_std(stream)
            });
            match accepted {
                Ok(stream) => self.start(stream, permit),
                Err(error) if is_about_one_peer(&error) => {}
                // There are no more, or no more can be accepted.
                Err(_) => return,
            }
        }
    }

    fn start(self: &Arc<Self>, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // With Nagle's algorithm a response may wait for the acknowledgement of the last
        // one. If this fails the connection is gone, which the next read reports.
        let _ = stream.set_nodelay(true);
        let server = self.clone();
        tokio::spawn(async move {
            server.serve_connection(stream).await;
            drop(permit);
        });
    }

    /// Serves a connection until it ends or times out.
    async fn serve_connection(self: &Arc<Self>, stream: TcpStream) {
        let guard = self.connections.open();
        let state = &guard.state;
        let is_head = AtomicBool::new(false);
        let service = |request: hyper::Request<Incoming>| {
            let is_admitted = state.begin_request();
            is_head.store(request.method() == Method::HEAD, Ordering::Relaxed);
            let request = request.map(|body| RequestBody::new(body, state));
            async move {
                if !is_admitted {
                    // The connection ends instead.
                    pending::<()>().await;
                }
                let response = self.answer(request, state).await;
                state.enter(Phase::WritingResponse);
                Ok::<_, Infallible>(response)
            }
        };
        let mut stream = TrackedStream::new(stream, guard.state.clone());
        let mut is_http2 = false;
        let timed_out = loop {
            // An idle connection does without hyper, whose buffers take 8 KiB.
            let timed_out = tokio::select! {
                biased;
                () = stream.readable() => None,
                phase = guard.state.timed_out() => Some(phase),
            };
            if timed_out.is_some() {
                break timed_out;
            }
            let mut connection =
                self.http.serve_connection(TokioIo::new(stream), service_fn(&service));
            let timed_out = tokio::select! {
                biased;
                // hyper has already responded to other protocol errors.
                served = &mut connection => {
                    is_http2 = served.is_err_and(|error| error.is_parse_version_h2());
                    None
                }
                phase = guard.state.timed_out() => Some(phase),
            };
            let parts = connection.into_parts();
            stream = parts.io.into_inner();
            // Nothing is in flight in these phases, so a new hyper connection can continue from
            // here. The old one's buffers are freed.
            match timed_out {
                Some(Phase::AwaitingHead) => stream.put_back_head(&parts.read_buf),
                Some(Phase::ResponseSent) if !guard.state.has_unread_body() => {
                    stream.put_back(parts.read_buf);
                }
                _ => break timed_out,
            }
        };
        let stream = stream.into_stream();
        let is_shed = guard.state.is_shed();
        guard.state.finish_receiving();
        guard.state.free_large();
        match timed_out {
            None if is_http2 => send_last(stream, HTTP2_REFUSAL).await,
            None | Some(Phase::ResponseSent) => linger(stream).await,
            // A request that is being handled is shed while its body is incomplete.
            Some(
                phase @ (Phase::ReadingHead
                | Phase::AwaitingHead
                | Phase::Handling
                | Phase::Refused),
            ) => {
                let problem = if phase == Phase::Refused {
                    self.metrics.shed_requests.inc();
                    Problem::too_many_large_requests()
                } else if is_shed {
                    self.metrics.shed_requests.inc();
                    Problem::request_shed()
                } else {
                    self.metrics.timed_out_heads.inc();
                    Problem::request_timeout("head of the request", HEAD_TIMEOUT.as_secs())
                };
                // Until its head is complete, it is that of the request before.
                let is_complete = matches!(phase, Phase::Handling | Phase::Refused);
                let response = match is_complete && is_head.into_inner() {
                    true => problem.head(),
                    false => problem.to_bytes(),
                };
                send_last(stream, &response).await;
            }
            Some(Phase::WritingResponse) => self.metrics.timed_out_responses.inc(),
            Some(Phase::Idle) => {}
        }
    }

    /// Calls the handler, and answers 500 if it panics. Adds `Connection: close` if no other
    /// request can follow on the connection.
    fn answer(
        &self,
        request: Request,
        connection: &ConnectionState,
    ) -> impl Future<Output = Response> {
        // No async block: it would reserve memory for the handler's future twice.
        let answer = AssertUnwindSafe(self.handler.handle(request)).catch_unwind();
        answer.map(|answer| {
            let mut response = answer.unwrap_or_else(|_| {
                self.metrics.panics.inc();
                Problem::internal_error().into()
            });
            if self.connections.is_draining() || connection.has_unread_body() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        })
    }
}

/// Whether an error of accept(2) concerns only the connection to accept: Linux reports its
/// pending network errors there ("Error handling" in the manual page). Other connections
/// need not wait.
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

/// Sends a response without hyper, then closes the connection.
async fn send_last(mut stream: TcpStream, response: &[u8]) {
    // The client has received all earlier responses, so the kernel has room for this one. An error
    // means that the client has closed the connection.
    let _ = timeout(LINGER_TIMEOUT, stream.write_all(response)).await;
    linger(stream).await;
}

/// Closes a connection so that the client can still read the last response.
async fn linger(mut stream: TcpStream) {
    let closed = async {
        stream.shutdown().await?;
        let mut discarded = 0;
        while discarded < LINGER_BYTES_MAX {
            stream.readable().await?;
            // The buffer is not held while waiting, which keeps connections small.
            match stream.try_read(&mut [0; 4096]) {
                Ok(0) => break,
                Ok(bytes) => discarded += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    // Whatever the outcome, the connection is closed now.
    let _: Result<std::io::Result<()>, _> = timeout(LINGER_TIMEOUT, closed).await;
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use rustix::process::{Resource, getrlimit, setrlimit};
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::super::connection::{LARGE_BYTES_MAX, UNFINISHED_BYTES_MAX};
    use super::*;
    use crate::metrics::Metrics;

    const SECOND: Duration = Duration::from_secs(1);

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const PUT: &str = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345";
    const CHUNKED: &str = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\n12345\r\n0\r\n\r\n";

    /// Reads a request's body to its end, and answers 200; a second later, if the path is
    /// `/slow`.
    struct Reading;

    impl Handler for Reading {
        async fn handle(&self, request: Request) -> Response {
            let (head, body) = request.into_parts();
            body.collect().await.expect("a whole body");
            if head.uri.path() == "/slow" {
                sleep(SECOND).await;
            }
            Response::new(Full::new(Bytes::from_static(b"read")))
        }
    }

    /// Answers once it has permits.
    struct Waiting(Semaphore);

    impl Handler for Waiting {
        async fn handle(&self, _: Request) -> Response {
            let _permit = self.0.acquire().await.expect("it is never closed");
            Response::new(Full::new(Bytes::from_static(b"read")))
        }
    }

    /// Panics outside of the future that is guarded, as a bug in hyper would.
    struct Panicking;

    impl Handler for Panicking {
        fn handle(&self, request: Request) -> impl Future<Output = Response> + Send {
            assert_ne!(request.uri().path(), "/", "met as intended");
            async { Response::default() }
        }
    }

    fn server<H: Handler>(handler: H) -> Arc<Server<H>> {
        let limits = ServerLimits {
            connections_max: 4000,
            keep_alive_timeout: 75 * SECOND,
            drain_timeout: Duration::ZERO,
        };
        let server = Server::new(handler, Metrics::new().listener("public"), limits);
        let server = Arc::new(server);
        let sweeping = server.clone();
        tokio::spawn(async move { sweeping.sweep().await });
        server
    }

    /// The client's end of a connection. It is a pair of Unix sockets: bytes arrive as soon
    /// as they are written, so the stopped clock cannot run ahead of them.
    fn connect<H: Handler>(server: &Arc<Server<H>>) -> UnixStream {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let theirs = std::net::TcpStream::from(OwnedFd::from(theirs));
        let permit = server.permits.clone().try_acquire_owned().unwrap();
        server.start(TcpStream::from_std(theirs).unwrap(), permit);
        ours.set_nonblocking(true).unwrap();
        UnixStream::from_std(ours).unwrap()
    }

    async fn send(client: &mut UnixStream, bytes: &str) {
        client.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Reads `count` answers of `Reading`.
    async fn expect_answers(client: &mut UnixStream, count: usize) {
        let mut answers = String::new();
        while answers.matches("\r\n\r\nread").count() < count {
            let mut bytes = [0; 1024];
            let length = client.read(&mut bytes).await.unwrap();
            answers += str::from_utf8(&bytes[..length]).unwrap();
            assert_ne!(length, 0, "closed after {answers:?}");
        }
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), count, "{answers}");
    }

    #[tokio::test]
    async fn a_long_head_is_refused_after_other_requests_too() {
        let server = server(Reading);
        let get = |bytes: usize| {
            let padding = bytes - "GET / HTTP/1.1\r\nX: \r\nHost: a\r\n\r\n".len();
            format!("GET / HTTP/1.1\r\nX: {}\r\nHost: a\r\n\r\n", "x".repeat(padding))
        };
        for before in [1, 3, 9] {
            for (bytes, is_answered) in [(HEAD_BYTES_MAX - 1, true), (HEAD_BYTES_MAX + 1, false)] {
                let mut client = connect(&server);
                send(&mut client, &format!("{}{}", get(4096).repeat(before), get(bytes))).await;
                client.shutdown().await.unwrap();
                let answers = read_to_end(&mut client).await;
                let answered = before + usize::from(is_answered);
                assert_eq!(answers.matches(" 200 OK\r\n").count(), answered, "{answers}");
                assert_eq!(answers.contains("HTTP/1.1 431 "), !is_answered, "{answers}");
            }
        }
    }

    /// Everything that arrives until the server closes.
    async fn read_to_end(client: &mut UnixStream) -> String {
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        answers
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipelined_partial_head_times_out_after_10_s() {
        let server = server(Reading);
        for request in [GET, PUT, CHUNKED] {
            for start in ["G", "\r\nGET / HT", &GET[..GET.len() - 1], &PUT[..30]] {
                let mut client = connect(&server);
                let began = Instant::now();
                send(&mut client, &format!("{request}{start}")).await;
                expect_answers(&mut client, 1).await;
                let end = read_to_end(&mut client).await;
                assert!(end.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{start:?}: {end:?}");
                let elapsed = began.elapsed();
                assert!(elapsed > HEAD_TIMEOUT && elapsed < HEAD_TIMEOUT + SECOND, "{elapsed:?}");
            }
        }
        assert_eq!(server.metrics.timed_out_heads.get(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipelined_head_may_take_10_s() {
        for is_draining in [false, true] {
            let server = server(Reading);
            let mut client = connect(&server);
            send(&mut client, &format!("{PUT}{}", &GET[..20])).await;
            expect_answers(&mut client, 1).await;
            if is_draining {
                server.connections.begin_drain();
            }
            sleep(9 * SECOND).await;
            send(&mut client, &GET[20..]).await;
            expect_answers(&mut client, 1).await;
            if is_draining {
                assert_eq!(read_to_end(&mut client).await, "");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_after_complete_requests_for_the_keep_alive_timeout() {
        let cases: &[(&[&str], usize)] = &[
            (&[GET], 1),
            (&["GET / HT", "TP/1.1\r\nHost: a\r\n", "\r\n"], 1),
            (&[GET, GET, GET], 3),
            (&[&GET.repeat(40)], 40),
            (&[&format!("{GET}{PUT}{CHUNKED}{GET}{}", &PUT[..40]), &PUT[40..]], 5),
            (&[PUT], 1),
            (&[&PUT[..PUT.len() - 5], "12", "345"], 1),
            (&[&PUT[..PUT.len() - 3], "345"], 1),
            (&[CHUNKED], 1),
            (&[&CHUNKED[..56], &CHUNKED[56..60], &CHUNKED[60..66], &CHUNKED[66..]], 1),
            (&[&format!("{}X: y\r\n\r\n", &CHUNKED[..CHUNKED.len() - 2])], 1),
            // As some clients do (RFC 9112, section 2.2).
            (&[&format!("{PUT}\r\n")], 1),
            (&[PUT, "\r\n"], 1),
        ];
        let server = server(Reading);
        for (pieces, count) in cases {
            let mut client = connect(&server);
            for piece in *pieces {
                send(&mut client, piece).await;
                // The clock advances once every task waits, so each piece is read alone.
                sleep(Duration::from_millis(1)).await;
            }
            expect_answers(&mut client, *count).await;
            sleep(74 * SECOND).await;
            send(&mut client, GET).await;
            expect_answers(&mut client, 1).await;
            let began = Instant::now();
            assert_eq!(read_to_end(&mut client).await, "", "{pieces:?}");
            let elapsed = began.elapsed();
            assert!(elapsed > 75 * SECOND && elapsed < 76 * SECOND, "{elapsed:?}: {pieces:?}");
        }
        assert_eq!(server.metrics.timed_out_heads.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn pipelined_requests_are_answered_however_many_there_are() {
        let large = GET.replace("Host", &format!("X: {}\r\nHost", "x".repeat(12 * 1024)));
        let cases = [
            (GET.repeat(1000), 1000),
            (PUT.repeat(1000), 1000),
            (CHUNKED.repeat(1000), 1000),
            (format!("{large}{}", PUT.repeat(1000)), 1001),
            (format!("{}{large}", PUT.repeat(17)).repeat(20), 18 * 20),
        ];
        for (requests, count) in cases {
            let server = server(Reading);
            let mut client = connect(&server);
            let start = &requests[..100];
            let sent = async {
                send(&mut client, &requests).await;
                expect_answers(&mut client, count).await;
            };
            timeout(SECOND, sent).await.unwrap_or_else(|_| panic!("{count} of {start:?}"));
            client.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut client).await, "", "{start:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_arrive_in_any_pieces_after_the_last_answer() {
        for large in [0, 12 * 1024] {
            let put = PUT.replace("Host", &format!("X: {}\r\nHost", "x".repeat(large)));
            let body = put.find("\r\n\r\n").unwrap() + 4;
            for first in [1, body / 2, body - 4, body - 2, body - 1] {
                for second in [body - 1, body, body + 1] {
                    let server = server(Reading);
                    let mut client = connect(&server);
                    // The first piece comes along with the request before.
                    let start = format!("{GET}{}", &put[..first]);
                    let second = second.max(first + 1);
                    for piece in [&start, &put[first..second], &put[second..]] {
                        send(&mut client, piece).await;
                        sleep(Duration::from_millis(1)).await;
                    }
                    expect_answers(&mut client, 2).await;
                    client.shutdown().await.unwrap();
                    assert_eq!(read_to_end(&mut client).await, "", "{first}, {second}");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_bytes_of_one_request_are_counted() {
        const BODY_BYTES: usize = 8000;
        let server = server(Reading);
        let mut client = connect(&server);
        let body = "x".repeat(BODY_BYTES);
        let put =
            format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_BYTES}\r\n\r\n{body}");
        let (start, rest) = put.split_at(put.len() / 2);
        send(&mut client, start).await;
        for _ in 0..UNFINISHED_BYTES_MAX / put.len() + 1 {
            // The end of a body arrives with the next head.
            send(&mut client, &format!("{rest}{start}")).await;
            expect_answers(&mut client, 1).await;
        }
        assert_eq!(server.metrics.shed_requests.get(), 0);
    }

    fn allow_many_files() {
        let mut files = getrlimit(Resource::Nofile);
        files.current = files.maximum;
        setrlimit(Resource::Nofile, files).unwrap();
    }

    /// Sends `start` on so many connections, one after the other.
    async fn send_starts<H: Handler>(
        server: &Arc<Server<H>>,
        start: &str,
        count: usize,
    ) -> Vec<UnixStream> {
        let mut clients = Vec::new();
        for _ in 0..count {
            let mut client = connect(server);
            send(&mut client, start).await;
            // The clock advances once every task waits.
            sleep(Duration::from_millis(1)).await;
            clients.push(client);
        }
        clients
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_unfinished_requests_are_shed() {
        const CLIENTS: usize = 1500;
        allow_many_files();
        let bytes = "x".repeat(12 * 1024);
        let put = "PUT / HTTP/1.1\r\nHost: a\r\n";
        for (start, rest) in [
            (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {bytes}"), "\r\n\r\n"),
            (format!("{GET}GET / HTTP/1.1\r\nHost: a\r\nX: {bytes}"), "\r\n\r\n"),
            (format!("{GET}{}", "\r\n".repeat(6 * 1024)), GET),
            (format!("{put}Content-Length: {}\r\n\r\n{bytes}", bytes.len() + 1), "x"),
            (format!("{put}Transfer-Encoding: chunked\r\n\r\n3001\r\n{bytes}"), "x\r\n0\r\n\r\n"),
        ] {
            let server = server(Reading);
            let mut clients = send_starts(&server, &start, CLIENTS).await;
            let before = if start.starts_with(GET) { GET.len() } else { 0 };
            let shed = CLIENTS - UNFINISHED_BYTES_MAX / (start.len() - before);
            if before == 0 {
                assert_eq!(server.metrics.shed_requests.get(), shed as u64, "{}", &start[..60]);
            }
            let shed = usize::try_from(server.metrics.shed_requests.get()).unwrap();
            assert!(shed > 100, "{shed}");
            for client in &mut clients[..shed] {
                let end = read_to_end(client).await;
                assert!(end.contains("HTTP/1.1 408 Request Timeout\r\n"), "{end}");
                assert!(end.contains("incomplete requests"), "{end}");
            }
            for client in &mut clients[shed..] {
                send(client, rest).await;
                expect_answers(client, 1 + usize::from(before > 0)).await;
            }
            // Those that were finished are not counted any more.
            for client in &mut clients[shed..] {
                send(client, &start[before..start.len() / 2]).await;
                sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(server.metrics.shed_requests.get(), shed as u64);
            assert_eq!(server.metrics.timed_out_heads.get(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_complete_request_is_not_shed() {
        allow_many_files();
        let server = server(Reading);
        let mut client = connect(&server);
        let put = PUT.replace("PUT /", "PUT /slow");
        for piece in [&put[..30], &put[30..put.len() - 2], &put[put.len() - 2..]] {
            send(&mut client, piece).await;
            sleep(Duration::from_millis(1)).await;
        }
        let start = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(15 * 1024));
        let mut others = Vec::new();
        for _ in 0..UNFINISHED_BYTES_MAX / start.len() + 100 {
            let mut other = connect(&server);
            send(&mut other, &start).await;
            others.push(other);
        }
        sleep(Duration::from_millis(1)).await;
        assert_eq!(server.metrics.shed_requests.get(), 100);
        expect_answers(&mut client, 1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn large_requests_that_wait_are_admitted_up_to_their_share_of_memory() {
        allow_many_files();
        let server = server(Waiting(Semaphore::new(0)));
        let head = |bytes| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(bytes));
        let large = head(12 * 1024);
        let admitted = LARGE_BYTES_MAX / large.len();
        let mut clients = send_starts(&server, &large, admitted + 10).await;
        let refused = clients.split_off(admitted);
        assert_eq!(server.metrics.shed_requests.get(), 10);
        for mut client in refused {
            let end = read_to_end(&mut client).await;
            assert!(end.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{end}");
            assert!(end.contains("\r\nretry-after: 1\r\n"), "{end}");
            assert!(end.ends_with('}'), "{end}");
        }
        for mut client in send_starts(&server, &large.replace("GET", "HEAD"), 10).await {
            let end = read_to_end(&mut client).await;
            assert!(end.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{end}");
            assert!(end.ends_with("\r\n\r\n"), "a body: {end}");
        }
        // Requests that are not large do not count.
        clients.extend(send_starts(&server, &head(7 * 1024), 10).await);
        server.handler.0.add_permits(1);
        for client in &mut clients {
            expect_answers(client, 1).await;
        }
        // Now large requests are admitted again, on old connections and new ones.
        for client in &mut clients {
            send(client, &large).await;
            expect_answers(client, 1).await;
        }
        for mut client in send_starts(&server, &large, 10).await {
            expect_answers(&mut client, 1).await;
        }
        // Those that the server has closed, and their clients have not, hold no buffer.
        let last = large.replace("\r\nX", "\r\nConnection: close\r\nX");
        for client in &mut send_starts(&server, &last, admitted + 10).await {
            expect_answers(client, 1).await;
        }
        assert_eq!(server.metrics.shed_requests.get(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_task_panics_is_not_counted_as_open() {
        let server = server(Panicking);
        let mut client = connect(&server);
        let mut other = connect(&server);
        send(&mut client, GET).await;
        assert_eq!(read_to_end(&mut client).await, "");
        assert_eq!(server.metrics.connections.get(), 1);
        assert_eq!(server.connections.count(), 1);
        assert_eq!(server.permits.available_permits(), 3999);

        other.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut other).await, "");
        drop(other);
        sleep(SECOND).await;
        assert_eq!(server.metrics.connections.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_made_while_the_event_loop_is_stalled_are_served_at_the_stop() {
        const CONNECTIONS: usize = 100;
        let limits = ServerLimits {
            connections_max: 4000,
            keep_alive_timeout: 75 * SECOND,
            drain_timeout: 75 * SECOND,
        };
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let metrics = Metrics::new().listener("public");
        let serving = tokio::spawn(serve(listener, Reading, metrics, limits, stopped));
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(GET.as_bytes()).await.unwrap();
        first.read_exact(&mut [0; 1]).await.unwrap();

        // The event loop has one thread, which does this and nothing else meanwhile.
        let clients = [(); CONNECTIONS].map(|()| {
            let mut client = std::net::TcpStream::connect(address).unwrap();
            std::io::Write::write_all(&mut client, GET.as_bytes()).unwrap();
            client.set_nonblocking(true).unwrap();
            TcpStream::from_std(client).unwrap()
        });
        drop((stop, first));

        for mut client in clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
        }
        assert_eq!(serving.await.unwrap(), 0);
    }

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
