//! The share goes away, from one client or from all, and comes back.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{random, wait_until};
use crate::load::{BUSY, Load};
use crate::share::{Server, Service, ShareClients};

/// So slow that there is time to see where a client is before it is cut off.
const SLOW_ROUND_TRIP: Duration = Duration::from_millis(50);

/// How far a client is with a commit when it is cut off.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Commit {
    /// It has the lock, and all that it writes is still to come.
    Locked,
    /// The journal is written, and so may be some of the database.
    Journaled,
}

pub fn cut_off(server: &mut Server, [one, other, _]: &ShareClients) {
    let services = [one, other].map(|client| client.start(""));
    for commit in [Commit::Locked, Commit::Journaled] {
        let cut_load = Load::start(services[0].address, BUSY);
        cut_load.wait_for_saves(1);
        server.set_round_trip(SLOW_ROUND_TRIP);
        let is_there = || {
            server.is_locked() && (commit == Commit::Locked || server.has_journal(&one.database))
        };
        wait_until("it is cut off within a commit", || {
            wait_until("it has no lock", || (!server.is_locked()).then_some(()));
            wait_until("it is there", || is_there().then_some(()));
            one.share.cut();
            // What it had sent before has arrived by the second look.
            let is_cut_off = is_there() && is_there();
            if !is_cut_off {
                one.share.repair();
            }
            is_cut_off.then_some(())
        });
        let cut = Instant::now();
        server.set_round_trip(Duration::ZERO);
        let load = Load::start(services[1].address, BUSY);
        // Then the lease ends.
        load.wait_for_saves(1);
        let saved = cut.elapsed();
        cut_load.wait_for_retry();
        // It stays away until the other has gone on for a while.
        load.wait_for_saves(1);
        one.share.repair();
        let repaired = Instant::now();
        cut_load.wait_for_saves(1);
        let back = repaired.elapsed();
        load.wait_for_saves(1);
        println!(
            "cut off when it was {commit:?}: the other saved after {saved:?}, the cut off {back:?} \
             after it was back"
        );
        for load in [cut_load, load] {
            expect_no_loss(load, &services);
        }
    }
    one.expect_sound();
    services.into_iter().for_each(Service::stop);
}

/// No request is sent: an instance notices by itself.
pub fn hang(_: &mut Server, [one, other, _]: &ShareClients) {
    let hanging = one.start("--store-outage-max 1s");
    let other = other.start("");
    one.share.cut();
    wait_until("it is not ready", || (hanging.readiness() == 503).then_some(()));
    assert!(hanging.metric("store_outage_seconds") >= 1.0);
    assert!(other.is_ready());
    one.share.repair();
    wait_until("it is ready again", || hanging.is_ready().then_some(()));
    [hanging, other].into_iter().for_each(Service::stop);
}

pub fn restart_and_cut_power(server: &mut Server, [one, other, _]: &ShareClients) {
    let services = [one, other].map(|client| client.start(""));
    for what in ["restarted", "without power"] {
        let loads = services.each_ref().map(|service| Load::start(service.address, BUSY));
        loads.iter().for_each(|load| load.wait_for_saves(1));
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(random(200)));
        let began = Instant::now();
        match what {
            "restarted" => server.restart(),
            _ => server.cut_power(),
        }
        let there = Instant::now();
        loads.iter().for_each(|load| load.wait_for_saves(1));
        println!("{what} for {:?}: both save {:?} later", there - began, there.elapsed());
        for load in loads {
            expect_no_loss(load, &services);
        }
    }
    one.expect_sound();
    services.into_iter().for_each(Service::stop);
}

/// Ends a load, of which nothing may be lost.
fn expect_no_loss(load: Load, services: &[Service<'_>; 2]) {
    let seen = load.stop();
    println!("  {seen}");
    seen.expect_all_answered();
    seen.expect_nothing_lost(services.each_ref().map(|service| service.address));
}
