//! The public API.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use tokio::time::timeout;

use super::host::check_host;
use super::json::{Message, parse_date_of_birth};
use super::observation::Observed;
use super::{Handler, Problem, Request, Response, Route};
use crate::clock::Clock;
use crate::domain::{DateOfBirth, LeapDayBirthday, Username};
use crate::lifecycle::Lifecycle;
use crate::store::Store;

/// Bytes of a body. A date of birth takes 30; the rest is for members that are
/// ignored.
pub const BODY_BYTES_MAX: usize = 8 * 1024;

/// How long a body may take: it fits in a few packets.
pub const BODY_MAX: Duration = Duration::from_secs(10);

/// How long the store may take to show that it answers, so that `/health` tells
/// of an outage within 2 s.
const PING_MAX: Duration = Duration::from_millis(1500);

/// What the public API is served from.
pub struct Api {
    /// Where users are kept.
    pub store: Arc<Store>,
    /// What day it is.
    pub clock: Clock,
    /// When those born on 29 February celebrate.
    pub leap_day: LeapDayBirthday,
    /// Whether the process is stopping.
    pub lifecycle: Arc<Lifecycle>,
    /// What is counted and logged of each request.
    pub observed: Observed,
}

impl Handler for Api {
    fn handle(&self, request: Request) -> impl Future<Output = Response> + Send {
        // Taken apart out here, so that the future does not keep it whole as well.
        let (head, body) = request.into_parts();
        // There for as long as it is not read to its end.
        let mut body = Some(body);
        async move {
            let route = Route::parse(head.uri.path());
            let observation = self.observed.begin(route, &head.method);
            let mut response = match self.answer(route, &head, &mut body).await {
                Ok(response) => response,
                Err(problem) => problem.into(),
            };
            close_unless_read(&mut response, body.as_ref());
            observation.end(response.status());
            response
        }
    }
}

impl Api {
    async fn answer(
        &self,
        route: Route<'_>,
        head: &Parts,
        body: &mut Option<Incoming>,
    ) -> Result<Response, Problem> {
        check_host(&head.headers, head.version)?;
        // hyper sends the head alone where the method is HEAD.
        match (route, &head.method) {
            (Route::Unknown, _) => Err(Problem::no_such_path()),
            (_, &Method::OPTIONS) => Ok(options(route)),
            (Route::Root, &Method::GET | &Method::HEAD) => {
                Ok(message(format_args!("Hello, world!")))
            }
            (Route::Hello(name), &Method::GET | &Method::HEAD) => self.greet(name).await,
            // Boxed, so that a greeting does not carry room for them.
            (Route::Hello(name), &Method::PUT) => Box::pin(self.save_birthday(name, body)).await,
            (Route::Health, &Method::GET | &Method::HEAD) => Box::pin(self.health()).await,
            (Route::OpenApi, &Method::GET | &Method::HEAD) => Ok(openapi()),
            (_, _) => Err(Problem::method_not_allowed(route.allow())),
        }
    }

    async fn greet(&self, name: &str) -> Result<Response, Problem> {
        let username = Username::parse_percent_encoded(name)?;
        let born = self.store.find(username.clone()).await?.ok_or_else(Problem::no_such_user)?;
        let name = username.as_str();
        let mut response = match born.days_to_birthday(self.clock.today(), self.leap_day) {
            0 => message(format_args!("Hello, {name}! Happy birthday!")),
            days => message(format_args!("Hello, {name}! Your birthday is in {days} day(s)")),
        };
        // It is about a person, and wrong tomorrow.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    async fn save_birthday(
        &self,
        name: &str,
        body: &mut Option<Incoming>,
    ) -> Result<Response, Problem> {
        // First, so that a connection outlives a username that is refused.
        let body = read(body).await?;
        let username = Username::parse_percent_encoded(name)?;
        let date_of_birth = parse_date_of_birth(&body)?;
        let born = DateOfBirth::parse(&date_of_birth, self.clock.today())?;
        self.store.save(username, born).await?;
        Ok(no_content())
    }

    async fn health(&self) -> Result<Response, Problem> {
        if self.lifecycle.is_stopping() {
            return Err(Problem::unavailable("the service is stopping: try another instance"));
        }
        match timeout(PING_MAX, self.store.ping()).await {
            Ok(answered) => answered?,
            Err(_) => return Err(Problem::unavailable("the store does not answer: try again")),
        }
        Ok(text("OK"))
    }
}

/// Reads a body, which is taken once all of it was read.
async fn read(unread: &mut Option<Incoming>) -> Result<Vec<u8>, Problem> {
    let body = unread.as_mut().expect("a body is read once");
    let too_large = || Problem::body_too_large(BODY_BYTES_MAX);
    // Refused unread where its length is known.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let read = async {
        // Copied: every piece holds on to the buffer that it was read into, so those
        // of a body that comes a byte at a time would take a thousand times its size.
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                Problem::bad_request(
                    "the body is cut short or badly chunked: send as many bytes as announced",
                )
            })?;
            // Anything but data is a trailer, which says nothing here.
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > BODY_BYTES_MAX {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    let read = timeout(BODY_MAX, read).await;
    let bytes = read.unwrap_or_else(|_| Err(Problem::too_slow("body", BODY_MAX.as_secs())))?;
    *unread = None;
    Ok(bytes)
}

/// Unread body bytes make the connection unusable for another request: tells the client.
/// `is_end_stream` alone does not do: it stays false after the last chunk of a body without
/// a length.
pub(super) fn close_unless_read(response: &mut Response, unread: Option<&Incoming>) {
    if unread.is_some_and(|body| !body.is_end_stream()) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

fn options(route: Route<'_>) -> Response {
    let mut response = no_content();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(route.allow()));
    response
}

fn openapi() -> Response {
    with_body("application/json", Bytes::from_static(include_bytes!("openapi.json")))
}

fn message(message: fmt::Arguments) -> Response {
    let body = serde_json::to_vec(&Message { message }).expect("a string is JSON");
    with_body("application/json", body.into())
}

/// A short answer for scripts and probes.
pub(super) fn text(text: &'static str) -> Response {
    with_body("text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

pub(super) fn with_body(content_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn no_content() -> Response {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use rusqlite::Connection;
    use tempfile::TempDir;
    use tokio::time::{Instant, pause};

    use super::*;
    use crate::metrics::Metrics;
    use crate::store::{JournalChoice, StoreOptions, UrlSource};

    #[tokio::test]
    async fn health_answers_after_1500_ms_if_the_store_does_not() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("users.db");
        let metrics = Arc::new(Metrics::new());
        let url = UrlSource::Text(format!("sqlite:{}", file.display()));
        let options =
            StoreOptions { sqlite_journal: JournalChoice::Truncate, ..StoreOptions::default() };
        let api = Api {
            store: Arc::new(Store::open(&url, options, &metrics).await.unwrap()),
            clock: Clock::new(TimeZone::UTC, None),
            leap_day: LeapDayBirthday::default(),
            lifecycle: Arc::default(),
            observed: Observed::new(metrics, false),
        };
        assert!(api.health().await.is_ok());

        let outside = Connection::open(file).unwrap();
        outside.execute_batch("begin exclusive").unwrap();
        pause();
        let asked = Instant::now();
        assert!(api.health().await.is_err());
        // Tokio rounds up to whole milliseconds.
        assert!(asked.elapsed() - PING_MAX <= Duration::from_millis(1), "{:?}", asked.elapsed());
    }
}
