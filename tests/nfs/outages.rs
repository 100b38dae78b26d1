//! The share goes away, from one client or from all, and comes back.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{random, wait_until};
use crate::load::{Load, Seen};
use crate::share::{LEASE, Service, Share};
use crate::writers::Written;

/// A request's deadline, and a moment for its answer.
const ANSWERED_MAX: Duration = Duration::from_secs(5 + 1);

/// The others may write this long after the lease ended.
const TAKEN_OVER_MAX: Duration = LEASE.saturating_add(Duration::from_secs(10));

/// Within this a client that was cut off is back: its TCP tries again ever less often.
const BACK_MAX: Duration = Duration::from_secs(60);

/// So slow that there is time to see where a client is before it is cut off.
const SLOW_ROUND_TRIP: Duration = Duration::from_millis(50);

/// About as long as a writer has the lock then.
const SLOW_TRIP_MILLIS: u64 = 500;

/// How often a client is cut off.
const CUTS: usize = 3;

#[test]
fn a_client_cut_off_with_the_lock_stops_the_others_for_the_lease_alone() {
    let share = Share::start();
    let [one, other] = share.clients();
    let [cut_off, service] = [&one, &other].map(|client| client.start(""));
    let mut known = Written::default();
    for round in 0..CUTS {
        let cut_load = Load::start(cut_off.address, 0, round);
        cut_load.wait_for_save();
        share.set_round_trip(SLOW_ROUND_TRIP);
        let (cut, moment) = wait_until("it is cut off with the lock", || {
            // First as soon as it has the lock, when all it writes is still to come;
            // then at any moment while it has it.
            let moment = if round == 0 { 0 } else { random(SLOW_TRIP_MILLIS) };
            wait_until("it has no lock", || (!share.is_locked()).then_some(()));
            wait_until("it has the lock", || share.is_locked().then_some(()));
            thread::sleep(Duration::from_millis(moment));
            one.share.cut();
            let cut = Instant::now();
            if share.is_locked() {
                return Some((cut, moment));
            }
            one.share.mend();
            None
        });
        share.set_round_trip(Duration::ZERO);
        let load = Load::start(service.address, 1, round);
        load.wait_for_save();
        // It stays away until the others have gone on for a while.
        thread::sleep(Duration::from_secs(1));
        one.share.mend();
        let mended = Instant::now();
        cut_load.wait_for_save();
        load.wait_for_save();
        let [cut_seen, seen] = [cut_load, load].map(Load::finish);
        let [found, saved] = ["GET", "PUT"].map(|method| seen.success_after(method, cut).unwrap());
        let back = cut_seen.success_after("PUT", mended).unwrap();
        println!(
            "cut off {moment} ms after it took the lock: the other found users after {found:?}, \
             saved after {saved:?}, {} refused, slowest {:?}; the cut off {} refused, slowest {:?}, \
             back after {back:?}",
            seen.refused(),
            seen.slowest(),
            cut_seen.refused(),
            cut_seen.slowest()
        );
        for seen in [cut_seen, seen] {
            assert_eq!(seen.lost, 0);
            assert!(seen.refused() > 0 && seen.slowest() < ANSWERED_MAX);
            known.add(seen.written);
        }
        assert!(saved < TAKEN_OVER_MAX && back < BACK_MAX);
        for client in [&one, &other] {
            known.check(client.stored());
        }
    }
    println!("{CUTS} times cut off: {} saves acknowledged, none lost", known.acknowledged);
    cut_off.stop();
    service.stop();
}

#[test]
fn a_server_that_is_restarted_or_loses_power_loses_nothing() {
    let mut share = Share::start();
    let clients: [_; 2] = share.clients();
    let services = clients.each_ref().map(|client| client.start(""));
    let mut known = Written::default();
    let outages = ["restarted", "without power"];
    for (round, what) in outages.into_iter().enumerate() {
        let loads = [0, 1].map(|number| Load::start(services[number].address, number, round));
        loads.iter().for_each(Load::wait_for_save);
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(random(200)));
        let began = Instant::now();
        match what {
            "restarted" => share.restart(),
            _ => share.cut_power(),
        }
        let there = Instant::now();
        let seen: [Seen; 2] = loads.map(|load| {
            load.wait_for_save();
            load.finish()
        });
        let back = seen.each_ref().map(|seen| seen.success_after("PUT", there).unwrap());
        for (number, seen) in seen.into_iter().enumerate() {
            println!(
                "{what} for {:?}: client {} saves {:?} later; {} refused, slowest {:?}",
                there - began,
                number + 1,
                back[number],
                seen.refused(),
                seen.slowest()
            );
            assert_eq!(seen.lost, 0);
            assert!(seen.slowest() < ANSWERED_MAX);
            assert!(back[number] < BACK_MAX);
            known.add(seen.written);
        }
        for client in &clients {
            known.check(client.stored());
        }
    }
    println!("{} outages: {} saves acknowledged, none lost", outages.len(), known.acknowledged);
    services.into_iter().for_each(Service::stop);
}
