//! A service that crashes takes nothing with it, and stops no other.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::random;
use crate::load::{BUSY, Clients, Load};
use crate::share::{Server, ShareClients};

/// Enough for many moments of a commit: with all its clients busy, the service is in one
/// most of the time.
const KILLS: usize = 10;

pub fn kill_again_and_again(_: &mut Server, [one, other, _]: &ShareClients) {
    let surviving = other.start("");
    let surviving_load = Load::start(surviving.address, BUSY);
    let mut stalled = Duration::ZERO;
    let mut by_killed = 0;
    for _ in 0..KILLS {
        let service = one.start("");
        let load = Load::start(service.address, Clients { patient: false, ..BUSY });
        load.wait_for_saves(1);
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(random(200)));
        service.kill();
        let killed = Instant::now();
        let seen = load.stop();
        surviving_load.wait_for_saves(1);
        stalled = stalled.max(killed.elapsed());
        seen.expect_nothing_lost([surviving.address]);
        by_killed += seen.acknowledged;
        other.expect_sound();
    }
    let seen = surviving_load.stop();
    println!(
        "{KILLS} kills: {by_killed} saves acknowledged by the killed, none lost; the other: {seen}, \
         saved again within {stalled:?}"
    );
    seen.expect_all_answered();
    let again = one.start("");
    seen.expect_nothing_lost([again.address]);
    [surviving, again].into_iter().for_each(|service| service.stop());
}
