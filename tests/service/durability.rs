//! `204` means on disk, whatever happens next.

use std::net::SocketAddr;
use std::thread;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::harness::{Client, Service, new_folder};
use crate::load::{TODAY, kill_again_and_again};

const ROUNDS: usize = 20;

/// Half of the writers save through either process.
const WRITERS: u8 = 8;
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
    kill_again_and_again(ROUNDS, || {
        let flags = ["--sqlite-journal", journal, "--today", TODAY];
        let service = Service::start_in(&folder, &flags);
        expect_sound(&folder);
        service
    });
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
    let flags = ["--sqlite-journal", journal, "--today", TODAY];
    let services = [Service::start_in(&folder, &flags), Service::start_in(&folder, &flags)];
    let addresses = services.each_ref().map(|service| service.address);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || write_and_read_elsewhere(addresses, writer));
        }
    });
    services.into_iter().for_each(Service::stop);
    expect_sound(&folder);
}

/// Saves through one process and sees it through the other at once.
fn write_and_read_elsewhere(servers: [SocketAddr; 2], writer: u8) {
    let mut clients = servers.map(Client::new);
    clients.rotate_left(usize::from(writer % 2));
    let [here, there] = &mut clients;
    let path = format!("/hello/Writer{}", char::from(b'a' + writer));
    for number in 0..SAVES_PER_WRITER {
        let day = 2 + number % 27;
        let body = format!(r#"{{"dateOfBirth":"1990-01-{day:02}"}}"#);
        here.send("PUT", &path, &body).unwrap().expect_status(204);
        for client in [&mut *here, &mut *there] {
            let found = client.send("GET", &path, "").unwrap().expect_status(200).body;
            assert!(found.contains(&format!("in {} day(s)", day - 1)), "{day}: {found}");
        }
    }
}

fn expect_sound(folder: &TempDir) {
    let database = Connection::open(folder.path().join("hello-birthday.db")).unwrap();
    let integrity: String =
        database.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
}
