//! The admin listener: probes and metrics, for operators and load balancers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Method;

use super::handlers::{text, with_body};
use super::host::check_host;
use super::{Handler, Problem, Request, Response};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::reporting::report_store_failure;
use crate::store::Store;

/// The handler of the admin listener.
pub struct Admin {
    lifecycle: Arc<Lifecycle>,
    store: Arc<Store>,
    /// An instance is not ready once the store has not answered it for this long.
    outage_max: Duration,
    /// Whether that was so at the last probe: a change is logged.
    cut_off: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Handler for Admin {
    async fn handle(&self, request: Request) -> Response {
        self.answer(&request).unwrap_or_else(Response::from)
    }
}

impl Admin {
    pub fn new(
        lifecycle: Arc<Lifecycle>,
        store: Arc<Store>,
        outage_max: Duration,
        metrics: Arc<Metrics>,
    ) -> Admin {
        Admin { lifecycle, store, outage_max, cut_off: AtomicBool::new(false), metrics }
    }

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

    /// Reports whether this instance may receive traffic. All instances share the store, and
    /// replacing them would not end its outage; but one that lasts is most likely of this host,
    /// as when its mount hangs. If it is everywhere after all, load balancers send requests to
    /// instances that are not ready.
    fn readyz(&self) -> Result<Response, Problem> {
        if self.lifecycle.is_stopping() {
            return Err(Problem::unavailable(
                "the service is stopping: send requests to another instance",
            ));
        }
        let outage = self.store.outage();
        let cut_off = outage >= self.outage_max;
        if cut_off != self.cut_off.swap(cut_off, Ordering::Relaxed) {
            match cut_off {
                true => {
                    const NOT_READY: &str = "not ready: the store does not answer this instance";
                    tracing::error!(outage_s = outage.as_secs(), "{NOT_READY}");
                    report_store_failure(NOT_READY, None, None);
                }
                false => tracing::info!("ready again: the store answers"),
            }
        }
        if cut_off {
            return Err(Problem::unavailable(
                "the store does not answer this instance: send requests to another one",
            ));
        }
        Ok(text("OK"))
    }

    fn metrics(&self) -> Result<Response, Problem> {
        // No process runs for longer than the type can hold.
        let outage = i64::try_from(self.store.outage().as_secs()).unwrap_or(i64::MAX);
        self.metrics.store_outage_seconds.set(outage);
        let metrics = self.metrics.render().map_err(|error| {
            tracing::error!(%error, "cannot render the metrics");
            Problem::internal_error()
        })?;
        // The format's own type (Prometheus, "Exposition formats").
        Ok(with_body("text/plain; version=0.0.4; charset=utf-8", metrics.into()))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use tempfile::TempDir;
    use tokio::time::{pause, resume, sleep};

    use super::*;
    use crate::domain::Username;
    use crate::store::{JournalChoice, STORE_OUTAGE_MAX, StoreOptions, UrlSource};

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn an_instance_is_not_ready_after_120_s_without_the_store_until_it_answers() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("users.db");
        let metrics = Arc::new(Metrics::new());
        let url = UrlSource::Text(format!("sqlite:{}", file.display()));
        let options =
            StoreOptions { sqlite_journal: JournalChoice::Truncate, ..StoreOptions::default() };
        let store = Arc::new(Store::open(&url, options, &metrics).await.unwrap());
        let admin = Admin::new(Arc::default(), store.clone(), STORE_OUTAGE_MAX, metrics);
        let probed = store.clone();
        tokio::spawn(async move { probed.probe_when_idle().await });
        assert!(admin.readyz().is_ok());

        let outside = Connection::open(file).unwrap();
        outside.execute_batch("begin exclusive").unwrap();
        pause();
        // No request comes, and the first probe is sent after 10 s.
        sleep(129 * SECOND).await;
        assert!(admin.readyz().is_ok());
        sleep(2 * SECOND).await;
        assert!(admin.readyz().is_err());

        outside.execute_batch("rollback").unwrap();
        resume();
        while store.find(Username::probe()).await.is_err() {}
        assert!(admin.readyz().is_ok());
    }
}
