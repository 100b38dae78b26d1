//! The admin listener: probes and metrics, for operators and load balancers.

use std::sync::Arc;

use hyper::Method;

use super::handlers::{close_unless_read, text, with_body};
use super::host::check_host;
use super::{Handler, Problem, Request, Response};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;

/// The handler of the admin listener.
pub struct Admin {
    /// Whether the instance may receive traffic.
    pub lifecycle: Arc<Lifecycle>,
    /// Rendered by `/metrics`.
    pub metrics: Arc<Metrics>,
}

impl Handler for Admin {
    async fn handle(&self, request: Request) -> Response {
        let mut response = self.answer(&request).unwrap_or_else(Response::from);
        close_unless_read(&mut response, Some(request.body()));
        response
    }
}

impl Admin {
    fn answer(&self, request: &Request) -> Result<Response, Problem> {
        check_host(request.headers(), request.version())?;
        let answer = match request.uri().path() {
            "/livez" => Admin::livez,
            "/readyz" => Admin::readyz,
            "/metrics" => Admin::metrics,
            _ => return Err(Problem::not_found()),
        };
        match *request.method() {
            Method::GET | Method::HEAD => answer(self),
            _ => Err(Problem::method_not_allowed("GET, HEAD")),
        }
    }

    /// Reports that the event loop runs.
    fn livez(&self) -> Result<Response, Problem> {
        Ok(text("OK"))
    }

    /// Reports whether this instance may receive traffic. A later outage of the store does
    /// not change that: all instances share it, and replacing them would not help.
    fn readyz(&self) -> Result<Response, Problem> {
        if self.lifecycle.is_stopping() {
            return Err(Problem::unavailable(
                "the service is stopping: send requests to another instance",
            ));
        }
        Ok(text("OK"))
    }

    fn metrics(&self) -> Result<Response, Problem> {
        let metrics = self.metrics.render().map_err(|error| {
            tracing::error!(%error, "cannot render the metrics");
            Problem::internal_error()
        })?;
        // The format's own type (Prometheus, "Exposition formats").
        Ok(with_body("text/plain; version=0.0.4; charset=utf-8", metrics.into()))
    }
}
