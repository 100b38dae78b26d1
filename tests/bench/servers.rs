//! What the service is compared with: its own server loop, with nothing or with
//! the usual thing behind it.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use hello_birthday::http::server::{self, Listener, ServerLimits};
use hello_birthday::http::{Handler, Request, Response};
use hello_birthday::metrics::Metrics;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use rusqlite::{Connection, OptionalExtension};
use sd_notify::NotifyState;
use tokio::net::TcpListener;

/// Serves constants: a greeting to every GET, 204 to every PUT once its body
/// was read.
pub struct Constant;

impl Handler for Constant {
    async fn handle(&self, request: Request) -> Response {
        if request.method() == Method::PUT {
            request.into_body().collect().await.expect("the body arrives");
            return no_content();
        }
        let body = br#"{"message":"Hello, abcdefgh! Your birthday is in 123 day(s)"}"#;
        json(Bytes::from_static(body))
    }
}

/// Takes every request to SQLite by itself, on a blocking thread with a pooled
/// connection, as most services do.
pub struct OneByOne(r2d2::Pool<File>);

impl OneByOne {
    pub fn open(path: &Path) -> OneByOne {
        OneByOne(r2d2::Pool::builder().max_size(4).build(File(path.into())).expect("a database"))
    }
}

impl Handler for OneByOne {
    async fn handle(&self, request: Request) -> Response {
        let pool = self.0.clone();
        let (head, body) = request.into_parts();
        let name = head.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        let body = body.collect().await.expect("the body arrives").to_bytes();
        tokio::task::spawn_blocking(move || {
            let connection = pool.get().expect("a connection");
            if head.method == Method::PUT {
                let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                let born = body["dateOfBirth"].as_str().expect("a date");
                connection
                    .prepare_cached("insert or replace into users values (?1, ?2)")
                    .and_then(|mut save| save.execute((name, born)))
                    .expect("a save");
                return no_content();
            }
            let born: Option<String> = connection
                .prepare_cached("select date_of_birth from users where username = ?1")
                .and_then(|mut find| find.query_row([&name], |row| row.get(0)).optional())
                .expect("a look-up");
            let born = born.expect("a user");
            let message = format!("Hello, {name}! Your birthday is in {} day(s)", born.len());
            json(serde_json::json!({ "message": message }).to_string().into())
        })
        .await
        .expect("a blocking thread")
    }
}

/// Opens connections whose saves are as durable as the service's, with SQLite's defaults otherwise.
pub struct File(PathBuf);

impl r2d2::ManageConnection for File {
    type Connection = Connection;
    type Error = rusqlite::Error;

    fn connect(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open(&self.0)?;
        connection.busy_timeout(Duration::from_secs(4))?;
        connection.pragma_update(None, "synchronous", "full")?;
        Ok(connection)
    }

    fn is_valid(&self, _: &mut Connection) -> rusqlite::Result<()> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}

/// Serves `handler` until the process is ended, on a free port.
pub fn serve(handler: impl Handler) -> ! {
    hello_birthday::build_runtime().expect("threads").block_on(async {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let status = format!("serving on {}", socket.local_addr().expect("an address"));
        sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)]).expect("a listener");
        let metrics = Metrics::new().listener("public");
        let listener = Listener { socket, inherited: false };
        let limits = ServerLimits {
            connections_max: 1000,
            keep_alive_timeout: Duration::from_secs(60),
            drain_timeout: Duration::ZERO,
        };
        server::serve(listener, handler, metrics, limits, pending()).await;
    });
    unreachable!("nothing stops it")
}

fn json(body: Bytes) -> Response {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn no_content() -> Response {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
