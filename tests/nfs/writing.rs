//! Many machines write the file at once.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::Client;
use crate::load::Load;
use crate::load_many::{MakeRequest, Until, run};
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

#[test]
fn many_that_read_on_one_client_keep_no_other_from_writing() {
    let share = Share::start();
    let clients: [_; 2] = share.clients();
    let [read, written] = clients.each_ref().map(|client| client.start(""));
    share.set_round_trip(Duration::from_millis(2));
    let mut writer = Client::new(written.address);
    let mut known = Written::default();
    known.save(&mut writer, "Ann", "1990-05-20").unwrap().expect_status(204);
    let (slowest, found) = thread::scope(|scope| {
        let find: MakeRequest = Arc::new(|_, request| {
            request.extend(b"GET /hello/Ann HTTP/1.1\r\nhost: it\r\n\r\n");
        });
        let readers = scope.spawn(|| run(read.address, 64, Until::Elapsed(ROUND), "200", find));
        let mut slowest = Duration::ZERO;
        for number in 0.. {
            if readers.is_finished() {
                break;
            }
            let began = Instant::now();
            let born = format!("{}-05-20", 1900 + number % 100);
            known.save(&mut writer, "Ann", &born).unwrap().expect_status(204);
            slowest = slowest.max(began.elapsed());
        }
        (slowest, readers.join().unwrap().requests)
    });
    let saves = known.acknowledged;
    println!("{saves} saves beside {found} finds, the slowest after {slowest:?}");
    assert!(found > 1000, "hardly anybody read");
    known.check(clients[0].stored());
    [read, written].into_iter().for_each(Service::stop);
}
