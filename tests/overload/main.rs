//! More requests than the service can take, from 5,000 connections, among them those of
//! clients that send and read slowly: it answers every request, tells clients to retry
//! where it must, stays small, and then all is as before.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../cargo.rs"]
pub(crate) mod cargo;
#[path = "../postgres/cluster.rs"]
pub(crate) mod cluster;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../service/harness.rs"]
pub(crate) mod harness;
pub(crate) mod heads;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../load.rs"]
pub(crate) mod load;
#[path = "../service/openapi.rs"]
pub(crate) mod openapi;
pub(crate) mod overload;
#[path = "../patience.rs"]
pub(crate) mod patience;
pub(crate) mod slow;
#[path = "../static_binary.rs"]
pub(crate) mod static_binary;

use std::path::Path;

use cluster::Session;
use harness::{Service, value, wait_until};
use heads::Heads;
use load::{BUSY, Load};
use overload::{Overload, metrics, peak_mib, start, withstand};

/// For any number of connections.
const MEMORY_MIB_MAX: f64 = 128.0;

/// Clients that have their requests wait together, and attempts to have all of them wait before
/// the first has run out of time.
const WAITING: usize = 5000;
const ATTEMPTS_MAX: usize = 5;

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

#[test]
fn heads_that_wait_for_a_blocked_database_are_no_reason_to_grow() {
    // As many as there are may wait if they are small; else they have one large header, or as many
    // as hyper admits.
    for (bytes, headers) in [(7 * 1024, 1), (15 * 1024, 1), (15 * 1024, 98)] {
        let mut attempts = (0..ATTEMPTS_MAX).map(|_| wait_with_heads(bytes, headers));
        if !attempts.any(|all_at_once| all_at_once) {
            println!("not shown, the machine is too slow: some ran out of time before all waited");
        }
    }
}

/// Makes clients wait whose heads have so many bytes and headers. Returns whether the last of them
/// waited, or was refused, before the first ran out of time.
fn wait_with_heads(bytes: usize, headers: usize) -> bool {
    let database = cluster::shared().new_database();
    let service = start(&["--database-url", &database]);
    let mut clients = Heads::connect(&service, WAITING);
    let mut lock = Session::open(&database);
    lock.execute("begin; lock table users in access exclusive mode");
    clients.send(bytes, headers);
    let (waiting, refused) = wait_until("all wait, or some have run out of time", || {
        let metrics = metrics(&service);
        let refused = r#"hello_birthday_http_requests_shed_total{listener="public"}"#;
        let [waiting, refused] = ["hello_birthday_http_requests_in_flight", refused]
            .map(|series| value(&metrics, series) as usize);
        let is_late = metrics.contains(r#"status="503""#);
        (waiting + refused == WAITING || is_late).then_some((waiting, refused))
    });
    lock.execute("commit");
    clients.read_answers();
    let peak_mib = peak_mib(&service);
    println!(
        "{waiting} heads of {bytes} bytes and {headers} headers wait, {refused} are refused: \
         {peak_mib:.0} MiB"
    );
    assert!(peak_mib < MEMORY_MIB_MAX, "{peak_mib} MiB");
    waiting + refused == WAITING
}

/// All clients are served in the end, while they retry as `Retry-After` says.
fn expect_to_withstand(service: &Service, during: impl FnOnce(&Load)) {
    let Overload { seen, peak_mib, normal_after } = withstand(service, BUSY, during);
    println!("{seen}; {peak_mib:.0} MiB; normal after {normal_after:.1?}");
    seen.expect_all_answered();
    seen.expect_nothing_lost([service.address]);
    assert!(peak_mib < MEMORY_MIB_MAX, "{peak_mib} MiB");
    let metrics = metrics(service);
    assert_eq!(value(&metrics, r#"hello_birthday_http_panics_total{listener="public"}"#), 0.0);
    assert!(!metrics.contains(r#"status="500""#), "{metrics}");
}

/// The database of a service that is given none: a file in its folder.
pub(crate) fn database_url(_folder: &Path) -> Option<String> {
    None
}
