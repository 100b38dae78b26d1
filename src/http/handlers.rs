//! The public API.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use tokio::time::timeout;

use super::body::RequestBody;
use super::coding::check_codings;
use super::host::check_host;
use super::json::{Message, parse_date_of_birth};
use super::problem::NO_STORE;
use super::rates::RatesApi;
use super::telemetry::RequestMetrics;
use super::{Handler, Problem, Request, Response, Route};
use crate::clock::Clock;
use crate::domain::{DateOfBirth, LeapDayBirthday, Username};
use crate::lifecycle::Lifecycle;
use crate::store::Store;

/// Bytes of a body. A date of birth takes 30; the rest allows for members that are ignored.
pub const BODY_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a message. The longest name takes half of them.
const MESSAGE_BYTES_MAX: usize = 512;
const _: () = assert!(2 * Username::LEN_MAX * char::MAX_LEN_UTF8 <= MESSAGE_BYTES_MAX);

/// How long a body may take to arrive: it fits in a few packets.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long `/health` waits for the store, so that it reports an outage within 2 s.
const PING_TIMEOUT: Duration = Duration::from_millis(1500);

/// The handler of the public API.
pub struct Api {
    /// Finds and saves dates of birth.
    pub store: Arc<Store>,
    /// Tells today's date.
    pub clock: Clock,
    /// When people born on 29 February celebrate in common years.
    pub leap_day: LeapDayBirthday,
    /// Whether the process is stopping.
    pub lifecycle: Arc<Lifecycle>,
    /// Counts and logs each request.
    pub metrics: RequestMetrics,
    /// Answers `/rates`.
    pub rates: RatesApi,
}

impl Handler for Api {
    fn handle(&self, request: Request) -> impl Future<Output = Response> + Send {
        // Split outside the future, which would otherwise hold the whole request as well.
        let (head, mut body) = request.into_parts();
        let Parts { method, uri, version, headers, .. } = head;
        async move {
            let route = Route::parse(uri.path());
            let timer = self.metrics.begin(route, &method, &headers);
            let checked = check_host(&headers, version)
                .and_then(|()| check_codings(route, &method, &headers));
            // A hundred headers take more memory than the bytes that they came in, and the request
            // may have to wait for the store.
            drop(headers);
            let answer = match checked {
                Ok(()) => self.answer(route, uri.query(), &method, &mut body).await,
                Err(problem) => Err(problem),
            };
            let mut response = answer.unwrap_or_else(Response::from);
            if route.is_uncacheable() {
                response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
            }
            timer.end(response.status());
            response
        }
    }
}

impl Api {
    async fn answer(
        &self,
        route: Route<'_>,
        query: Option<&str>,
        method: &Method,
        body: &mut RequestBody,
    ) -> Result<Response, Problem> {
        // hyper sends only the head of the response if the method is HEAD.
        match (route, method) {
            (Route::Unknown, _) => Err(Problem::not_found()),
            (Route::Hello(name), &Method::OPTIONS) => {
                Username::parse_percent_encoded(name)?;
                Ok(options(route))
            }
            (_, &Method::OPTIONS) => Ok(options(route)),
            (Route::Root, &Method::GET | &Method::HEAD) => {
                Ok(message(format_args!("Hello, world!")))
            }
            (Route::Hello(name), &Method::GET | &Method::HEAD) => self.greet(name).await,
            (Route::Hello(name), &Method::PUT) => self.save_birthday(name, body).await,
            (Route::Rates, &Method::GET | &Method::HEAD) => {
                self.rates.answer(&self.store, query).await
            }
            (Route::Health, &Method::GET | &Method::HEAD) => self.health().await,
            (Route::OpenApi, &Method::GET | &Method::HEAD) => Ok(openapi()),
            // Only OPTIONS has this target (RFC 9112, section 3.2.4).
            (Route::Server, _) => Err(Problem::not_found()),
            (_, _) => Err(Problem::method_not_allowed(route.allow())),
        }
    }

    async fn greet(&self, name: &str) -> Result<Response, Problem> {
        let username = Username::parse_percent_encoded(name)?;
        let born = self.store.find(username.clone()).await?.ok_or_else(Problem::no_such_user)?;
        let name = username.as_str();
        Ok(match born.days_to_birthday(self.clock.today(), self.leap_day) {
            0 => message(format_args!("Hello, {name}! Happy birthday!")),
            days => message(format_args!("Hello, {name}! Your birthday is in {days} day(s)")),
        })
    }

    async fn save_birthday(&self, name: &str, body: &mut RequestBody) -> Result<Response, Problem> {
        // Before all else, so that an invalid username does not cost the connection.
        let body = read(body).await?;
        let username = Username::parse_percent_encoded(name)?;
        let born = DateOfBirth::parse(&parse_date_of_birth(&body)?, self.clock.today())?;
        // It may take 8 KiB, and the save may have to wait.
        drop(body);
        self.store.save(username, born).await?;
        Ok(no_content())
    }

    async fn health(&self) -> Result<Response, Problem> {
        if self.lifecycle.is_stopping() {
            return Err(Problem::unavailable(
                "the service is stopping: send the request to another instance",
            ));
        }
        match timeout(PING_TIMEOUT, self.store.ping()).await {
            Ok(answered) => answered?,
            Err(_) => {
                return Err(Problem::unavailable("the store does not answer: try again"));
            }
        }
        if self.store.saves_fail() {
            return Err(Problem::unavailable("saves fail: try again in a moment"));
        }
        Ok(text("OK"))
    }
}

/// Reads a body to its end.
async fn read(body: &mut RequestBody) -> Result<Vec<u8>, Problem> {
    let too_large = || Problem::body_too_large(BODY_BYTES_MAX);
    // If its length is known, it is rejected without being read.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let read = async {
        // Copied: each frame keeps the buffer that it was read into alive, so a body that
        // arrives byte by byte would take a thousand times its size.
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                Problem::bad_request(
                    "the body is cut short or badly chunked: send as many bytes as announced",
                )
            })?;
            // A frame without data holds trailers, which are ignored.
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > BODY_BYTES_MAX {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    let read = timeout(BODY_TIMEOUT, read).await;
    read.unwrap_or_else(|_| Err(Problem::request_timeout("body", BODY_TIMEOUT.as_secs())))
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
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let mut rest = &mut buffer[..];
    serde_json::to_writer(&mut rest, &Message { message }).expect("every message fits");
    let length = MESSAGE_BYTES_MAX - rest.len();
    // A vector with room to spare would take a second allocation.
    with_body("application/json", Bytes::copy_from_slice(&buffer[..length]))
}

/// A plain-text response for scripts and probes.
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
            metrics: RequestMetrics::new(metrics, false),
            rates: RatesApi::default(),
        };
        assert!(api.health().await.is_ok());

        let outside = Connection::open(file).unwrap();
        outside.execute_batch("begin exclusive").unwrap();
        pause();
        let asked = Instant::now();
        assert!(api.health().await.is_err());
        // Tokio rounds up to whole milliseconds.
        assert!(
            asked.elapsed() - PING_TIMEOUT <= Duration::from_millis(1),
            "{:?}",
            asked.elapsed()
        );
    }
}
