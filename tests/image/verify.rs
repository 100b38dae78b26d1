//! What `ansible/verify.yml` says of images, good and spoilt.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::image::{Copy, play, settings};
use crate::machine::Machine;
use crate::{command, run, said};

#[test]
fn a_good_image_passes() {
    let copy = Copy::of_image();
    let output = play("verify.yml", &copy.root(), &settings());
    assert!(output.status.success(), "{}", said(&output));
}

/// What is wrong with an image, how it comes to be, and what is said of it.
type Spoiling = (&'static str, fn(&Copy), &'static str);

const SPOILINGS: &[Spoiling] = &[
    (
        "a key is left over that lets somebody in",
        |copy| write(copy, "/root/.ssh/authorized_keys", "ssh-ed25519 AAAA"),
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
        |copy| write(copy, "/usr/local/bin/hello-birthday", "#!/bin/sh"),
        "/usr/local/bin/hello-birthday is missing, somebody else's, not of mode 0755, or was changed",
    ),
    (
        "an SSH server may start",
        |copy| fs::remove_file(copy.path("/etc/systemd/system/ssh.service")).unwrap(),
        "ssh.service is missing, not masked",
    ),
    (
        "all hosts would have one machine-id",
        |copy| write(copy, "/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        "/etc/machine-id is not empty",
    ),
    (
        "the service may do more than its unit says",
        |copy| {
            let drop_in = "/etc/systemd/system/hello-birthday.service.d/host.conf";
            write(copy, drop_in, "[Service]\nProtectSystem=no\n");
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
        |copy| write(copy, "/etc/credstore/hello-birthday.database-url", "postgres://"),
        "secrets of one host",
    ),
    (
        "an account has a password",
        |copy| {
            let shadow = fs::read_to_string(copy.path("/etc/shadow")).unwrap();
            write(copy, "/etc/shadow", &shadow.replace("root:*:", "root:$6$abc$def:"));
        },
        "Nobody has a password",
    ),
];

#[test]
fn every_spoilt_image_fails_for_what_is_wrong_with_it() {
    for (what, spoil, message) in SPOILINGS {
        let copy = Copy::of_image();
        spoil(&copy);
        let output = play("verify.yml", &copy.root(), &settings());
        assert!(!output.status.success(), "passed although {what}");
        // The last task is the one that failed.
        let said = said(&output);
        let (_, failed) = said.rsplit_once("TASK [").expect("a task failed");
        assert!(failed.contains(message), "{what}: {said}");
    }
}

#[test]
fn an_image_is_tried_where_it_runs_and_left_as_it_was() {
    let copy = Copy::of_image();
    let host_conf = copy.path("/etc/systemd/system/srv-birthdays.mount.d/host.conf");
    fs::remove_file(host_conf).unwrap();
    let machine = Machine::boot(copy);
    // Booted, it has an id and a journal again; what is asked for is the service.
    let mut settings = settings();
    settings["hello_birthday_started"] = json!(true);
    settings["hello_birthday_sealed"] = json!(true);
    settings["ansible_chroot_exe"] = json!(machine.chroot());
    let seal = play("image.yml", &machine.root(), &settings);
    assert!(seal.status.success(), "{}", said(&seal));
    let output = play("verify.yml", &machine.root(), &settings);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("The service works"));
    for unit in ["hello-birthday.service", "hello-birthday.socket", "hello-birthday.timer"] {
        assert_eq!(machine.property(unit, "ActiveState"), "inactive", "{unit}");
    }
    assert!(!machine.root().join("run/credstore").exists());
}

fn write(copy: &Copy, path: &str, text: &str) {
    let path = copy.path(path);
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
    fs::write(path, text).unwrap();
}

fn set_mode(copy: &Copy, path: &str, mode: u32) {
    fs::set_permissions(copy.path(path), Permissions::from_mode(mode)).unwrap();
}

fn systemctl(copy: &Copy, verb: &str, unit: &str) {
    run(command("systemctl").arg("--quiet").arg("--root").arg(copy.root()).args([verb, unit]));
}
