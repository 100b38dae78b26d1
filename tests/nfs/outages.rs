//! The share goes away, from one client or from all, and comes back.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{random, wait_until};
use crate::load::Load;
use crate::share::{Clients, Server, Service};
use crate::writers::Written;

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

pub fn cut_off(server: &mut Server, [one, other, _]: &Clients) {
    let services = [one, other].map(|client| client.start(""));
    let mut known = Written::default();
    for (round, commit) in [Commit::Locked, Commit::Journaled].into_iter().enumerate() {
        let cut_load = Load::start(&[services[0].address], 0, round);
        cut_load.wait_for_save();
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
                one.share.mend();
            }
            is_cut_off.then_some(())
        });
        let cut = Instant::now();
        server.set_round_trip(Duration::ZERO);
        let load = Load::start(&[services[1].address], 1, round);
        // Then the lease ends.
        load.wait_for_save();
        let saved = cut.elapsed();
        wait_until("a refusal", || (cut_load.seen().refused > 0).then_some(()));
        // It stays away until the other has gone on for a while.
        load.wait_for_save();
        one.share.mend();
        let mended = Instant::now();
        cut_load.wait_for_save();
        let back = mended.elapsed();
        load.wait_for_save();
        let seen = [cut_load, load].map(Load::finish);
        let [(_, cut_off), (_, other_saw)] = &seen;
        println!(
            "cut off when it was {commit:?}: the other was refused {} times, the slowest after {:?}, \
             and saved after {saved:?}; the cut off was refused {} times, the slowest after {:?}, \
             and saved {back:?} after it was back",
            other_saw.refused, other_saw.slowest, cut_off.refused, cut_off.slowest
        );
        for (written, seen) in seen {
            assert!(seen.lost == 0 && seen.refused > 0);
            known.add(written);
        }
        for client in [one, other] {
            known.check(client.stored());
        }
    }
    println!("{} saves acknowledged beside them, none lost", known.acknowledged);
    services.into_iter().for_each(Service::stop);
}

pub fn restart_and_cut_power(server: &mut Server, [one, other, _]: &Clients) {
    let services = [one, other].map(|client| client.start(""));
    let mut known = Written::default();
    for (round, what) in ["restarted", "without power"].into_iter().enumerate() {
        let loads = [0, 1].map(|number| Load::start(&[services[number].address], number, round));
        loads.iter().for_each(Load::wait_for_save);
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(random(200)));
        let began = Instant::now();
        match what {
            "restarted" => server.restart(),
            _ => server.cut_power(),
        }
        let there = Instant::now();
        loads.iter().for_each(Load::wait_for_save);
        let back = there.elapsed();
        let seen = loads.map(Load::finish);
        println!(
            "{what} for {:?}: both clients save {back:?} later; refused {:?} times",
            there - began,
            seen.each_ref().map(|(_, seen)| seen.refused)
        );
        for (written, seen) in seen {
            assert_eq!(seen.lost, 0);
            known.add(written);
        }
        for client in [one, other] {
            known.check(client.stored());
        }
    }
    println!("{} saves acknowledged beside them, none lost", known.acknowledged);
    services.into_iter().for_each(Service::stop);
}
