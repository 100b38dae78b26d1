//! The real binary on PostgreSQL servers that Patroni keeps in a group: a switchover
//! fails no request, and a leader that dies costs nothing acknowledged.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../postgres/cluster.rs"]
mod cluster;
#[path = "../postgres/commits.rs"]
mod commits;
mod group;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../service/harness.rs"]
mod harness;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../load.rs"]
mod load;
#[path = "../service/openapi.rs"]
mod openapi;
#[path = "../patience.rs"]
mod patience;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../postgres/waits.rs"]
mod waits;

use std::path::Path;
use std::time::Instant;

use group::Group;
use harness::Service;
use load::{BUSY, Load, TODAY};
use waits::{wait_until_refused, wait_until_works};

/// Every test names its database.
fn database_url(_: &Path) -> Option<String> {
    None
}

fn start(group: &Group) -> Service {
    Service::start(&["--database-url", &group.url(), "--today", TODAY])
}

#[test]
fn switchovers_under_load_fail_no_request_and_lose_no_save() {
    /// There and back.
    const SWITCHOVERS: u32 = 2;
    /// On a busy machine a switchover may take longer than requests wait.
    const ATTEMPTS_MAX: u32 = 3;
    let group = Group::start();
    let service = start(&group);
    for _ in 0..ATTEMPTS_MAX {
        let load = Load::start(service.address, BUSY);
        let commits = group.attempt_commits();
        for _ in 0..SWITCHOVERS {
            load.wait_for_saves(200);
            group.switch_over();
            wait_until_works(&service);
        }
        load.wait_for_saves(200);
        let longest_away = commits.stop();
        let seen = load.stop();
        seen.expect_nothing_lost([service.address]);
        println!("{SWITCHOVERS} switchovers, away for {longest_away:.1?}, none lost: {seen}");
        seen.expect_none_refused(&service, longest_away);
        if seen.retried == 0 {
            break;
        }
    }
    service.stop();
}

#[test]
fn a_leader_that_dies_under_load_costs_refusals_that_end_and_nothing_acknowledged() {
    let mut group = Group::start();
    let service = start(&group);
    let load = Load::start(service.address, BUSY);
    load.wait_for_saves(200);
    group.kill_leader();
    let killed = Instant::now();
    wait_until_refused(&service);
    wait_until_works(&service);
    let outage = killed.elapsed();
    load.wait_for_saves(200);
    let seen = load.stop();
    seen.expect_all_answered();
    seen.expect_nothing_lost([service.address]);
    println!("away for {outage:?}, none lost: {seen}");
    assert!(service.log().contains("the store answers again"), "{}", service.log());
    service.stop();
}
