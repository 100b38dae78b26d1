//! Whoever crashes, the service or its server, nothing acknowledged is lost; and a
//! server that is back is found.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::{self, Cluster};
use crate::harness::{Client, Service, new_folder, random, wait_until};
use crate::read_all;
use crate::writers::{Written, join, kill_again_and_again, next_save, spawn};

/// A change of the database shows within this.
const NOTICED_MAX: Duration = Duration::from_secs(2);

const ROUNDS: usize = 10;

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

/// How long a writer that was refused waits before it tries again.
const PAUSE: Duration = Duration::from_millis(10);

/// Longer than any request waits.
const LONG_OUTAGE: Duration = Duration::from_millis(6500);

#[test]
fn kill_nine_loses_nothing_acknowledged() {
    let folder = new_folder();
    let url = crate::database_url(folder.path()).unwrap();
    let start = || {
        // What the killed service sent last may be carried out a little later.
        cluster::wait_until_unused(&url);
        Service::start_in(&folder, &[])
    };
    let known = kill_again_and_again(20, start, || read_all(&url));
    println!("{} saves acknowledged in 20 rounds, none lost", known.acknowledged);
}

#[test]
fn a_crash_of_the_server_loses_nothing_acknowledged() {
    // A save is not flushed by itself for long, only for its acknowledgement. And
    // what the server gave to the system outlives the server.
    let server = Cluster::start(&[
        ("synchronous_commit", "off"),
        ("wal_writer_delay", "10s"),
        ("fsync", "off"),
    ]);
    let url = server.new_database();
    let service = Service::start(&["--database-url", &url]);
    let mut known = Written::default();
    for round in 0..ROUNDS {
        let written = write_during(service.address, round, || {
            // Not a wait for something: the moment is to be any.
            thread::sleep(Duration::from_millis(50 + random(200)));
            server.stop_immediate();
            match round {
                0 => be_away_for_long(&service),
                _ => thread::sleep(Duration::from_millis(random(500))),
            }
            come_back(&service, &server);
        });
        // In a short outage everyone waits.
        assert_eq!(written.refused > 0, round == 0, "{} refused in round {round}", written.refused);
        known.add(written);
        known.check(read_all(&url));
    }
    let Written { acknowledged, refused, .. } = known;
    println!("{acknowledged} saves acknowledged, none lost; {refused} refused");
    let log = service.log();
    assert!(log.contains("the store fails"), "{log}");
    assert!(log.contains("the store answers again"), "{log}");
    service.stop();
}

fn be_away_for_long(service: &Service) {
    let began = Instant::now();
    wait_until("health tells", || (service.get("/health").status == 503).then_some(()));
    assert!(began.elapsed() < NOTICED_MAX, "{:?}", began.elapsed());
    service.ask_admin("/readyz").expect_status(200);
    thread::sleep(LONG_OUTAGE.saturating_sub(began.elapsed()));
    service.get("/health").expect_status(503);
    service.ask_admin("/readyz").expect_status(200);
}

/// Starts the server, which the service must find.
fn come_back(service: &Service, server: &Cluster) {
    thread::scope(|scope| {
        scope.spawn(|| server.start_again());
        wait_until("the server accepts connections", || server.accepts_connections().then_some(()));
        let began = Instant::now();
        let after = move |status: u16, ask: fn(&Service) -> u16| {
            wait_until("the service answers", || (ask(service) == status).then_some(()));
            began.elapsed()
        };
        let saving =
            scope.spawn(move || after(204, |service| service.put("/hello/John", BORN).status));
        let healthy = after(200, |service| service.get("/health").status);
        let saved = saving.join().unwrap();
        println!("back: saved after {saved:?}, healthy after {healthy:?}");
        assert!(saved.max(healthy) < NOTICED_MAX);
    });
}

/// Saves and finds users while `meanwhile` runs. The service must answer every request: with
/// success, or that it may be tried again.
pub fn write_during(server: SocketAddr, round: usize, meanwhile: impl FnOnce()) -> Written {
    let stop = Arc::new(AtomicBool::new(false));
    let writers = spawn({
        let stop = stop.clone();
        move |writer| write_through_outages(server, writer, round, &stop)
    });
    meanwhile();
    stop.store(true, Ordering::Relaxed);
    join(writers)
}

fn write_through_outages(
    server: SocketAddr,
    writer: usize,
    round: usize,
    stop: &AtomicBool,
) -> Written {
    let mut client = Client::new(server);
    let mut written = Written::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return written;
        }
        let (username, born) = next_save(writer, round * 1_000_003 + number);
        let saved = written.save(&mut client, &username, &born);
        let found = client.send("GET", &format!("/hello/{username}"), "");
        for answer in [saved, found] {
            let answer = answer.expect("every request is answered");
            if answer.status == 503 {
                written.refused += 1;
                assert!(answer.header("retry-after").is_some(), "no Retry-After");
                thread::sleep(PAUSE);
            } else {
                assert!([200, 204, 404].contains(&answer.status), "{}", answer.status);
            }
        }
    }
    unreachable!("it is stopped first")
}
