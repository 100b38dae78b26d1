//! Instances that share the file are replaced one after the other, without a failed request.

use crate::load::{BUSY, Clients, Load};
use crate::share::{Server, Service, ShareClients};

/// Replaced one at a time: each client once, and one of the new ones.
const REPLACED: usize = 4;

/// One client more than the group has instances, so that a new one has a machine.
pub fn roll(_: &mut Server, clients: &ShareClients) {
    let mut group = vec![clients[0].start(""), clients[1].start("")];
    let addresses = |group: &[Service<'_>]| group.iter().map(|it| it.address).collect::<Vec<_>>();
    let load = Load::start_on(&addresses(&group), Clients { patient: false, ..BUSY });
    for number in 0..REPLACED {
        group.push(clients[(number + 2) % clients.len()].start(""));
        let old = group.remove(0);
        load.move_to(&addresses(&group));
        old.stop();
        load.wait_for_saves(1);
    }
    let seen = load.stop();
    println!("{REPLACED} instances replaced: {seen}");
    seen.expect_no_failure();
    seen.expect_nothing_lost(addresses(&group));
    clients.iter().for_each(|client| client.expect_sound());
    group.into_iter().for_each(Service::stop);
}
