//! The copy of the SQLite file that is left beside it for the nightly backup.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use crate::harness::Client;
use crate::image::{Copy, UID};
use crate::load::{BUSY, Clients, Load};
use crate::machine::Machine;

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;
const BACKUP: &str = "hello-birthday-backup.service";
const COPY: &str = "backup/hello-birthday.db";

#[test]
fn the_file_is_copied_whole_each_night_by_one_of_its_hosts() {
    let machine = Machine::boot(Copy::of_image());
    assert_eq!(machine.property("hello-birthday-backup.timer", "ActiveState"), "active");
    let next = machine.property("hello-birthday-backup.timer", "NextElapseUSecRealtime");
    assert!(next.contains(" 02:"), "{next}");
    copy_while_somebody_writes(&machine);
    let copy = machine.copy.mounted().join(COPY);
    // The service reads it too, which is how it is restored.
    let from = format!("--from=sqlite:/srv/birthdays/{COPY}");
    let to = "--to=sqlite:/tmp/restored.db";
    let said = machine.run(&["/usr/local/bin/hello-birthday", "copy", &from, to]);
    assert!(said.contains("users are in both databases"), "{said}");

    // The hosts that come later in that night make none.
    assert_eq!(copies_made_by_hosts(&machine), 0);
    fs::remove_file(&copy).unwrap();
    assert_eq!(copies_made_by_hosts(&machine), 1);
    let yesterday =
        fs::metadata(&copy).unwrap().modified().unwrap() - Duration::from_secs(24 * 60 * 60);
    File::options().write(true).open(&copy).unwrap().set_modified(yesterday).unwrap();
    Client::new(machine.address).send("PUT", "/hello/Lisa", BORN).unwrap().expect_status(204);
    assert_eq!(copies_made_by_hosts(&machine), 1);
    assert!(names(&copy).contains(&"Lisa".to_owned()));

    // Where there is no file, the data is elsewhere.
    machine.run(&["systemctl", "stop", "hello-birthday.socket", "hello-birthday.service"]);
    fs::remove_file(machine.copy.mounted().join("hello-birthday.db")).unwrap();
    machine.run(&["systemctl", "start", BACKUP]);
    assert_eq!(machine.property(BACKUP, "ConditionResult"), "no");
    assert!(!machine.copy.mounted().join("hello-birthday.db").exists());
}

fn copy_while_somebody_writes(machine: &Machine) {
    let mut client = Client::new(machine.address);
    client.send("PUT", "/hello/Johannes", BORN).unwrap().expect_status(204);
    // Of a copy that was cut off.
    let folder = "/srv/birthdays/backup";
    machine.run(&["install", "--directory", "--owner=hello-birthday", "--mode=0700", folder]);
    let cut_off = machine.copy.mounted().join("backup/hello-birthday.db.new");
    fs::write(&cut_off, "half of it").unwrap();

    let load = Load::start(machine.address, Clients { finds: false, patient: false, ..BUSY });
    load.wait_for_round();
    let started = machine.try_run(&["systemctl", "start", BACKUP]);
    let journal = ["journalctl", "--no-pager", "--output=cat", "--unit", BACKUP];
    assert!(started.status.success(), "{}", machine.run(&journal));
    load.stop().expect_no_failure();

    let copy = machine.copy.mounted().join(COPY);
    let metadata = fs::metadata(&copy).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (UID, UID, 0o600));
    assert!(!cut_off.exists());
    assert!(names(&copy).contains(&"Johannes".to_owned()));
}

/// Lets several hosts come at once, and counts the copies they make.
fn copies_made_by_hosts(machine: &Machine) -> usize {
    thread::scope(|scope| {
        let hosts = [(); 4].map(|()| scope.spawn(|| machine.run(AS_A_HOST)));
        let said = hosts.map(|host| host.join().unwrap());
        said.iter().filter(|said| said.starts_with("backed up ")).count()
    })
}

/// What the unit runs, as it does.
const AS_A_HOST: &[&str] = &[
    "runuser",
    "--user=hello-birthday",
    "--",
    "/usr/local/bin/hello-birthday",
    "backup",
    "--database-url=sqlite:/srv/birthdays/hello-birthday.db",
    "--unless-newer=12h",
    "/srv/birthdays/backup/hello-birthday.db",
];

fn names(file: &Path) -> Vec<String> {
    let database = Connection::open(file).unwrap();
    let intact: String =
        database.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(intact, "ok");
    let mut names = database.prepare("select username from users").unwrap();
    names.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}
