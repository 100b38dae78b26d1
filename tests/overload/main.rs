//! More requests than the service can take, from 5,000 connections, among them those of
//! clients that send and read slowly: it answers every request, tells clients to retry
//! where it must, stays small, and then all is as before.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../postgres/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../service/harness.rs"]
mod harness;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../roll/load.rs"]
mod load;
#[path = "../service/openapi.rs"]
mod openapi;
mod overload;
#[path = "../patience.rs"]
mod patience;
mod slow;

use std::path::Path;

use cluster::Session;
use harness::{Service, value, wait_until};
use load::{Clients, Load};
use overload::{BUSY, Overload, metrics, start, withstand};

/// They send a request as soon as they may.
const CLIENTS: Clients =
    Clients { count: BUSY, per_second: 1_000_000, catches_up: false, finds: true, patient: true };

/// For any number of connections.
const MEMORY_MIB_MAX: f64 = 128.0;

#[test]
fn a_blocked_database_is_no_reason_to_wait_or_to_grow() {
    let database = cluster::shared().new_database();
    let service = start(&["--database-url", &database]);
    expect_to_withstand(&service, |load| {
        load.wait_for_round();
        let mut lock = Session::open(&database);
        lock.execute("begin; lock table users in share mode");
        // While the database is blocked, so they do not wait for it.
        for reason in ["deadline", "overloaded"] {
            let rejected =
                format!(r#"hello_birthday_store_rejected_total{{kind="write",reason="{reason}"}}"#);
            wait_until(&rejected, || (service.metric(&rejected) > 0.0).then_some(()));
        }
        lock.execute("commit");
    });
}

#[test]
fn a_busy_processor_is_no_reason_to_grow() {
    expect_to_withstand(&start(&[]), |load| load.wait_for_round());
}

/// All clients are served in the end, while they retry as they are told.
fn expect_to_withstand(service: &Service, during: impl FnOnce(&Load)) {
    let Overload { seen, peak_mib, normal_after } = withstand(service, CLIENTS, during);
    println!("{seen}; {peak_mib:.0} MiB; normal after {normal_after:.1?}");
    seen.expect_no_failure();
    seen.expect_nothing_lost([service.address]);
    assert_eq!(seen.unanswered, 0, "requests without an answer");
    assert_eq!(seen.without_retry_after, 0, "answers with status 503 without Retry-After");
    assert!(peak_mib < MEMORY_MIB_MAX, "{peak_mib} MiB");
    let metrics = metrics(service);
    assert_eq!(value(&metrics, r#"hello_birthday_http_panics_total{listener="public"}"#), 0.0);
    assert!(!metrics.contains(r#"status="500""#), "{metrics}");
}

/// The database of a service that is given none: a file in its folder.
fn database_url(_folder: &Path) -> Option<String> {
    None
}
