//! The service or its server crashes: nothing acknowledged is lost, and a server that
//! is back is found.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::cluster::{self, Cluster};
use crate::harness::{Client, Service, new_folder, random, wait_until};
use crate::outages::{wait_until_unhealthy, wait_until_works};
use crate::read_all;
use crate::writers::{Written, join, kill_again_and_again, next_save, spawn};

const ROUNDS: usize = 6;

/// How long a writer that was refused waits before it tries again.
const PAUSE: Duration = Duration::from_millis(10);

#[test]
fn kill_nine_loses_nothing_acknowledged() {
    let folder = new_folder();
    let url = crate::database_url(folder.path()).unwrap();
    let start = || {
        // What the killed service sent last may be carried out a little later.
        cluster::wait_until_unused(&url);
        Service::start_in(&folder, &[])
    };
    let known = kill_again_and_again(10, start, || read_all(&url));
    println!("{} saves acknowledged in 10 rounds, none lost", known.acknowledged);
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
        known.add(write_during(service.address, round, || {
            // Not a wait for something: the moment is to be any.
            thread::sleep(Duration::from_millis(50 + random(200)));
            server.stop_immediate();
            match round {
                0 => wait_until_refused(&service),
                _ => thread::sleep(Duration::from_millis(random(300))),
            }
            server.start_again();
            wait_until_works(&service);
        }));
        known.check(read_all(&url));
    }
    let Written { acknowledged, refused, .. } = known;
    println!("{acknowledged} saves acknowledged, none lost; {refused} refused");
    let log = service.wait_for_log("the store answers again");
    let fails = ["the store fails", "the store does not answer in time"];
    assert!(fails.iter().any(|line| log.contains(line)), "{log}");
    service.stop();
}

/// Waits until a save is refused and health reports the outage.
pub fn wait_until_refused(service: &Service) {
    let refused = r#"hello_birthday_http_requests_total{method="PUT",route="/hello/{username}",status="503"}"#;
    wait_until("a save is refused", || (service.metric(refused) > 0.0).then_some(()));
    wait_until_unhealthy(service);
    service.ask_admin("/readyz").expect_status(200);
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
