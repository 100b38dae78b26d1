//! What a booted machine does when something goes wrong.

use std::fs;
use std::os::unix::fs::chown;
use std::thread;
use std::time::Duration;

use crate::harness::{Client, random, wait_until};
use crate::image::{Copy, UID};
use crate::load::{BUSY, Clients, Load};
use crate::machine::Machine;

const SERVICE: &str = "hello-birthday.service";
const MOUNT: &str = "srv-birthdays.mount";
const HOST_CONF: &str = "/etc/systemd/system/srv-birthdays.mount.d/host.conf";

#[test]
fn a_killed_or_hung_process_is_replaced_and_loses_nothing_acknowledged() {
    const ROUNDS: usize = 3;
    let machine = Machine::boot(Copy::of_image_for_load());
    for round in 1..=ROUNDS {
        let load = Load::start(machine.address, Clients { patient: false, ..BUSY });
        load.wait_for_saves(1);
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(random(100)));
        machine.run(&["systemctl", "kill", "--kill-whom=main", "--signal=KILL", SERVICE]);
        let seen = load.stop();
        machine.wait_for(SERVICE, "NRestarts", &round.to_string());
        machine.wait_until_healthy();
        seen.expect_nothing_lost([machine.address]);
    }

    machine.run(&["systemctl", "kill", "--kill-whom=main", "--signal=STOP", SERVICE]);
    // Answered by the next process, or by a thread of this one that the signal has yet to reach.
    Client::new(machine.address).send("GET", "/", "").unwrap().expect_status(200);
    machine.wait_for(SERVICE, "NRestarts", &(ROUNDS + 1).to_string());
    assert!(machine.journal().contains("Watchdog timeout"), "{}", machine.journal());
    machine.wait_until_healthy();
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
    machine.wait_for(MOUNT, "ActiveState", "failed");
    // A connection does not change that.
    machine.wait_for(SERVICE, "ActiveState", "inactive");
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
fn a_service_that_always_fails_is_started_less_often_but_never_given_up() {
    let copy = Copy::of_image();
    let unit = fs::read_to_string(copy.path("/etc/systemd/system/hello-birthday.service")).unwrap();
    // 30 starts, a second apart, end well within the two minutes.
    for setting in ["StartLimitIntervalSec=2min", "StartLimitBurst=30", "RestartSec=1s"] {
        assert!(unit.lines().any(|line| line == setting), "{setting}");
    }
    // Here the limit is reached sooner, even where each start takes many seconds.
    let drop_in = "/etc/systemd/system/hello-birthday.service.d/sooner.conf";
    copy.write(drop_in, "[Unit]\nStartLimitIntervalSec=1min\nStartLimitBurst=5\n", 0o644);
    // Its file system is there, and not its own.
    chown(copy.mounted(), Some(0), Some(0)).unwrap();
    let mounted = copy.mounted();
    let machine = Machine::boot(copy);
    wait_until("the start limit", || {
        machine.journal().contains("repeated too quickly").then_some(())
    });
    assert!(machine.journal().matches("cannot open the store").count() > 1);
    chown(mounted, Some(UID), Some(UID)).unwrap();
    machine.wait_until_healthy();
}
