//! Metrics of the service, for Prometheus. No label holds a path, a username
//! or a date: those are personal data.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// Seconds: from a lone read to the request's deadline.
const SECONDS_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0,
];

/// Requests: from a lone one to a full batch.
const REQUESTS_BUCKETS: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// The statuses that the service answers with.
const STATUSES: [u16; 11] = [200, 204, 400, 404, 405, 408, 413, 415, 500, 501, 503];

pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    pub in_flight: IntGauge,
    panics: IntCounterVec,
    connections: IntGaugeVec,
    accept_errors: IntCounterVec,
    timed_out: IntCounterVec,
    shed_requests: IntCounterVec,
    batch_seconds: HistogramVec,
    batch_requests: HistogramVec,
    queue_length: IntGaugeVec,
    rejected: IntCounterVec,
    store_errors: IntCounterVec,
    store_retries: IntCounterVec,
    /// How long the store has not answered this instance.
    pub store_outage_seconds: IntGauge,
    /// Batches read from the primary because the replica did not answer.
    pub replica_fallbacks: IntCounter,
    /// Log lines that stderr did not take.
    pub log_lines_dropped: IntCounter,
    reports: IntCounterVec,
}

/// Error reports by outcome.
#[derive(Clone)]
pub struct ReportMetrics {
    /// Accepted by the error tracker.
    pub sent: IntCounter,
    /// Not accepted: the tracker was unreachable, hung or refused.
    pub failed: IntCounter,
    /// Not sent, because one of the same kind was sent recently, or the tracker asked for a pause.
    pub suppressed: IntCounter,
    /// Not sent, because too many waited.
    pub dropped: IntCounter,
}

#[derive(Clone)]
pub struct ListenerMetrics {
    pub connections: IntGauge,
    pub accept_errors: IntCounter,
    /// Connections closed because a head arrived too slowly.
    pub timed_out_heads: IntCounter,
    /// Incomplete or large requests rejected to bound memory.
    pub shed_requests: IntCounter,
    /// Connections closed because the client read a response too slowly.
    pub timed_out_responses: IntCounter,
    /// Requests whose handler panicked.
    pub panics: IntCounter,
}

/// Counters of one route and method.
pub struct RouteMetrics {
    seconds: Histogram,
    // Beside `STATUSES`, so that an answer's counter is found without hashing.
    by_status: [OnceLock<IntCounter>; STATUSES.len()],
    requests: IntCounterVec,
    labels: [&'static str; 2],
}

pub struct BatchMetrics {
    /// `read`, `write`, `ping` or `rates`.
    pub kind: &'static str,
    seconds: Histogram,
    requests: Histogram,
    queue_length: IntGauge,
    /// Requests rejected because too many waited, or the predicted delay was too long.
    pub overloaded: IntCounter,
    /// Requests not answered by their deadline.
    pub expired: IntCounter,
    pub errors: IntCounter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// Starts counting, at zero.
    pub fn new() -> Metrics {
        let registry = &Registry::new();
        let build_info = gauges(
            registry,
            "build_info",
            "The version that runs and its commit; always 1.",
            &["version", "commit"],
        );
        let [version, commit] = [env!("CARGO_PKG_VERSION"), env!("HELLO_BIRTHDAY_COMMIT")];
        build_info.with_label_values(&[version, commit]).set(1);
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("no other metric is a process's");
        Metrics {
            requests: counters(
                registry,
                "http_requests_total",
                "Requests answered by a handler. Those whose heads time out or that are rejected before are in hello_birthday_http_connections_timed_out_total and hello_birthday_http_requests_shed_total.",
                &["route", "method", "status"],
            ),
            request_seconds: histograms(
                registry,
                "http_request_seconds",
                "Seconds from a request's head to its response.",
                &["route", "method"],
                SECONDS_BUCKETS,
            ),
            in_flight: gauges(registry, "http_requests_in_flight", "Requests being answered.", &[])
                .with_label_values::<&str>(&[]),
            panics: counters(
                registry,
                "http_panics_total",
                "Requests whose handler panicked.",
                &["listener"],
            ),
            connections: gauges(registry, "http_connections", "Open connections.", &["listener"]),
            accept_errors: counters(
                registry,
                "http_accept_errors_total",
                "Connections that could not be accepted.",
                &["listener"],
            ),
            timed_out: counters(
                registry,
                "http_connections_timed_out_total",
                "Connections closed because a request head arrived, or a response was read, too slowly.",
                &["listener", "phase"],
            ),
            shed_requests: counters(
                registry,
                "http_requests_shed_total",
                "Incomplete or large requests rejected to bound memory.",
                &["listener"],
            ),
            batch_seconds: histograms(
                registry,
                "store_batch_seconds",
                "Seconds that a batch took.",
                &["kind"],
                SECONDS_BUCKETS,
            ),
            batch_requests: histograms(
                registry,
                "store_batch_requests",
                "Requests that shared a batch.",
                &["kind"],
                REQUESTS_BUCKETS,
            ),
            queue_length: gauges(
                registry,
                "store_queue_length",
                "Requests waiting for a batch.",
                &["kind"],
            ),
            rejected: counters(
                registry,
                "store_rejected_total",
                "Requests rejected because too many waited or would have waited too long, or not answered by their deadline.",
                &["kind", "reason"],
            ),
            store_errors: counters(
                registry,
                "store_errors_total",
                "Batches that failed.",
                &["kind"],
            ),
            store_retries: counters(
                registry,
                "store_retries_total",
                "Statements retried on Postgres after a lost connection or a conflict.",
                &["kind"],
            ),
            store_outage_seconds: gauges(
                registry,
                "store_outage_seconds",
                "Seconds for which batches have been tried and none has succeeded.",
                &[],
            )
            .with_label_values::<&str>(&[]),
            replica_fallbacks: counters(
                registry,
                "store_replica_fallbacks_total",
                "Batches read from the primary because the replica did not answer.",
                &[],
            )
            .with_label_values::<&str>(&[]),
            log_lines_dropped: counters(
                registry,
                "log_lines_dropped_total",
                "Log lines lost because stderr took them too slowly or not at all.",
                &[],
            )
            .with_label_values::<&str>(&[]),
            reports: counters(
                registry,
                "error_reports_total",
                "Errors to report to the error tracker, by outcome.",
                &["outcome"],
            ),
            registry: registry.clone(),
        }
    }

    /// Counters of `listener`, `public` or `admin`.
    pub fn listener(&self, listener: &'static str) -> ListenerMetrics {
        ListenerMetrics {
            connections: self.connections.with_label_values(&[listener]),
            accept_errors: self.accept_errors.with_label_values(&[listener]),
            timed_out_heads: self.timed_out.with_label_values(&[listener, "head"]),
            shed_requests: self.shed_requests.with_label_values(&[listener]),
            timed_out_responses: self.timed_out.with_label_values(&[listener, "response"]),
            panics: self.panics.with_label_values(&[listener]),
        }
    }

    /// Counters of requests for `route`, a pattern, with `method`.
    pub fn requests(&self, route: &'static str, method: &'static str) -> RouteMetrics {
        RouteMetrics {
            seconds: self.request_seconds.with_label_values(&[route, method]),
            by_status: [const { OnceLock::new() }; STATUSES.len()],
            requests: self.requests.clone(),
            labels: [route, method],
        }
    }

    /// Retried statements of `kind`.
    pub fn retries(&self, kind: &'static str) -> IntCounter {
        self.store_retries.with_label_values(&[kind])
    }

    /// Counters of batches of `kind`: `read`, `write`, `ping` or `rates`.
    pub fn batches(&self, kind: &'static str) -> BatchMetrics {
        BatchMetrics {
            kind,
            seconds: self.batch_seconds.with_label_values(&[kind]),
            requests: self.batch_requests.with_label_values(&[kind]),
            queue_length: self.queue_length.with_label_values(&[kind]),
            overloaded: self.rejected.with_label_values(&[kind, "overloaded"]),
            expired: self.rejected.with_label_values(&[kind, "deadline"]),
            errors: self.store_errors.with_label_values(&[kind]),
        }
    }

    /// Counters of error reports.
    pub fn reports(&self) -> ReportMetrics {
        let outcome = |outcome| self.reports.with_label_values(&[outcome]);
        ReportMetrics {
            sent: outcome("sent"),
            failed: outcome("failed"),
            suppressed: outcome("suppressed"),
            dropped: outcome("dropped"),
        }
    }

    /// All metrics in Prometheus's text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl RouteMetrics {
    /// Counts an answer with `status` that took `elapsed`.
    pub fn observe(&self, status: u16, elapsed: Duration) {
        self.seconds.observe(elapsed.as_secs_f64());
        let counter = || {
            let [route, method] = self.labels;
            self.requests.with_label_values(&[route, method, status.to_string().as_str()])
        };
        match STATUSES.iter().position(|known| *known == status) {
            Some(known) => self.by_status[known].get_or_init(counter).inc(),
            None => counter().inc(),
        }
    }
}

impl BatchMetrics {
    pub(crate) fn set_queue_length(&self, requests: usize) {
        // A queue is far shorter than `i64::MAX`.
        self.queue_length.set(i64::try_from(requests).unwrap_or(i64::MAX));
    }

    pub(crate) fn observe_batch(&self, elapsed: Duration, requests: usize) {
        self.seconds.observe(elapsed.as_secs_f64());
        // An `f64` holds the size of every batch exactly.
        self.requests.observe(requests as f64);
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("hello_birthday")
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let counters = IntCounterVec::new(options(name, help), labels);
    register(registry, counters.expect("the name and labels are valid"))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let gauges = IntGaugeVec::new(options(name, help), labels);
    register(registry, gauges.expect("the name and labels are valid"))
}

fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> HistogramVec {
    let options = HistogramOpts::from(options(name, help)).buckets(buckets.to_vec());
    let histograms = HistogramVec::new(options, labels);
    register(registry, histograms.expect("the name, labels and buckets are valid"))
}

fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> C {
    registry.register(Box::new(collector.clone())).expect("no two metrics share a name");
    collector
}
