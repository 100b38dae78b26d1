//! The server loop with a handler that panics.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use hello_birthday::http::server::{self, Listener, ServerLimits};
use hello_birthday::http::{Handler, Request, Response};
use hello_birthday::metrics::Metrics;
use http_body_util::Full;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

struct Buggy;

impl Handler for Buggy {
    async fn handle(&self, request: Request) -> Response {
        assert_ne!(request.uri().path(), "/bug", "met as intended");
        Response::new(Full::new(Bytes::from_static(b"served")))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_is_answered_with_500_and_counted_and_keeps_its_connection() {
    let metrics = Metrics::new();
    let mut requests: String = ["/bug", "/", "/bug"]
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        .concat();
    requests += "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answers = exchange(&metrics, requests).await;
    assert_eq!(statuses(&answers), ["500", "200", "500", "200"], "{answers}");
    assert_eq!(answers.matches("content-type: application/problem+json").count(), 2);
    assert_eq!(answers.matches(r#""status":500"#).count(), 2);
    assert_eq!(metrics.listener("public").panics.get(), 2);
    let shown = metrics.render().unwrap();
    assert!(shown.contains("hello_birthday_http_panics_total{listener=\"public\"} 2\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_that_leaves_a_body_unread_closes_its_connection() {
    for (length, body) in [("Content-Length: 1", "x"), ("Transfer-Encoding: chunked", "1\r\nx")] {
        let head = format!("PUT /bug HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n");
        let answers = exchange(&Metrics::new(), format!("{head}{body}")).await;
        assert_eq!(statuses(&answers), ["500"], "{answers}");
        assert!(answers.contains("\r\nconnection: close\r\n"), "{answers}");
    }
}

/// Sends `requests` on one connection to a server with a bug, and gives all answers.
async fn exchange(metrics: &Metrics, requests: String) -> String {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server::serve(
        Listener { socket, inherited: false },
        Buggy,
        metrics.listener("public"),
        ServerLimits {
            connections_max: 10,
            keep_alive_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
        },
        async { drop(stopped.await) },
    ));

    let client = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(requests.as_bytes()).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        answers
    });
    let answers = client.await.unwrap();

    drop(stop);
    assert_eq!(serving.await.unwrap(), 0, "connections were still open");
    answers
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).map(|line| &line[..3]).collect()
}
