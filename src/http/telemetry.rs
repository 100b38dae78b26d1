//! Metrics and the access log of requests. Neither contains a path.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use hyper::{HeaderMap, Method, StatusCode};

use super::Route;
use super::request_ids::RequestIds;
use crate::logging::ACCESS_LOG_TARGET;
use crate::metrics::{Metrics, RouteMetrics};

/// Methods with a label of their own. All others share one, so that clients cannot invent
/// labels.
const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "OPTIONS", "other"];

/// Counts and logs requests.
pub struct RequestMetrics {
    metrics: Arc<Metrics>,
    access_log: bool,
    // By route and method, so that nothing is hashed per request.
    requests: [[OnceLock<RouteMetrics>; METHODS.len()]; Route::ALL.len()],
}

/// A request in flight. If it is dropped without `end`, the handler panicked or the connection
/// ended first, as when a request is shed.
pub(super) struct RequestTimer<'a> {
    requests: &'a RequestMetrics,
    route: &'static str,
    method: &'static str,
    /// For the access log, if there is one.
    ids: Option<Box<RequestIds>>,
    metrics: &'a RouteMetrics,
    began: Instant,
    ended: Option<StatusCode>,
}

impl RequestMetrics {
    /// Counts into `metrics`, and logs each request if `access_log`.
    pub fn new(metrics: Arc<Metrics>, access_log: bool) -> RequestMetrics {
        let requests = [const { [const { OnceLock::new() }; METHODS.len()] }; Route::ALL.len()];
        RequestMetrics { metrics, access_log, requests }
    }

    pub(super) fn begin(
        &self,
        route: Route<'_>,
        method: &Method,
        headers: &HeaderMap,
    ) -> RequestTimer<'_> {
        self.metrics.in_flight.inc();
        let other = METHODS.len() - 1;
        let method = METHODS.iter().position(|known| method == known).unwrap_or(other);
        let pattern = route.pattern();
        let metrics = self.requests[route.number()][method]
            .get_or_init(|| self.metrics.requests(pattern, METHODS[method]));
        RequestTimer {
            requests: self,
            route: pattern,
            method: METHODS[method],
            ids: self.access_log.then(|| Box::new(RequestIds::read(headers))),
            metrics,
            began: Instant::now(),
            ended: None,
        }
    }
}

impl RequestTimer<'_> {
    pub fn end(mut self, status: StatusCode) {
        self.ended = Some(status);
    }
}

impl Drop for RequestTimer<'_> {
    fn drop(&mut self) {
        self.requests.metrics.in_flight.dec();
        let status = match self.ended {
            Some(status) => status.as_u16(),
            None if std::thread::panicking() => 500,
            None => return,
        };
        let elapsed = self.began.elapsed();
        self.metrics.observe(status, elapsed);
        if let Some(ids) = &self.ids {
            tracing::info!(
                name: "request",
                target: ACCESS_LOG_TARGET,
                {
                    http.method = self.method,
                    http.route = self.route,
                    http.status = status,
                    duration_ms = elapsed.as_secs_f64() * 1e3,
                    http.request_id = ids.request_id.as_deref(),
                    traceparent = ids.traceparent.as_deref(),
                    amzn_trace_id = ids.amzn_trace_id.as_deref(),
                },
                "answered"
            );
        }
    }
}
