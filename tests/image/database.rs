//! Where a machine's service learns where its database is.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use crate::harness::wait_until;
use crate::image::{Copy, UID};
use crate::machine::Machine;
use crate::wait_for;

const FETCH: &str = "hello-birthday-database-url.service";
const URL: &str = "/run/hello-birthday/database-url";

/// Stands in for AWS's command: the secret is in a file, and so is how it was asked.
const AWS: &str =
    "#!/bin/sh\necho \"$AWS_DEFAULT_REGION $*\" >/run/aws-was-asked\nexec cat /etc/secret\n";

#[test]
fn the_credential_store_says_where_the_database_is() {
    let copy = Copy::of_image();
    let credential = copy.path("/etc/credstore/hello-birthday.database-url");
    fs::write(&credential, "sqlite:/srv/birthdays/another.db\n").unwrap();
    fs::set_permissions(&credential, Permissions::from_mode(0o600)).unwrap();
    let machine = Machine::boot(copy);
    assert!(machine.is_healthy());
    assert!(machine.mounted().join("another.db").exists());
    assert!(!machine.mounted().join("hello-birthday.db").exists());
}

#[test]
fn a_rotated_secret_is_fetched_and_seen_by_the_service_alone() {
    let machine = boot_with_secret(r#"{"username":"hello","password":"a/b c%"}"#);
    assert_eq!(url(&machine), "postgres://hello:a%2Fb%20c%25@db:5432/hello?sslmode=require\n");
    let asked = machine.run(&["cat", "/run/aws-was-asked"]);
    assert!(asked.starts_with("eu-north-1 secretsmanager get-secret-value"), "{asked}");
    assert!(asked.contains("--secret-id the-secret") && !asked.contains("a/b"), "{asked}");

    let file = fs::metadata(machine.root().join("run/hello-birthday/database-url")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (0, UID, 0o640));
    let somebody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", URL];
    assert!(!machine.try_run(&somebody).status.success());
    let service = ["setpriv", "--reuid=590", "--regid=590", "--clear-groups", "cat", URL];
    machine.run(&service);

    rotate(&machine, "postgres://hello:an0ther@db/hello");
    assert_eq!(url(&machine), "postgres://hello:an0ther@db/hello\n");
    let journal = machine.run(&["journalctl", "--output=export"]);
    assert!(
        !journal.contains("an0ther") && !journal.contains("a/b c") && !journal.contains("a%2Fb")
    );
}

#[test]
fn the_secret_is_fetched_again_by_itself() {
    let machine = boot_with_secret("postgres://hello:first@db/hello");
    fs::write(machine.path("/etc/secret"), "postgres://hello:second@db/hello\n").unwrap();
    assert_eq!(machine.property("hello-birthday-database-url.timer", "ActiveState"), "active");
    // The minute that the timer has, and what a busy machine adds.
    wait_for("the next fetch", Duration::from_secs(120), || url(&machine).contains("second"));
}

#[test]
fn what_is_no_secret_of_ours_leaves_the_last_one_in_place() {
    let machine = boot_with_secret("postgres://hello:first@db/hello");
    for nonsense in [r#"{"username":"hello"}"#, "", "null", "mysql://hello:first@db/hello", "{"] {
        fs::write(machine.path("/etc/secret"), nonsense).unwrap();
        assert!(!machine.try_run(&["systemctl", "start", FETCH]).status.success(), "{nonsense}");
        assert_eq!(url(&machine), "postgres://hello:first@db/hello\n");
    }
    fs::remove_file(machine.path("/etc/secret")).unwrap();
    assert!(!machine.try_run(&["systemctl", "start", FETCH]).status.success());
    assert_eq!(url(&machine), "postgres://hello:first@db/hello\n");
    let left = machine.run(&["ls", "/run/hello-birthday"]);
    assert_eq!(left, "database-url\n");
}

/// A machine that has found its secret, and so a URL, at its start.
fn boot_with_secret(secret: &str) -> Machine {
    let copy = Copy::of_image();
    fs::write(copy.path("/usr/local/bin/aws"), AWS).unwrap();
    fs::set_permissions(copy.path("/usr/local/bin/aws"), Permissions::from_mode(0o755)).unwrap();
    fs::write(copy.path("/etc/secret"), secret).unwrap();
    let settings = "AWS_REGION=eu-north-1\nSECRET_ID=the-secret\n\
         DATABASE_URL=postgres://db:5432/hello?sslmode=require\n";
    fs::write(copy.path("/etc/hello-birthday/secret"), settings).unwrap();
    let machine = Machine::boot(copy);
    wait_until("the URL is there", || {
        machine.root().join("run/hello-birthday/database-url").exists().then_some(())
    });
    machine
}

fn rotate(machine: &Machine, secret: &str) {
    fs::write(machine.path("/etc/secret"), secret).unwrap();
    machine.run(&["systemctl", "start", FETCH]);
}

fn url(machine: &Machine) -> String {
    machine.run(&["cat", URL])
}
