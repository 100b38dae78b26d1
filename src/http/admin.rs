//! What operators and balancers ask, on a listener of its own.

use std::sync::Arc;

use hyper::Method;

use super::handlers::{close_unless_read, text, with_body};
use super::host::check_host;
use super::{Handler, Problem, Request, Response};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;

/// The admin listener's answers.
pub struct Admin {
    /// Whether the instance may get traffic.
    pub lifecycle: Arc<Lifecycle>,
    /// What `/metrics` shows.
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
            _ => return Err(Problem::no_such_path()),
        };
        match *request.method() {
            Method::GET | Method::HEAD => answer(self),
            _ => Err(Problem::method_not_allowed("GET, HEAD")),
        }
    }

    /// The process runs its event loop.
    fn livez(&self) -> Result<Response, Problem> {
        Ok(text("OK"))
    }

    /// This instance may get traffic. A later outage of the store does not
    /// change that: all instances share it, and replacing them all would not
    /// bring it back.
    fn readyz(&self) -> Result<Response, Problem> {
        if self.lifecycle.is_stopping() {
            return Err(Problem::unavailable("the service is stopping: send requests elsewhere"));
        }
        Ok(text("OK"))
    }

    fn metrics(&self) -> Result<Response, Problem> {
        let metrics = self.metrics.render().map_err(|error| {
            tracing::error!(%error, "cannot render the metrics");
            Problem::bug()
        })?;
        // The format's own type (Prometheus, "Exposition formats").
        Ok(with_body("text/plain; version=0.0.4; charset=utf-8", metrics.into()))
    }
}
