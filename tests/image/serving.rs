//! What a booted machine does for its clients.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Client, random};
use crate::image::{Copy, UID};
use crate::machine::Machine;

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

#[test]
fn it_serves_over_its_network_from_the_file_system_that_it_mounts() {
    let machine = Machine::boot(Copy::of_image());
    assert_eq!(machine.property("hello-birthday.service", "ActiveState"), "active");
    let status = machine.property("hello-birthday.service", "StatusText");
    assert_eq!(status, "serving on [::]:8080, admin on [::]:8081");
    let mut client = Client::new(machine.address);
    client.send("PUT", "/hello/Johannes", BORN).unwrap().expect_status(204);
    let greeting = client.send("GET", "/hello/Johannes", "").unwrap().expect_status(200).body;
    assert!(greeting.starts_with(r#"{"message":"Hello, Johannes! "#), "{greeting}");
    machine.ask_admin("/readyz");

    let database = fs::metadata(machine.mounted().join("hello-birthday.db")).unwrap();
    assert_eq!((database.uid(), database.gid(), database.mode() & 0o777), (UID, UID, 0o600));
    let below = fs::read_dir(machine.path("/srv/birthdays")).unwrap().count();
    assert_eq!(below, 0, "something was written to the root disk");
    assert_eq!(machine.run(&["systemctl", "--failed", "--quiet", "--plain"]), "");
}

#[test]
fn a_host_of_an_image_learns_at_its_start_what_it_mounts_and_how_it_serves() {
    let copy = Copy::of_image();
    let conf = copy.path("/etc/systemd/system/srv-birthdays.mount.d/host.conf");
    let what = fs::read_to_string(&conf).unwrap();
    fs::remove_file(&conf).unwrap();
    // Stands in for cloud-init, which writes files and restarts nothing.
    fs::write(copy.path("/etc/host.conf.to-be"), what).unwrap();
    let cloud_init = format!(
        "[Unit]\nDefaultDependencies=no\nBefore=network-online.target\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart=mv /etc/host.conf.to-be {}\n\
         ExecStart=sh -c 'echo HELLO_BIRTHDAY_TIME_ZONE=Europe/Paris >/etc/hello-birthday/host'\n",
        "/etc/systemd/system/srv-birthdays.mount.d/host.conf"
    );
    fs::write(copy.path("/etc/systemd/system/cloud-init.service"), cloud_init).unwrap();
    let wants = copy.path("/etc/systemd/system/multi-user.target.wants/cloud-init.service");
    symlink("/etc/systemd/system/cloud-init.service", wants).unwrap();
    let machine = Machine::boot(copy);
    machine.wait_until_healthy();
    assert!(machine.mounted().join("hello-birthday.db").exists());
    assert!(machine.journal().contains(r#""time_zone":"Europe/Paris""#), "{}", machine.journal());
}

#[test]
fn its_journal_is_json_and_holds_nobody() {
    let machine = Machine::boot(Copy::of_image());
    let mut client = Client::new(machine.address);
    client.send("PUT", "/hello/Johannes", BORN).unwrap().expect_status(204);
    machine.run(&["systemctl", "restart", "hello-birthday.service"]);
    let lines = machine.run(&["journalctl", "--output=cat", "_COMM=hello-birthday"]);
    assert!(lines.lines().count() >= 4, "{lines}");
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    let journal = machine.run(&["journalctl", "--output=export"]);
    assert!(!journal.contains("Johannes") && !journal.contains("1990-05-20"));
}

#[test]
fn restarts_under_load_refuse_and_lose_no_request() {
    const ROUNDS: usize = 20;
    const CLIENTS: usize = 16;
    let machine = Machine::boot(Copy::of_image());
    let stop = AtomicBool::new(false);
    let answered: u64 = thread::scope(|scope| {
        let busy: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (address, stop) = (machine.address, &stop);
                scope.spawn(move || keep_busy(address, number, stop))
            })
            .collect();
        for _ in 0..ROUNDS {
            machine.run(&["systemctl", "restart", "hello-birthday.service"]);
            // Not a wait for something: the moment is to be any.
            thread::sleep(Duration::from_millis(50 + random(100)));
        }
        stop.store(true, Ordering::Relaxed);
        busy.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let starts = machine.journal().matches("serving on").count();
    assert_eq!(starts, 1 + ROUNDS);
    assert!(answered > 1_000, "only {answered} requests in all");
    println!("{answered} requests answered in {ROUNDS} restarts, none lost");
}

/// Sends requests until it is stopped; every one must be answered.
fn keep_busy(server: SocketAddr, number: usize, stop: &AtomicBool) -> u64 {
    let mut client = Client::new(server);
    let path = format!("/hello/Busy{}", char::from(b'a' + u8::try_from(number).unwrap()));
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        let answer = match answered % 2 {
            0 => client.send("PUT", &path, BORN),
            _ => client.send("GET", &path, ""),
        };
        match answer {
            Ok(answer) => assert!([200, 204].contains(&answer.status), "{}", answer.status),
            Err(error) => panic!("a request has no answer: {error:?}"),
        }
        answered += 1;
    }
    answered
}
