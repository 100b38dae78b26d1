//! What a booted machine does when something goes wrong.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::harness::{Client, random, wait_until};
use crate::image::{Copy, UID};
use crate::machine::Machine;
use crate::wait_for;
use crate::writers::{Written, join, spawn, write_until_gone};

const SERVICE: &str = "hello-birthday.service";
const MOUNT: &str = "srv-birthdays.mount";
const HOST_CONF: &str = "/etc/systemd/system/srv-birthdays.mount.d/host.conf";

#[test]
fn kill_nine_is_followed_by_a_start_and_loses_nothing_acknowledged() {
    const ROUNDS: usize = 10;
    let machine = Machine::boot(Copy::of_image());
    let mut known = Written::default();
    for round in 0..ROUNDS {
        let address = machine.address;
        let writers = spawn(move |writer| write_until_gone(address, writer, round));
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(100 + random(100)));
        machine.run(&["systemctl", "kill", "--kill-whom=main", "--signal=KILL", SERVICE]);
        known.add(join(writers));
        machine.wait_for("NRestarts", &(round + 1).to_string());
        machine.wait_until_healthy();
        known.check(read_all(&machine.mounted()));
    }
    assert!(known.acknowledged > 100, "only {} saves in all", known.acknowledged);
    println!("{} saves acknowledged in {ROUNDS} rounds, none lost", known.acknowledged);
}

fn read_all(folder: &Path) -> HashMap<String, String> {
    let database = Connection::open(folder.join("hello-birthday.db")).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    let mut all = database.prepare("select username, date_of_birth from users").unwrap();
    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn a_hung_process_is_replaced_and_who_waits_is_answered() {
    let machine = Machine::boot(Copy::of_image());
    let began = Instant::now();
    machine.run(&["systemctl", "kill", "--kill-whom=main", "--signal=STOP", SERVICE]);
    Client::new(machine.address).send("GET", "/", "").unwrap().expect_status(200);
    let took = began.elapsed();
    assert!(machine.journal().contains("Watchdog timeout"), "{}", machine.journal());
    assert_eq!(machine.property(SERVICE, "NRestarts"), "1");
    assert!(took < Duration::from_secs(30), "{took:?}");
    println!("hung for {took:?}");
}

#[test]
fn without_its_mount_it_stays_down_until_the_mount_is_there() {
    let copy = Copy::of_image();
    // A file cannot be mounted on a folder.
    let away = copy.mounted().join("away");
    fs::write(&away, "").unwrap();
    let host_conf = fs::read_to_string(copy.path(HOST_CONF)).unwrap();
    let host_conf = host_conf.replace("What=/mounted", "What=/mounted/away");
    fs::write(copy.path(HOST_CONF), host_conf).unwrap();

    let machine = Machine::boot(copy);
    wait_until("the mount fails", || {
        (machine.property(MOUNT, "ActiveState") == "failed").then_some(())
    });
    // Who connects does not change that.
    machine.wait_for("ActiveState", "inactive");
    let _connection = std::net::TcpStream::connect(machine.address);
    assert!(!machine.is_healthy());
    assert!(!machine.journal().contains("serving on"));
    let written = fs::read_dir(machine.root().join("srv/birthdays")).unwrap().count();
    assert_eq!(written, 0, "something was written to the root disk");

    fs::remove_file(&away).unwrap();
    fs::create_dir(&away).unwrap();
    chown(&away, Some(UID), Some(UID)).unwrap();
    machine.wait_until_healthy();
    assert!(away.join("hello-birthday.db").exists());
}

#[test]
fn a_host_that_mounts_nothing_writes_no_database_to_its_root_disk() {
    let copy = Copy::of_image();
    fs::remove_file(copy.path(HOST_CONF)).unwrap();
    let machine = Machine::boot(copy);
    wait_until("it says why", || {
        machine.journal().contains("cannot write /srv/birthdays/hello-birthday.db").then_some(())
    });
    assert!(!machine.is_healthy());
    let written = fs::read_dir(machine.root().join("srv/birthdays")).unwrap().count();
    assert_eq!(written, 0, "something was written to the root disk");
}

#[test]
fn who_fails_again_and_again_is_started_less_often_but_never_given_up() {
    let copy = Copy::of_image();
    // Its file system is there, and not its own.
    chown(copy.mounted(), Some(0), Some(0)).unwrap();
    let mounted = copy.mounted();
    let machine = Machine::boot(copy);
    let starts = || machine.journal().matches("cannot open the store").count();
    // Two minutes, as the unit says, and what a busy machine adds.
    let limit = Duration::from_secs(240);
    wait_for("the start limit", limit, || machine.journal().contains("repeated too quickly"));
    assert!((20..=40).contains(&starts()), "{} starts", starts());
    chown(mounted, Some(UID), Some(UID)).unwrap();
    wait_for("a start after the pause", limit, || machine.is_healthy());
}
