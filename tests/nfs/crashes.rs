//! A service that crashes takes nothing with it, and no one along.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::random;
use crate::load::Load;
use crate::share::Share;
use crate::writers::Written;

const ROUNDS: usize = 20;

/// After a crash the others save again within this: less than a request's deadline.
const STALLED_MAX: Duration = Duration::from_secs(4);

#[test]
fn kill_nine_of_a_writer_loses_nothing_and_the_other_client_goes_on() {
    let share = Share::start();
    let [one, other] = share.clients();
    let surviving = other.start("");
    let surviving_load = Load::start(surviving.address, 1, 0);
    let mut known = Written::default();
    let mut kills = Vec::new();
    for round in 0..ROUNDS {
        let service = one.start("");
        let load = Load::start(service.address, 0, round);
        load.wait_for_save();
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(random(200)));
        service.kill();
        kills.push(Instant::now());
        let seen = load.finish();
        assert_eq!(seen.refused(), 0);
        known.add(seen.written);
        surviving_load.wait_for_save();
        known.check(other.stored());
    }
    let seen = surviving_load.finish();
    let stalled = kills.iter().map(|kill| seen.success_after("PUT", *kill).unwrap());
    let stalled = stalled.max().unwrap();
    let refused = seen.refused();
    assert_eq!(seen.lost, 0);
    assert!(stalled < STALLED_MAX, "{stalled:?}");
    let killed = known.acknowledged;
    known.add(seen.written);
    known.check(one.stored());
    println!(
        "{ROUNDS} kills: {killed} saves acknowledged by the killed, {} by the other client, none lost; \
         {refused} refused, the other saved again within {stalled:?}",
        known.acknowledged - killed
    );
    surviving.stop();
}
