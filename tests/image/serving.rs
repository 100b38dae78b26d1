//! What a booted machine does for its clients.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Client, random, wait_until};
use crate::image::{Copy, UID};
use crate::load::{BUSY, Clients, Load};
use crate::machine::Machine;
use crate::threads::{SCHED_IDLE, policy_of};

const RATES: &str = "/rates?date_from=2016-01-01&date_to=2016-01-01&orig_code=A&dest_code=B";
const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

#[test]
fn it_serves_through_restarts_from_the_file_system_that_it_mounts_and_logs_no_names() {
    let machine = Machine::boot(Copy::of_image_for_load());
    assert_eq!(machine.property("hello-birthday.service", "ActiveState"), "active");
    let status = machine.property("hello-birthday.service", "StatusText");
    assert_eq!(status, "serving on [::]:8080, admin on [::]:8081");
    let mut client = Client::new(machine.address);
    client.send("PUT", "/hello/Johannes", BORN).unwrap().expect_status(204);
    let greeting = client.send("GET", "/hello/Johannes", "").unwrap().expect_status(200).body;
    assert!(greeting.starts_with(r#"{"message":"Hello, Johannes! "#), "{greeting}");
    machine.ask_admin("/readyz");
    client.send("GET", RATES, "").unwrap().expect_status(404);
    // Its sandbox allows the policy, which the thread sets when it starts. Other threads may end meanwhile.
    wait_until("the thread that reads rates has its policy", || {
        let threads = machine.run(&["sh", "-c", "cat /proc/[0-9]*/task/*/stat 2>/dev/null; true"]);
        let mut policies = threads.lines().filter_map(|stat| policy_of(stat, "rates-idle"));
        (policies.next() == Some(SCHED_IDLE)).then_some(())
    });

    let database = fs::metadata(machine.copy.mounted().join("hello-birthday.db")).unwrap();
    assert_eq!((database.uid(), database.gid(), database.mode() & 0o777), (UID, UID, 0o600));
    let below = fs::read_dir(machine.copy.path("/srv/birthdays")).unwrap().count();
    assert_eq!(below, 0, "something was written to the root disk");
    assert_eq!(machine.run(&["systemctl", "--failed", "--quiet", "--plain"]), "");

    restart_under_load(&machine);
    let lines = machine.run(&["journalctl", "--output=cat", "_COMM=hello-birthday"]);
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    let journal = machine.run(&["journalctl", "--output=export"]);
    assert!(!journal.contains("Johannes") && !journal.contains("1990-05-20"));
}

#[test]
fn a_host_learns_at_its_start_what_it_mounts_where_its_database_is_and_how_it_serves() {
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
    copy.write("/etc/systemd/system/cloud-init.service", &cloud_init, 0o644);
    let wants = copy.path("/etc/systemd/system/multi-user.target.wants/cloud-init.service");
    symlink("/etc/systemd/system/cloud-init.service", wants).unwrap();
    let url = "sqlite:/srv/birthdays/another.db\n";
    copy.write("/etc/credstore/hello-birthday.database-url", url, 0o600);

    let machine = Machine::boot(copy);
    machine.wait_until_healthy();
    assert!(machine.copy.mounted().join("another.db").exists());
    assert!(!machine.copy.mounted().join("hello-birthday.db").exists());
    wait_until("the time zone is logged", || {
        machine.journal().contains(r#""time_zone":"Europe/Paris""#).then_some(())
    });
}

/// Restarts the service under load: no request is refused or lost.
fn restart_under_load(machine: &Machine) {
    const ROUNDS: usize = 10;
    let load = Load::start(machine.address, Clients { patient: false, ..BUSY });
    for _ in 0..ROUNDS {
        load.wait_for_round();
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(random(100)));
        machine.run(&["systemctl", "restart", "hello-birthday.service"]);
    }
    load.wait_for_round();
    let seen = load.stop();
    seen.expect_no_failure();
    seen.expect_nothing_lost([machine.address]);
    wait_until("each start is logged", || {
        (machine.journal().matches("serving on").count() == 1 + ROUNDS).then_some(())
    });
}
