//! How many requests fail, and how slow the slowest is, while a group under load is rolled,
//! broken and restarted: `cargo bench --bench roll`, as root.

#[allow(dead_code, reason = "tests need more of it")]
#[path = "main.rs"]
mod suite;

use std::time::Duration;

use balancer::Timeouts;
use load::{BUSY, Clients, Seen};
use network::Network;
use scenarios::{Blow, Database, Scale};
use suite::*;

const SCALE: Scale = Scale {
    clients: Clients { count: 64, per_second: 2500, catches_up: true, patient: false, ..BUSY },
    timeouts: Timeouts {
        check_interval: Duration::from_millis(100),
        check: Duration::from_millis(500),
        connect: Duration::from_secs(1),
        answer: Duration::from_secs(6),
    },
    watch_min: Duration::from_secs(1),
};

/// Each of three rolls, on a new database.
const ROUNDS: usize = 7;

const RESTARTS: usize = 50;

fn main() {
    for database in Database::BOTH {
        let mut all = Seen::default();
        (0..ROUNDS).for_each(|_| all.add(scenarios::roll(&SCALE, database)));
        let rolls = 3 * ROUNDS;
        println!("{rolls} rolls on {database:?}, {ROUNDS} over a migration, {ROUNDS} back: {all}");
    }
    for fault in ["unready", "crash", "hang"] {
        let seen = scenarios::roll_to_bad_release(&SCALE, fault).seen;
        println!("roll to a release with the fault {fault:?}: {seen}");
    }
    let mut patient = Seen::default();
    let network = Network::new();
    for blow in [Blow::Kill, Blow::Hang, Blow::CutCable] {
        let network = matches!(blow, Blow::CutCable).then_some(&network);
        for database in Database::BOTH {
            let death = scenarios::strike(&SCALE, blow, database, network);
            println!("{blow:?} on {database:?}: {}", death.strict);
            patient.add(death.patient);
        }
    }
    println!("the last six, to clients that retry: {patient}");
    println!("{RESTARTS} restarts: {}", scenarios::restart(&SCALE, RESTARTS));
}
