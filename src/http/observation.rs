//! What is counted and logged of each request: never its path.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use hyper::{Method, StatusCode};

use super::Route;
use crate::logging::ACCESS_LOG_TARGET;
use crate::metrics::{Metrics, RequestMetrics};

/// Methods told apart; any other is one of its own, so that clients cannot make
/// up labels.
const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "OPTIONS", "other"];

/// Counts and logs requests.
pub struct Observed {
    metrics: Arc<Metrics>,
    access_log: bool,
    // Beside `METHODS` and the routes, so that nothing is hashed per request.
    requests: [[OnceLock<RequestMetrics>; METHODS.len()]; Route::ALL.len()],
}

/// A request under way. Dropped without an end, it has met a bug or the client
/// has gone.
pub(super) struct Observation<'a> {
    observed: &'a Observed,
    route: &'static str,
    method: &'static str,
    metrics: &'a RequestMetrics,
    began: Instant,
    ended: Option<StatusCode>,
}

impl Observed {
    /// Counts into `metrics`, and logs each request if `access_log`.
    pub fn new(metrics: Arc<Metrics>, access_log: bool) -> Observed {
        let requests = [const { [const { OnceLock::new() }; METHODS.len()] }; Route::ALL.len()];
        Observed { metrics, access_log, requests }
    }

    pub(super) fn begin(&self, route: Route<'_>, method: &Method) -> Observation<'_> {
        self.metrics.in_flight.inc();
        let other = METHODS.len() - 1;
        let method = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(other);
        let pattern = route.pattern();
        let metrics = self.requests[route.number()][method]
            .get_or_init(|| self.metrics.requests(pattern, METHODS[method]));
        Observation {
            observed: self,
            route: pattern,
            method: METHODS[method],
            metrics,
            began: Instant::now(),
            ended: None,
        }
    }
}

impl Observation<'_> {
    pub fn end(mut self, status: StatusCode) {
        self.ended = Some(status);
    }
}

impl Drop for Observation<'_> {
    fn drop(&mut self) {
        self.observed.metrics.in_flight.dec();
        let status = match self.ended {
            Some(status) => status.as_u16(),
            None if std::thread::panicking() => 500,
            None => return,
        };
        let elapsed = self.began.elapsed();
        self.metrics.observe(status, elapsed);
        if self.observed.access_log {
            tracing::info!(
                name: "request",
                target: ACCESS_LOG_TARGET,
                {
                    http.method = self.method,
                    http.route = self.route,
                    http.status = status,
                    duration_ms = elapsed.as_secs_f64() * 1e3,
                },
                "answered"
            );
        }
    }
}
