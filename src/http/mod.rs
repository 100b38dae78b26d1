//! HTTP/1.1: a server loop with limits, the public API and the admin endpoints.

pub(crate) mod admin;
mod body;
mod coding;
mod connection;
pub(crate) mod handlers;
mod host;
mod json;
mod problem;
pub(crate) mod rates;
mod request_ids;
mod router;
pub mod server;
pub(crate) mod telemetry;

use bytes::Bytes;
use http_body_util::Full;

pub use body::RequestBody;
pub(crate) use problem::Problem;
pub(crate) use router::Route;

/// A request whose body is still to be read.
pub type Request = hyper::Request<RequestBody>;

/// A complete response.
pub type Response = hyper::Response<Full<Bytes>>;

/// Answers requests; the server does everything else.
pub trait Handler: Send + Sync + 'static {
    /// Answers `request`. If the future panics, the server answers 500.
    fn handle(&self, request: Request) -> impl Future<Output = Response> + Send;
}

#[cfg(test)]
mod tests {
    use super::connection::{
        HEAD_TIMEOUT, LARGE_BYTES_MAX, LARGE_REQUEST_BYTES, RESPONSE_WRITE_TIMEOUT,
        UNFINISHED_BYTES_MAX,
    };
    use super::handlers::{BODY_BYTES_MAX, BODY_TIMEOUT};
    use super::rates::DAYS_UNSENT_MAX;
    use super::server::{CONNECTIONS_MAX, HEAD_BYTES_MAX, HEADERS_MAX};
    use crate::domain::Username;
    use crate::domain::rates::Days;
    use crate::store::{
        BATCH_MAX, QUEUE_DELAY_MAX, QUEUE_MAX, RATES_QUEUE_MAX, STORE_OUTAGE_MAX, STORE_TIMEOUT,
    };

    fn thousands(number: usize) -> String {
        match (number / 1000, number % 1000) {
            (0, rest) => rest.to_string(),
            (thousands, rest) => format!("{thousands},{rest:03}"),
        }
    }

    #[test]
    fn the_readmes_and_the_description_state_the_limits() {
        let readmes =
            concat!(include_str!("../../README.md"), include_str!("../../systemd/README.md"));
        let [head, body, answer, wait, store] =
            [HEAD_TIMEOUT, BODY_TIMEOUT, RESPONSE_WRITE_TIMEOUT, QUEUE_DELAY_MAX, STORE_TIMEOUT]
                .map(|limit| limit.as_secs());
        let (head_kib, body_kib) = (HEAD_BYTES_MAX / 1024, BODY_BYTES_MAX / 1024);
        let unfinished_mib = UNFINISHED_BYTES_MAX / 1024 / 1024;
        let queue = thousands(QUEUE_MAX);
        for row in [
            format!("| connections at once | {}, or", thousands(CONNECTIONS_MAX)),
            format!(
                "| request line and headers | {head_kib} KiB, {HEADERS_MAX} headers, {head} s |"
            ),
            format!("| unfinished requests over all connections | {unfinished_mib} MiB |"),
            format!(
                "| requests over {} KiB that wait for their answers | {} MiB over all connections |",
                LARGE_REQUEST_BYTES / 1024,
                LARGE_BYTES_MAX / 1024 / 1024
            ),
            format!("| body | {body_kib} KiB, {body} s |"),
            format!("| an answer the client does not read | {answer} s |"),
            format!("| requests waiting for the store | {queue} reads, {queue} writes |"),
            format!(
                "| queries for rates waiting for the store | {}, answered one at a time |",
                thousands(RATES_QUEUE_MAX)
            ),
            format!("| days of rates in one answer | {} |", thousands(Days::MAX)),
            format!(
                "| days of rates in all answers that clients have not read | {} |",
                thousands(DAYS_UNSENT_MAX)
            ),
            format!("| the wait in the queue, once a full batch waits | {wait} s,"),
            format!("| requests in one batch | {} |", thousands(BATCH_MAX.get())),
            format!("| a request's time in the store | {store} s |"),
            format!(
                "| the store does not answer this instance | {} s |",
                STORE_OUTAGE_MAX.as_secs()
            ),
            format!("A username is 1 to {} Unicode characters", Username::LEN_MAX),
        ] {
            assert!(readmes.contains(&row), "{row}");
        }
        let description = include_str!("openapi.json");
        for part in [
            format!(
                "line and headers may take {head_kib} KiB and {head} s, in {HEADERS_MAX} headers"
            ),
            format!("At most {body_kib} KiB of JSON in UTF-8, within {body} s"),
            format!("\"maxLength\": {}", Username::LEN_MAX),
            format!("The range has at most {} days.", Days::MAX),
            format!("\"maxItems\": {}", Days::MAX),
        ] {
            assert!(description.contains(&part), "{part}");
        }
    }
}
