//! Instances that share the file are replaced one after the other, and nobody notices.

use std::thread;
use std::time::Duration;

use crate::balancer::{Balancer, Health, Target};
use crate::harness::wait_until;
use crate::load::Load;
use crate::share::{Service, Share, ShareClient};
use crate::writers::Written;

/// Replaced one at a time, each while the group is full.
const REPLACED: usize = 8;

/// How long requests under way may take once an instance gets no new ones.
const DEREGISTRATION_DELAY: Duration = Duration::from_secs(1);

/// A service, and what the balancer calls it.
struct Instance<'a> {
    service: Service<'a>,
    target: Target,
}

#[test]
fn a_roll_over_clients_of_one_share_fails_no_request() {
    let share = Share::start();
    // One more than the group has instances, so that a new one has a machine.
    let clients: [_; 3] = share.clients();
    let balancer = Balancer::start();
    let [first, second] = [0, 1].map(|number| launch(&clients[number], &balancer));
    let mut group = vec![first, second];
    let load = Load::start(balancer.address, 0, 0);
    for number in 0..REPLACED {
        let new = launch(&clients[(number + group.len()) % clients.len()], &balancer);
        group.push(new);
        let Instance { service, target } = group.remove(0);
        balancer.deregister(&target);
        thread::sleep(DEREGISTRATION_DELAY);
        balancer.forget(target);
        service.stop();
        load.wait_for_save();
    }
    let seen = load.finish();
    println!(
        "{REPLACED} instances replaced: {} requests, {} failed, slowest {:?}",
        seen.answers.len(),
        seen.lost + seen.refused(),
        seen.slowest()
    );
    assert_eq!((seen.lost, seen.refused()), (0, 0));
    let mut known = Written::default();
    known.add(seen.written);
    for client in &clients {
        known.check(client.stored());
    }
    group.into_iter().for_each(|instance| instance.service.stop());
}

/// Starts an instance, and waits until the balancer gives it traffic.
fn launch<'a>(client: &'a ShareClient, balancer: &Balancer) -> Instance<'a> {
    let service = client.start("");
    let target = balancer.register(service.address, service.admin);
    wait_until("it is healthy", || (balancer.health(&target) == Health::Healthy).then_some(()));
    Instance { service, target }
}
