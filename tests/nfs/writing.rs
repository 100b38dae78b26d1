//! Many machines write the file at once.

use std::thread;
use std::time::Duration;

use crate::load::Load;
use crate::share::{Service, Share};
use crate::writers::Written;

/// How long each number of clients writes.
const ROUND: Duration = Duration::from_secs(8);

#[test]
fn two_and_three_clients_that_write_at_once_lose_nothing() {
    let share = Share::start();
    let clients: [_; 3] = share.clients();
    let services = clients.each_ref().map(|client| client.start(""));
    let mut known = Written::default();
    for (round, writing) in [2, 3].into_iter().enumerate() {
        let loads = services[..writing].iter().enumerate();
        let loads: Vec<_> =
            loads.map(|(number, service)| Load::start(service.address, number, round)).collect();
        thread::sleep(ROUND);
        for (number, load) in loads.into_iter().enumerate() {
            let seen = load.finish();
            println!(
                "client {} of {writing}: {} saves acknowledged, {} requests refused, slowest {:?}",
                number + 1,
                seen.written.acknowledged,
                seen.refused(),
                seen.slowest()
            );
            known.add(seen.written);
        }
        for client in &clients {
            known.check(client.stored());
        }
    }
    println!("{} saves acknowledged, none lost", known.acknowledged);
    services.into_iter().for_each(Service::stop);
}
