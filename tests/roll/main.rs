//! A group of instances behind a load balancer, under load: rolled, broken and
//! restarted, and what its clients see of that.
//!
//! To learn how a roll works, read `group` first, then `balancer`, `load` and `scenarios`.
//! The cloud's times are shorter here, its parts are real: HAProxy, the binary, a database,
//! networks. That needs root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub(crate) mod balancer;
#[path = "../cargo.rs"]
pub(crate) mod cargo;
#[path = "../postgres/cluster.rs"]
pub(crate) mod cluster;
pub(crate) mod group;
#[allow(dead_code, reason = "of what asks a service, the balancer asks most")]
#[path = "../service/harness.rs"]
pub(crate) mod harness;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../load.rs"]
pub(crate) mod load;
pub(crate) mod network;
#[path = "../service/openapi.rs"]
pub(crate) mod openapi;
#[path = "../patience.rs"]
pub(crate) mod patience;
#[allow(dead_code, reason = "it can do more to a network")]
#[path = "../postgres/proxy.rs"]
pub(crate) mod proxy;
pub(crate) mod releases;
pub(crate) mod scenarios;

use std::path::Path;
use std::thread;
use std::time::Duration;

use balancer::UNHURRIED;
use group::Stopped;
use load::{BUSY, Clients};
use network::Network;
use scenarios::{Blow, Database, Scale};

/// Few enough clients, with pauses, that a slow machine answers them long before the
/// service's own deadline of 5 s.
const SCALE: Scale = Scale {
    clients: Clients { per_second: 400, patient: false, ..BUSY },
    timeouts: UNHURRIED,
    watch_min: Duration::ZERO,
};

#[test]
fn rolls_fail_no_request() {
    on_both_databases(|database| {
        let seen = scenarios::roll(&SCALE, database);
        println!("3 rolls on {database:?}: {seen}");
        seen.expect_no_failure();
    });
}

#[test]
fn a_release_that_never_gets_ready_gets_no_request() {
    let roll = scenarios::roll_to_bad_release(&SCALE, "unready");
    println!("unready: {}", roll.seen);
    assert_eq!((roll.why, roll.was_sent_requests), (Stopped::NotReady, false));
    roll.seen.expect_no_failure();
}

#[test]
fn a_release_that_crashes_later_fails_requests_until_the_balancer_knows() {
    expect_to_stop_later("crash");
}

#[test]
fn a_release_that_stops_answering_fails_requests_until_the_balancer_knows() {
    expect_to_stop_later("hang");
}

fn expect_to_stop_later(fault: &str) {
    let roll = scenarios::roll_to_bad_release(&SCALE, fault);
    println!("{fault}: {}", roll.seen);
    assert_eq!((roll.why, roll.was_sent_requests), (Stopped::Unhealthy, true));
    roll.seen.expect_no_failure_after(roll.removed);
}

#[test]
fn a_killed_instance_fails_requests_until_the_balancer_knows() {
    expect_to_survive(Blow::Kill, None);
}

#[test]
fn a_hung_instance_fails_requests_until_the_balancer_knows() {
    expect_to_survive(Blow::Hang, None);
}

#[test]
fn an_instance_without_network_fails_requests_until_the_balancer_knows() {
    expect_to_survive(Blow::CutCable, Some(&Network::new()));
}

#[test]
fn an_instance_cut_off_from_its_store_is_taken_out_and_replaced() {
    let death = scenarios::cut_off_from_store(&SCALE);
    println!("no store: {}; patient clients: {}", death.strict, death.patient);
    assert_eq!(death.health, balancer::Health::NotReady);
    death.strict.expect_no_failure_after(death.removed);
    death.patient.expect_no_failure();
}

#[test]
fn a_short_outage_of_the_shared_store_takes_no_instance_out() {
    let seen = scenarios::outlast_outage(&SCALE);
    println!("outage: {seen}");
    seen.expect_all_answered();
}

/// Clients that retry as `Retry-After` says notice nothing.
fn expect_to_survive(blow: Blow, network: Option<&Network>) {
    on_both_databases(|database| {
        let death = scenarios::strike(&SCALE, blow, database, network);
        println!("{blow:?} on {database:?}: {}; patient clients: {}", death.strict, death.patient);
        death.strict.expect_no_failure_after(death.removed);
        death.patient.expect_no_failure();
    });
}

#[test]
fn restarts_refuse_and_fail_no_request() {
    let seen = scenarios::restart(&SCALE, 10);
    println!("10 restarts: {seen}");
    seen.expect_no_failure();
}

/// Runs a scenario on both at once, since it mostly waits.
fn on_both_databases(scenario: impl Fn(Database) + Sync) {
    thread::scope(|scope| {
        for database in Database::BOTH {
            let scenario = &scenario;
            scope.spawn(move || scenario(database));
        }
    });
}

/// The database of a service that is given none: none is.
pub(crate) fn database_url(_folder: &Path) -> Option<String> {
    None
}
