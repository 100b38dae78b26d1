//! Rolls to a release that should not have been made: they stop, and the old one serves.

use std::time::Duration;

use crate::balancer::{Balancer, NOTICED_MAX};
use crate::group::{Group, Release, SIZE, Stopped};
use crate::harness::new_folder;
use crate::load::{Load, Manner, Seen};
use crate::{Database, NOISE, alone, releases};

/// Longer than a bad release looks well.
const BAKE: Duration = Duration::from_secs(90);

#[test]
fn a_release_that_never_gets_ready_gets_no_request() {
    let (stopped, seen, served) = roll_to("unready");
    assert_eq!((stopped, served), (Stopped::NotHealthy, SIZE));
    seen.expect_no_failure();
}

#[test]
fn a_release_that_crashes_after_a_minute_fails_requests_until_the_balancer_knows() {
    let (stopped, seen, served) = roll_to("crash");
    assert_eq!((stopped, served), (Stopped::NotHealthyForLong, SIZE + 1));
    assert!(seen.elapsed > Duration::from_secs(60), "{seen}");
    assert!(seen.failing_for() < NOTICED_MAX + NOISE, "{seen}");
}

#[test]
fn a_release_that_gets_slow_fails_requests_until_the_balancer_knows() {
    let (stopped, seen, served) = roll_to("slow");
    assert_eq!((stopped, served), (Stopped::NotHealthyForLong, SIZE + 1));
    assert!(seen.failing_for() < NOTICED_MAX + NOISE, "{seen}");
}

/// Rolls to a release with this fault, which must stop. Gives too how many instances were
/// sent requests.
fn roll_to(fault: &str) -> (Stopped, Seen, usize) {
    let _alone = alone();
    let balancer = Balancer::start();
    let old = Release::good(releases::previous());
    let bad = Release { binary: releases::next(), fault, bake: BAKE };
    let database = Database::Sqlite.create();
    let mut group = Group::start(&balancer, database, new_folder(), None, old);
    let before: Vec<_> = group.addresses().collect();
    let load = Load::start(balancer.address, Manner::Strict);
    let stopped = group.roll(bad).expect_err("the roll stops");
    let seen = load.stop();
    println!("a release with the fault {fault:?}: {stopped:?}; {seen}");
    assert_eq!(group.addresses().collect::<Vec<_>>(), before);
    seen.expect_nothing_lost(before);

    // What is left serves as before.
    let load = Load::start(balancer.address, Manner::Strict);
    std::thread::sleep(Duration::from_secs(1));
    load.stop().expect_no_failure();
    (stopped, seen, balancer.instances_with_requests())
}
