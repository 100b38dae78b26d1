//! A service that crashes takes nothing with it, and stops no other.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::random;
use crate::load::Load;
use crate::share::{Clients, Server};
use crate::writers::Written;

/// Enough for many moments of a commit: with all its writers busy, the service is in one
/// most of the time.
const KILLS: usize = 10;

pub fn kill_again_and_again(_: &mut Server, [one, other, _]: &Clients) {
    let surviving = other.start("");
    let surviving_load = Load::start(&[surviving.address], 1, 0);
    let mut known = Written::default();
    let mut stalled = Duration::ZERO;
    for round in 0..KILLS {
        let service = one.start("");
        let load = Load::start(&[service.address], 0, round);
        load.wait_for_save();
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(random(200)));
        service.kill();
        let killed = Instant::now();
        surviving_load.wait_for_save();
        stalled = stalled.max(killed.elapsed());
        known.add(load.finish().0);
        known.check(other.stored());
    }
    let (written, seen) = surviving_load.finish();
    assert_eq!(seen.lost, 0);
    let by_killed = known.acknowledged;
    known.add(written);
    known.check(one.stored());
    println!(
        "{KILLS} kills: {by_killed} saves acknowledged by the killed, {} by the other client, none \
         lost; {} refused, the other saved again within {stalled:?}",
        known.acknowledged - by_killed,
        seen.refused
    );
    surviving.stop();
}
