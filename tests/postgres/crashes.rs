//! The service or its server crashes: nothing acknowledged is lost, and a server that
//! is back is found.

use std::thread;
use std::time::Duration;

use crate::cluster::{self, Cluster};
use crate::harness::{Service, new_folder, random};
use crate::load::{BUSY, Load, Seen, TODAY, kill_again_and_again};
use crate::waits::{wait_until_refused, wait_until_works};

const ROUNDS: usize = 6;

#[test]
fn kill_nine_loses_nothing_acknowledged() {
    let folder = new_folder();
    let url = crate::database_url(folder.path()).unwrap();
    kill_again_and_again(10, || {
        // What the killed service sent last may be carried out a little later.
        cluster::wait_until_unused(&url);
        Service::start_in(&folder, &["--today", TODAY])
    });
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
    let service = Service::start(&["--database-url", &url, "--today", TODAY]);
    let mut all = Seen::default();
    for round in 0..ROUNDS {
        let load = Load::start(service.address, BUSY);
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(50 + random(200)));
        server.stop_immediate();
        match round {
            0 => wait_until_refused(&service),
            _ => thread::sleep(Duration::from_millis(random(300))),
        }
        server.start_again();
        wait_until_works(&service);
        let seen = load.stop();
        seen.expect_all_answered();
        seen.expect_nothing_lost([service.address]);
        all.add(seen);
    }
    println!("{all}, none lost");
    let log = service.wait_for_log("the store answers again");
    let fails = ["the store fails", "the store does not answer in time"];
    assert!(fails.iter().any(|line| log.contains(line)), "{log}");
    service.stop();
}
