//! The Debian and RPM packages: what is in them, and what a machine does with them.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::harness::{Client, wait_until};
use crate::image::Copy;
use crate::load::{BUSY, Clients, Load, TODAY};
use crate::machine::Machine;
use crate::static_binary::BINARY;
use crate::{command, run};

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;
const SERVICE: &str = "hello-birthday.service";
const UNITS: [&str; 3] = ["hello-birthday.socket", SERVICE, "hello-birthday.timer"];
const DATABASE: &str = "/var/lib/hello-birthday/hello-birthday.db";

/// This release and the next one, as the packages of both kinds.
static PACKAGES: LazyLock<Packages> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    for version in ["0.1.0", "0.2.0"] {
        // Not at once with another: both put their files into the same folder first.
        run(command("systemd/package/build").arg(folder.path()).arg(&*BINARY).arg(version));
    }
    Packages { folder }
});

struct Packages {
    folder: TempDir,
}

impl Packages {
    /// The package of `version`, in a file whose name ends with `kind`.
    fn file(&self, version: &str, kind: &str) -> PathBuf {
        let files = fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path());
        let is_it = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.contains(version) && name.ends_with(kind)
        };
        files.into_iter().find(is_it).unwrap_or_else(|| panic!("no {kind} of {version}"))
    }
}

/// How a distribution installs, and removes, a package.
struct Manager {
    kind: &'static str,
    install: &'static [&'static str],
    upgrade: &'static [&'static str],
    remove: &'static [&'static str],
}

const DPKG: Manager = Manager {
    kind: ".deb",
    install: &["dpkg", "--install"],
    upgrade: &["dpkg", "--install"],
    remove: &["dpkg", "--remove", "hello-birthday"],
};

/// Without dependencies: Debian's packages are not in its database.
const RPM: Manager = Manager {
    kind: ".rpm",
    install: &["rpm", "--install", "--nodeps"],
    upgrade: &["rpm", "--upgrade", "--nodeps"],
    remove: &["rpm", "--erase", "hello-birthday"],
};

#[test]
fn lintian_finds_nothing_in_the_debian_package() {
    let package = PACKAGES.file("0.1.0", ".deb");
    let fails = ["--fail-on=error", "--fail-on=warning", "--allow-root"];
    run(command("lintian").args(fails).arg(package));
}

#[test]
fn both_packages_hold_the_binary_its_units_and_its_pages() {
    let files = |program: &str, arguments: &[&str], kind| {
        run(command(program).args(arguments).arg(PACKAGES.file("0.1.0", kind)))
    };
    let packages = [
        files("dpkg-deb", &["--contents"], ".deb"),
        files("rpm", &["--query", "--list", "--package"], ".rpm"),
    ];
    for package in packages {
        for file in [
            "/usr/bin/hello-birthday",
            "/usr/lib/systemd/system/hello-birthday.service",
            "/usr/lib/systemd/system/hello-birthday.service.d/package.conf",
            "/usr/lib/systemd/system/hello-birthday.socket",
            "/usr/lib/systemd/system/hello-birthday.timer",
            "/usr/lib/sysusers.d/hello-birthday.conf",
            "/usr/share/bash-completion/completions/hello-birthday",
            "/usr/share/man/man1/hello-birthday.1.gz",
        ] {
            assert!(
                package.lines().any(|line| line.ends_with(file)),
                "{file} is not in\n{package}"
            );
        }
        assert!(package.contains("changelog"), "{package}");
        assert!(package.contains("_hello-birthday"), "no completions for zsh:\n{package}");
        assert!(package.contains("hello-birthday.fish"), "{package}");
    }
}

#[test]
fn the_debian_package_is_installed_upgraded_and_removed_and_the_data_stays() {
    let machine = machine();
    install(&machine, &DPKG);
    for unit in UNITS {
        assert_eq!(machine.property(unit, "ActiveState"), "active", "{unit}");
    }
    upgrade_under_load(&machine, &DPKG);
    remove(&machine, &DPKG);

    install(&machine, &DPKG);
    expect_greeting(&machine);
    machine.run(&["dpkg", "--purge", "hello-birthday"]);
    assert!(machine.root().join(&DATABASE[1..]).exists(), "the data is purged");
}

#[test]
fn the_rpm_package_is_installed_upgraded_and_removed_and_the_data_stays() {
    let machine = machine();
    install(&machine, &RPM);
    for unit in UNITS {
        // Debian's preset is to enable; starting is the administrator's.
        assert_eq!(machine.property(unit, "UnitFileState"), "enabled", "{unit}");
        machine.run(&["systemctl", "start", unit]);
    }
    upgrade_under_load(&machine, &RPM);
    remove(&machine, &RPM);

    install(&machine, &RPM);
    machine.run(&["systemctl", "start", SERVICE]);
    expect_greeting(&machine);
}

/// A Debian that knows both kinds of packages, and serves on the day that clients know.
fn machine() -> Machine {
    let copy = Copy::of_debian();
    let chroot = |arguments: &[&str]| run(command("chroot").arg(copy.root()).args(arguments));
    chroot(&["apt-get", "install", "-qq", "--no-install-recommends", "rpm"]);
    let drop_in =
        format!("[Service]\nExecStart=\nExecStart=/usr/bin/hello-birthday --today {TODAY}\n");
    copy.write("/etc/systemd/system/hello-birthday.service.d/today.conf", &drop_in, 0o644);
    for version in ["0.1.0", "0.2.0"] {
        for kind in [DPKG.kind, RPM.kind] {
            let file = PACKAGES.file(version, kind);
            fs::copy(&file, copy.path(&installed_from(version, kind))).unwrap();
        }
    }
    Machine::boot(copy)
}

fn installed_from(version: &str, kind: &str) -> String {
    format!("/opt/{version}{kind}")
}

fn install(machine: &Machine, manager: &Manager) {
    let file = installed_from("0.1.0", manager.kind);
    machine.run(&[manager.install, &[&file]].concat());
    let version = machine.run(&["hello-birthday", "--version"]);
    assert!(version.starts_with("hello-birthday "), "{version}");
}

/// Clients that do not retry see nothing of an upgrade: the socket holds their connections.
fn upgrade_under_load(machine: &Machine, manager: &Manager) {
    wait_until("the service works", || {
        let health = ["hello-birthday", "health"];
        machine.try_run(&health).status.success().then_some(())
    });
    Client::new(machine.address).send("PUT", "/hello/John", BORN).unwrap().expect_status(204);
    let process = machine.property(SERVICE, "MainPID");
    let load = Load::start(machine.address, Clients { patient: false, ..BUSY });
    load.wait_for_round();
    let file = installed_from("0.2.0", manager.kind);
    machine.run(&[manager.upgrade, &[&file]].concat());
    load.wait_for_round();
    let seen = load.stop();
    seen.expect_no_failure();
    seen.expect_nothing_lost([machine.address]);
    assert_ne!(machine.property(SERVICE, "MainPID"), process, "it was not restarted");
    expect_greeting(machine);
}

fn remove(machine: &Machine, manager: &Manager) {
    machine.run(manager.remove);
    let refused = Client::new(machine.address).send("GET", "/health", "");
    assert!(refused.is_err(), "something still serves");
    for unit in UNITS {
        assert_ne!(machine.property(unit, "ActiveState"), "active", "{unit}");
    }
    assert!(machine.root().join(&DATABASE[1..]).exists(), "the data is removed");
    assert!(!machine.try_run(&["hello-birthday", "--version"]).status.success());
}

fn expect_greeting(machine: &Machine) {
    let greeting = Client::new(machine.address).send("GET", "/hello/John", "").unwrap();
    assert!(greeting.expect_status(200).body.contains("Hello, John! "));
}
