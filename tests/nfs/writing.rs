//! Many machines write the file at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Client, wait_until};
use crate::load::Load;
use crate::share::{Clients, Server, Service};
use crate::writers::Written;

/// What each client saves at least, while the others save too.
const SAVES_EACH: usize = 100;

const READERS: usize = 64;

/// As between the zones of a region, the far end of it.
pub const ROUND_TRIP: Duration = Duration::from_millis(2);

/// Saves, one after the other, while all readers read.
const SAVES_BESIDE_READERS: usize = 20;

pub fn write_at_once(_: &mut Server, clients: &Clients) {
    let services = clients.each_ref().map(|client| client.start(""));
    let mut known = Written::default();
    for (round, writing) in [2, 3].into_iter().enumerate() {
        let loads = services[..writing].iter().enumerate();
        let loads: Vec<_> =
            loads.map(|(number, service)| Load::start(&[service.address], number, round)).collect();
        loads.iter().for_each(|load| load.wait_for_saves(SAVES_EACH));
        for (number, load) in loads.into_iter().enumerate() {
            let (written, seen) = load.finish();
            println!(
                "client {} of {writing}: {} saves acknowledged, {} requests refused, slowest {:?}",
                number + 1,
                seen.saved,
                seen.refused,
                seen.slowest
            );
            assert_eq!(seen.lost, 0);
            known.add(written);
        }
        for client in clients {
            known.check(client.stored());
        }
    }
    println!("{} saves acknowledged, none lost", known.acknowledged);
    services.into_iter().for_each(Service::stop);
}

pub fn write_beside_readers(server: &mut Server, [read, written, _]: &Clients) {
    let [reading, writing] = [read, written].map(|client| client.start(""));
    server.set_round_trip(ROUND_TRIP);
    let mut known = Written::default();
    let found = &AtomicUsize::new(0);
    thread::scope(|scope| {
        let mut writer = Client::new(writing.address);
        let known = &mut known;
        known.save(&mut writer, "Ann", "1990-05-20").unwrap().expect_status(204);
        let writer = Arc::new(scope.spawn(move || {
            wait_until("all read", || (found.load(Ordering::Relaxed) >= READERS).then_some(()));
            let mut slowest = Duration::ZERO;
            for number in 0..SAVES_BESIDE_READERS {
                let began = Instant::now();
                let born = format!("{}-05-20", 1900 + number);
                known.save(&mut writer, "Ann", &born).unwrap().expect_status(204);
                slowest = slowest.max(began.elapsed());
            }
            println!(
                "{SAVES_BESIDE_READERS} saves beside {} finds, the slowest after {slowest:?}",
                found.load(Ordering::Relaxed)
            );
        }));
        for _ in 0..READERS {
            let (writer, address) = (writer.clone(), reading.address);
            scope.spawn(move || {
                let mut client = Client::new(address);
                // It ends with its last save, or as soon as one fails.
                while !writer.is_finished() {
                    client.send("GET", "/hello/Ann", "").unwrap().expect_status(200);
                    found.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    server.set_round_trip(Duration::ZERO);
    known.check(read.stored());
    [reading, writing].into_iter().for_each(Service::stop);
}
