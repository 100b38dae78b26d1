//! Instances that share the file are replaced one after the other, and nobody notices.

use crate::load::Load;
use crate::share::{Clients, Server, Service};
use crate::writers::Written;

/// Replaced one at a time: each client once, and one of the new ones.
const REPLACED: usize = 4;

/// One client more than the group has instances, so that a new one has a machine.
pub fn roll(_: &mut Server, clients: &Clients) {
    let mut group = vec![clients[0].start(""), clients[1].start("")];
    let addresses = |group: &[Service<'_>]| group.iter().map(|it| it.address).collect::<Vec<_>>();
    let load = Load::start(&addresses(&group), 0, 0);
    for number in 0..REPLACED {
        group.push(clients[(number + 2) % clients.len()].start(""));
        let old = group.remove(0);
        load.move_to(&addresses(&group));
        old.stop();
        load.wait_for_save();
    }
    let (written, seen) = load.finish();
    println!(
        "{REPLACED} instances replaced: {} requests, {} refused, {} lost, slowest {:?}",
        seen.answered.iter().sum::<usize>(),
        seen.refused,
        seen.lost,
        seen.slowest
    );
    assert_eq!((seen.lost, seen.refused), (0, 0));
    let mut known = Written::default();
    known.add(written);
    for client in clients {
        known.check(client.stored());
    }
    group.into_iter().for_each(Service::stop);
}
