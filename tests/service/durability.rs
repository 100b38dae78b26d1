//! `204` means on disk, whatever happens next.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::harness::{Client, Service, new_folder};
use crate::writers::{Written, join, kill_again_and_again, next_save, spawn};

const ROUNDS: usize = 20;

/// Every user is saved several times, through both processes.
const SAVES_PER_WRITER: usize = 200;

#[test]
fn kill_nine_loses_nothing_acknowledged_with_a_write_ahead_log() {
    kill_with("wal");
}

#[test]
fn kill_nine_loses_nothing_acknowledged_with_a_rollback_journal() {
    kill_with("truncate");
}

fn kill_with(journal: &str) {
    let folder = new_folder();
    let start = || Service::start_in(&folder, &["--sqlite-journal", journal]);
    let known = kill_again_and_again(ROUNDS, start, || read_all(&folder));
    println!("{journal}: {} saves acknowledged in {ROUNDS} rounds, none lost", known.acknowledged);
}

#[test]
fn two_processes_on_one_file_lose_nothing_with_a_write_ahead_log() {
    write_from_two_processes("wal");
}

#[test]
fn two_processes_on_one_file_lose_nothing_with_a_rollback_journal() {
    write_from_two_processes("truncate");
}

fn write_from_two_processes(journal: &str) {
    let folder = new_folder();
    let flags = ["--sqlite-journal", journal, "--today", "2025-05-20"];
    let services = [Service::start_in(&folder, &flags), Service::start_in(&folder, &flags)];
    let addresses = services.each_ref().map(|service| service.address);
    let mut known = join(spawn(move |writer| write_and_read_elsewhere(addresses, writer)));
    known.check(read_all(&folder));
    services.into_iter().for_each(Service::stop);
    known.check(read_all(&folder));
}

/// Saves through one process and sees it through the other at once.
fn write_and_read_elsewhere(servers: [SocketAddr; 2], writer: usize) -> Written {
    let mut clients = servers.map(Client::new);
    if writer % 2 == 1 {
        clients.reverse();
    }
    let [here, there] = &mut clients;
    let mut written = Written::default();
    for number in 0..SAVES_PER_WRITER {
        let (username, born) = next_save(writer, number);
        written.save(here, &username, &born).unwrap().expect_status(204);
        let path = format!("/hello/{username}");
        let seen_here = here.send("GET", &path, "").unwrap().expect_status(200).body;
        let seen_there = there.send("GET", &path, "").unwrap().expect_status(200).body;
        assert!(seen_here == seen_there, "the other process answers differently");
    }
    written
}

fn read_all(folder: &TempDir) -> HashMap<String, String> {
    let database = Connection::open(folder.path().join("hello-birthday.db")).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    let integrity: String =
        database.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
    let mut all = database.prepare("select username, date_of_birth from users").unwrap();
    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}
