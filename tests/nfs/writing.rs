//! Many machines write the file at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Client, wait_until};
use crate::load::{BUSY, Load};
use crate::share::{Server, Service, ShareClients};

/// What each client saves at least, while the others save too.
const SAVES_EACH: usize = 100;

const READERS: usize = 64;

/// As between the zones of a region, the far end of it.
pub const ROUND_TRIP: Duration = Duration::from_millis(2);

/// Saves, one after the other, while all readers read.
const SAVES_BESIDE_READERS: usize = 20;

pub fn write_at_once(_: &mut Server, clients: &ShareClients) {
    let services = clients.each_ref().map(|client| client.start(""));
    let addresses = services.each_ref().map(|service| service.address);
    for writing in [2, 3] {
        let start = |address: &_| Load::start(*address, BUSY);
        let loads: Vec<_> = addresses[..writing].iter().map(start).collect();
        loads.iter().for_each(|load| load.wait_for_saves(SAVES_EACH));
        for load in loads {
            let seen = load.stop();
            println!("one client of {writing}: {seen}");
            seen.expect_all_answered();
            seen.expect_nothing_lost(addresses);
        }
        clients.iter().for_each(|client| client.expect_sound());
    }
    services.into_iter().for_each(Service::stop);
}

pub fn write_beside_readers(server: &mut Server, [read, written, _]: &ShareClients) {
    let [reading, writing] = [read, written].map(|client| client.start(""));
    server.set_round_trip(ROUND_TRIP);
    let found = &AtomicUsize::new(0);
    thread::scope(|scope| {
        let mut writer = Client::new(writing.address);
        let mut save = move |day: usize| {
            let body = format!(r#"{{"dateOfBirth":"1990-05-{day:02}"}}"#);
            writer.send("PUT", "/hello/Ann", &body).unwrap().expect_status(204);
        };
        save(1);
        let writer = Arc::new(scope.spawn(move || {
            wait_until("all read", || (found.load(Ordering::Relaxed) >= READERS).then_some(()));
            let mut slowest = Duration::ZERO;
            for day in 1..=SAVES_BESIDE_READERS {
                let began = Instant::now();
                save(day);
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
    let found = Client::new(reading.address).send("GET", "/hello/Ann", "").unwrap();
    assert!(found.body.contains("in 139 day(s)"), "the 20th of May is not saved: {}", found.body);
    [reading, writing].into_iter().for_each(Service::stop);
}
