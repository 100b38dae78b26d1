//! `204` means on disk, whatever happens next.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::harness::{Client, NoAnswer, Service, new_folder, random};

const ROUNDS: usize = 50;
const WRITERS: usize = 8;
const USERS_PER_WRITER: usize = 20;

#[test]
fn kill_nine_loses_nothing_acknowledged_with_a_write_ahead_log() {
    kill_again_and_again("wal");
}

#[test]
fn kill_nine_loses_nothing_acknowledged_with_a_rollback_journal() {
    kill_again_and_again("truncate");
}

fn kill_again_and_again(journal: &str) {
    let folder = new_folder();
    let mut known = Known::default();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let service = Service::start_in(&folder, &["--sqlite-journal", journal]);
        if round > 0 {
            known.check(&folder);
        }
        let address = service.address;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| thread::spawn(move || write_until_gone(address, writer, round)))
            .collect();
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(30 + random(90)));
        service.kill();
        for writer in writers {
            acknowledged += known.add(writer.join().unwrap());
        }
    }
    let service = Service::start_in(&folder, &["--sqlite-journal", journal]);
    known.check(&folder);
    drop(service);
    println!("{journal}: {acknowledged} saves acknowledged in {ROUNDS} rounds, none lost");
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
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let stop = stop.clone();
            let addresses = services.each_ref().map(|service| service.address);
            thread::spawn(move || write_and_read_elsewhere(addresses, writer, &stop))
        })
        .collect();
    thread::sleep(Duration::from_secs(3));
    stop.store(true, Ordering::Relaxed);
    let mut known = Known::default();
    let mut acknowledged = 0;
    for writer in writers {
        acknowledged += known.add(writer.join().unwrap());
    }
    known.check(&folder);
    services.into_iter().for_each(Service::stop);
    known.check(&folder);
    assert!(acknowledged > 100, "only {acknowledged} saves in all");
    println!("{journal}: {acknowledged} saves acknowledged by two processes, none lost");
}

/// What one writer saved: for each user the date acknowledged last, and one that
/// may have been saved since without an acknowledgement.
#[derive(Default)]
struct Written {
    users: HashMap<String, Saved>,
    acknowledged: u64,
}

#[derive(Default, Clone)]
struct Saved {
    acknowledged: Option<String>,
    maybe: Option<String>,
}

/// Saves for as long as the service is there. Every writer has its own users.
fn write_until_gone(server: SocketAddr, writer: usize, round: usize) -> Written {
    let mut client = Client::new(server);
    let mut written = Written::default();
    for number in 0.. {
        let (username, born) = next_save(writer, round * 1_000_003 + number);
        let saved = written.users.entry(username.clone()).or_default();
        saved.maybe = Some(born.clone());
        match save(&mut client, &username, &born) {
            Ok(()) => *saved = Saved { acknowledged: Some(born), maybe: None },
            Err(NoAnswer::Refused | NoAnswer::Lost(_)) => return written,
        }
        written.acknowledged += 1;
    }
    unreachable!("the service is killed first")
}

/// Saves through one process and sees it through the other at once.
fn write_and_read_elsewhere(servers: [SocketAddr; 2], writer: usize, stop: &AtomicBool) -> Written {
    let mut clients = servers.map(Client::new);
    if writer % 2 == 1 {
        clients.reverse();
    }
    let [here, there] = &mut clients;
    let mut written = Written::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return written;
        }
        let (username, born) = next_save(writer, number);
        save(here, &username, &born).unwrap();
        let path = format!("/hello/{username}");
        let seen_here = here.send("GET", &path, "").unwrap().expect_status(200).body;
        let seen_there = there.send("GET", &path, "").unwrap().expect_status(200).body;
        assert!(seen_here == seen_there, "the other process answers differently");
        written.users.insert(username, Saved { acknowledged: Some(born), maybe: None });
        written.acknowledged += 1;
    }
    unreachable!("it is stopped first")
}

fn save(client: &mut Client, username: &str, born: &str) -> Result<(), NoAnswer> {
    let body = format!(r#"{{"dateOfBirth":"{born}"}}"#);
    client.send("PUT", &format!("/hello/{username}"), &body).map(|answer| {
        answer.expect_status(204);
    })
}

/// A user of this writer, and a date that it was not saved with just before.
fn next_save(writer: usize, number: usize) -> (String, String) {
    let letter = |number: usize| char::from(b'a' + u8::try_from(number % 26).unwrap());
    let username = format!("Writer{}{}", letter(writer), letter(number % USERS_PER_WRITER));
    let times = number / USERS_PER_WRITER;
    let born = format!("{}-{:02}-{:02}", 1920 + times % 100, 1 + times % 12, 1 + times % 28);
    (username, born)
}

/// What must be in the database.
#[derive(Default)]
struct Known(HashMap<String, Saved>);

impl Known {
    fn add(&mut self, written: Written) -> u64 {
        for (username, saved) in written.users {
            let known = self.0.entry(username).or_default();
            match saved.acknowledged {
                Some(_) => *known = saved,
                None => known.maybe = saved.maybe,
            }
        }
        written.acknowledged
    }

    /// Fails where the database lost something, and settles what may have been
    /// saved.
    fn check(&mut self, folder: &TempDir) {
        let found = read_all(&folder.path().join("hello-birthday.db"));
        for (username, saved) in &mut self.0 {
            let found = found.get(username).cloned();
            let expected = found == saved.acknowledged || (found.is_some() && found == saved.maybe);
            assert!(expected, "an acknowledged save was lost");
            *saved = Saved { acknowledged: found, maybe: None };
        }
    }
}

fn read_all(file: &Path) -> HashMap<String, String> {
    let database = Connection::open(file).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    let integrity: String =
        database.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
    let mut all = database.prepare("select username, date_of_birth from users").unwrap();
    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}
