//! A machine: an image that has booted, with a network and a file system to mount.

use std::fs::{self, File, Permissions};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::control_group::ControlGroup;
use crate::harness::{Client, PATIENCE, wait_until};
use crate::image::{Copy, play};
use crate::{command, said};

/// A container with the image's own systemd.
pub struct Machine {
    // Before the copy that it runs in: fields end in this order.
    _container: Container,
    /// The container's first process, as this machine counts.
    leader: String,
    /// The public listener.
    pub address: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// What it was booted from, as seen from outside.
    pub copy: Copy,
}

impl Machine {
    /// Boots `copy`, and waits until its systemd has started all it wants to. From then on
    /// this thread, and those that it starts, are in the machine's network.
    pub fn boot(copy: Copy) -> Machine {
        let notify = copy.beside("notify");
        let notifications = UnixDatagram::bind(&notify).unwrap();
        notifications.set_read_timeout(Some(PATIENCE)).unwrap();
        let console = File::create(copy.beside("console")).unwrap();
        let group = ControlGroup::new(copy.name());
        let container = Command::new("sh")
            .args(["-c", ENTER_AND_BOOT, "sh"])
            .args(group.files())
            .args(["--", "--quiet", "--boot", "--register=no", "--keep-unit", "--notify-ready=yes"])
            .args(["--console=pipe", "--hostname=machine"])
            .arg("--directory")
            .arg(copy.root())
            .arg(format!("--bind={}:/mounted", copy.mounted().display()))
            .arg("--private-network")
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .expect("sh is there");
        let mut container = Container { process: container, _group: group };
        let console = || fs::read_to_string(copy.beside("console")).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut told = String::new();
        while !told.lines().any(|line| line == "READY=1") {
            let mut message = [0; 4096];
            if let Ok(length) = notifications.recv(&mut message) {
                told += &String::from_utf8_lossy(&message[..length]);
                told.push('\n');
            }
            let ended = container.process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "no boot: {}", console());
        }
        let leader = told.lines().find_map(|line| line.strip_prefix("X_NSPAWN_LEADER_PID="));
        let leader = leader.expect("nspawn names what it started").to_owned();
        // The test goes to where the machine is this one, on its loopback device.
        let network = File::open(format!("/proc/{leader}/ns/net")).unwrap();
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let [address, admin] = [8080, 8081].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        Machine { _container: container, leader, address, admin, copy }
    }

    /// Runs a command in the machine, as root.
    pub fn try_run(&self, arguments: &[&str]) -> Output {
        let mut command = command("nsenter");
        command.args(["--all", "--target", &self.leader, "--"]).args(arguments);
        command.current_dir("/").output().unwrap()
    }

    /// Runs a command in the machine, which must succeed, and gives what it printed.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A property of a unit, as `systemctl show` names it.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.run(&["systemctl", "show", "--value", "--property", name, unit]).trim().to_owned()
    }

    /// Waits until a property of a unit is as it should be.
    pub fn wait_for(&self, unit: &str, name: &str, value: &str) {
        let what = format!("{unit} {name}={value}");
        wait_until(&what, || (self.property(unit, name) == value).then_some(()));
    }

    /// What systemd and the service say about the service.
    pub fn journal(&self) -> String {
        self.run(&["journalctl", "--no-pager", "--output=cat", "--unit=hello-birthday.service"])
    }

    /// Whether the service works.
    pub fn is_healthy(&self) -> bool {
        let health = ["/usr/local/bin/hello-birthday", "health", "--listen=127.0.0.1:8080"];
        self.try_run(&health).status.success()
    }

    /// Waits until the service works.
    pub fn wait_until_healthy(&self) {
        wait_until("the service works", || self.is_healthy().then_some(()));
    }

    /// What the admin listener answers.
    pub fn ask_admin(&self, path: &str) -> String {
        Client::new(self.admin).send("GET", path, "").unwrap().expect_status(200).body
    }

    /// The root folder, as it looks in the machine.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.leader))
    }

    /// Plays `playbook` in the machine, not only on its files.
    pub fn play(&self, playbook: &str, settings: &Value) -> Output {
        let folder = self.copy.beside("bin");
        fs::create_dir_all(&folder).unwrap();
        let chroot = folder.join("chroot");
        let enter = format!("exec nsenter --all --target {} \"$@\"", self.leader);
        fs::write(&chroot, format!("#!/bin/sh\nshift\n{enter}\n")).unwrap();
        fs::set_permissions(&chroot, Permissions::from_mode(0o755)).unwrap();
        play(playbook, &self.root(), settings, Some(&folder))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            let journal = ["journalctl", "--no-pager", "--output=cat", "--lines=100"];
            eprintln!("{}", said(&self.try_run(&journal)));
        }
    }
}

/// Enters the control groups whose files come before `--`, and becomes a container.
const ENTER_AND_BOOT: &str = r#"while [ "$1" != -- ]; do echo $$ >"$1" || exit; shift; done; shift; exec systemd-nspawn "$@""#;

/// A container, which ends with the test.
struct Container {
    process: Child,
    // Removed when the container has ended.
    _group: ControlGroup,
}

impl Drop for Container {
    fn drop(&mut self) {
        // Its systemd ends as if the power was cut, and with it nspawn.
        let children = format!("/proc/{0}/task/{0}/children", self.process.id());
        let children = fs::read_to_string(children).unwrap_or_default();
        for child in children.split_whitespace() {
            let pid = Pid::from_raw(child.parse().unwrap()).unwrap();
            let _ = kill_process(pid, Signal::KILL);
        }
        if children.is_empty() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
