//! What `ansible/verify.yml` finds wrong with an image.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use serde_json::json;

use crate::image::{Copy, authority, play, settings};
use crate::{command, run};

/// What is wrong with an image, how it comes to be, and what is said of it.
type Spoiling = (&'static str, fn(&Copy), &'static str);

const SPOILINGS: &[Spoiling] = &[
    (
        "a key is left over that lets somebody in",
        |copy| copy.write("/root/.ssh/authorized_keys", "ssh-ed25519 AAAA", 0o600),
        "keys that let somebody in",
    ),
    (
        "a setting that may be secret can be read by all",
        |copy| set_mode(copy, "/etc/hello-birthday/environment", 0o644),
        "/etc/hello-birthday/environment is missing, somebody else's, not of mode 0600",
    ),
    (
        "the service does not start with the host",
        |copy| systemctl(copy, "disable", "hello-birthday.service"),
        "hello-birthday.service is disabled, not enabled",
    ),
    (
        "the binary is another one",
        |copy| copy.write("/usr/local/bin/hello-birthday", "#!/bin/sh", 0o755),
        "/usr/local/bin/hello-birthday is missing, somebody else's, not of mode 0755, or was changed",
    ),
    (
        "a unit is missing",
        |copy| fs::remove_file(copy.path("/etc/systemd/system/srv-birthdays.mount")).unwrap(),
        "/etc/systemd/system/srv-birthdays.mount is missing",
    ),
    (
        "the CA certificates are others",
        |copy| copy.write("/etc/hello-birthday/postgres-ca.pem", &authority(2001), 0o644),
        "/etc/hello-birthday/postgres-ca.pem is missing, somebody else's, not of mode 0644, or was changed",
    ),
    (
        "they have expired",
        |_| (),
        "/etc/hello-birthday/postgres-ca.pem holds a certificate that has expired",
    ),
    (
        "an SSH server may start",
        |copy| fs::remove_file(copy.path("/etc/systemd/system/ssh.service")).unwrap(),
        "ssh.service is missing, not masked",
    ),
    (
        "all hosts would have one machine-id",
        |copy| copy.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n", 0o444),
        "/etc/machine-id is not empty",
    ),
    (
        "the service may do more than its unit says",
        |copy| {
            let drop_in = "/etc/systemd/system/hello-birthday.service.d/host.conf";
            copy.write(drop_in, "[Service]\nProtectSystem=no\n", 0o644);
        },
        "hello-birthday.service.d/host.conf changes a unit",
    ),
    (
        "anybody can write where the data is mounted",
        |copy| set_mode(copy, "/srv/birthdays", 0o777),
        "/srv/birthdays is missing, or others can write there",
    ),
    (
        "a secret is in the image",
        |copy| copy.write("/etc/credstore/hello-birthday.database-url", "postgres://", 0o600),
        "secrets of one host",
    ),
    (
        "an account has a password",
        |copy| {
            let shadow = fs::read_to_string(copy.path("/etc/shadow")).unwrap();
            copy.write("/etc/shadow", &shadow.replace("root:*:", "root:$6$abc$def:"), 0o640);
        },
        "Nobody has a password",
    ),
];

#[test]
fn all_that_is_wrong_with_an_image_is_found() {
    let copy = Copy::of_image();
    for (_, spoil, _) in SPOILINGS {
        spoil(&copy);
    }
    let output = play("ansible/verify.yml", &copy.root(), &settings(), None);
    assert!(!output.status.success(), "passed although nothing is right");

    // It ends at the first that is wrong, so the others are found by going on.
    let go_on = json!([{
        "hosts": "all",
        "ignore_errors": true,
        "tasks": [{
            "ansible.builtin.import_role": { "name": "hello_birthday", "tasks_from": "verify" }
        }],
    }]);
    let playbook = copy.beside("go-on.yml");
    fs::write(&playbook, go_on.to_string()).unwrap();
    let output = play(playbook.to_str().unwrap(), &copy.root(), &settings(), None);
    let failures = failures(&output);
    for (what, _, message) in SPOILINGS {
        let found = failures.iter().filter(|failure| failure.contains(message)).count();
        assert_eq!(found, 1, "{what}: {failures:#?}");
    }
    // What is right is not found wrong.
    assert_eq!(failures.len(), SPOILINGS.len(), "{failures:#?}");
}

/// What failed: each time the name of the task, and what it said of one item.
fn failures(output: &Output) -> Vec<String> {
    let said = String::from_utf8_lossy(&output.stdout);
    let mut failures = Vec::new();
    for task in said.split("\nTASK [").skip(1) {
        let name = task.lines().next().unwrap();
        let lines = |start| task.lines().filter(move |line: &&str| line.starts_with(start));
        // A task with items says last that it failed itself.
        let items = lines("failed: ").count();
        let start = if items > 0 { "failed: " } else { "fatal: " };
        failures.extend(lines(start).map(|line| format!("{name} {line}")));
    }
    failures
}

fn set_mode(copy: &Copy, path: &str, mode: u32) {
    fs::set_permissions(copy.path(path), Permissions::from_mode(mode)).unwrap();
}

fn systemctl(copy: &Copy, verb: &str, unit: &str) {
    run(command("systemctl").arg("--quiet").arg("--root").arg(copy.root()).args([verb, unit]));
}
