//! The real binary on PostgreSQL servers that Patroni keeps in a group: a switchover
//! fails no request, and a leader that dies costs nothing acknowledged.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../postgres/cluster.rs"]
mod cluster;
mod group;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../service/harness.rs"]
mod harness;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../postgres/load.rs"]
mod load;
#[path = "../service/openapi.rs"]
mod openapi;
#[path = "../patience.rs"]
mod patience;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../service/writers.rs"]
mod writers;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use group::Group;
use harness::Service;
use load::{wait_for_saves, wait_until_refused, wait_until_works, write_during};

/// Every test names its database.
fn database_url(_: &Path) -> Option<String> {
    None
}

fn read_all(group: &Group) -> HashMap<String, String> {
    let url = group.url() + "?target_session_attrs=read-write";
    load::read_all(&url)
}

#[test]
fn switchovers_under_load_fail_no_request_and_lose_no_save() {
    const SWITCHOVERS: u32 = 2;
    let group = Group::start();
    let service = Service::start(&["--database-url", &group.url()]);
    let mut seen = write_during(service.address, 0, || {
        for _ in 0..SWITCHOVERS {
            wait_for_saves(&service, 200);
            group.switch_over();
            wait_until_works(&service);
        }
        wait_for_saves(&service, 200);
    });
    seen.written.check(read_all(&group));
    println!(
        "{SWITCHOVERS} switchovers, {} saves acknowledged, none lost; {:?}",
        seen.written.acknowledged, seen.answers
    );
    seen.answers.expect_none_refused(&service);
    service.stop();
}

#[test]
fn a_leader_that_dies_under_load_costs_refusals_that_end_and_nothing_acknowledged() {
    let mut group = Group::start();
    let service = Service::start(&["--database-url", &group.url()]);
    let mut outage = Duration::ZERO;
    let mut seen = write_during(service.address, 0, || {
        wait_for_saves(&service, 200);
        group.kill_leader();
        let killed = Instant::now();
        wait_until_refused(&service);
        wait_until_works(&service);
        outage = killed.elapsed();
        wait_for_saves(&service, 200);
    });
    seen.written.check(read_all(&group));
    println!(
        "away for {outage:?}, {} saves acknowledged, none lost; {:?}",
        seen.written.acknowledged, seen.answers
    );
    assert!(service.log().contains("the store answers again"), "{}", service.log());
    service.stop();
}
