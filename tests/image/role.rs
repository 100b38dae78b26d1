//! What the role does to a host.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::Client;
use crate::image::{Copy, IMAGE, changes, play, settings};
use crate::machine::Machine;
use crate::units::folder;
use crate::{command, run, said};

#[test]
fn a_second_run_changes_nothing() {
    let [first, second] = IMAGE.changes;
    assert!(first > 10, "the first run changed only {first} things");
    assert_eq!(second, 0);
}

#[test]
fn a_running_host_is_moved_to_another_port_and_then_left_alone() {
    let machine = Machine::boot(Copy::of_image());
    let mut settings = settings();
    settings["hello_birthday_started"] = json!(true);
    settings["hello_birthday_sealed"] = json!(false);
    settings["hello_birthday_listen"] = json!("9090");
    settings["ansible_chroot_exe"] = json!(machine.chroot());
    for changed in [true, false] {
        let output = play("site.yml", &machine.root(), &settings);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(changes(&said(&output)) > 0, changed, "{}", said(&output));
    }
    assert!(TcpStream::connect(machine.address).is_err());
    Client::new(SocketAddr::new(machine.address.ip(), 9090))
        .send("GET", "/health", "")
        .unwrap()
        .expect_status(200);
    let output = play("verify.yml", &machine.root(), &settings);

    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn efs_is_mounted_by_its_helper_with_tls_through_the_access_point() {
    let copy = Copy::of_image();
    let mut settings = settings();
    settings["hello_birthday_mount_type"] = json!("efs");
    settings["hello_birthday_mount_source"] = json!("fs-0123456789abcdef0:/");
    settings["hello_birthday_mount_access_point"] = json!("fsap-0123456789abcdef0");
    let output = play("image.yml", &copy.root(), &settings);
    assert!(output.status.success(), "{}", said(&output));
    // Stands in for the helper, which is of Amazon Linux. What it mounts says that it
    // needs the network, as NFS would, or systemd would take it for a local disk.
    let helper = copy.path("/usr/sbin/mount.efs");
    let script = "#!/bin/sh\necho \"$*\" >/run/efs\nexec mount --bind -o _netdev /mounted \"$2\"\n";
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, Permissions::from_mode(0o755)).unwrap();

    let machine = Machine::boot(copy);
    machine.wait_until_healthy();
    assert!(machine.mounted().join("hello-birthday.db").exists());
    let arguments = machine.run(&["cat", "/run/efs"]);
    assert!(arguments.starts_with("fs-0123456789abcdef0:/ /srv/birthdays "), "{arguments}");
    let options: Vec<_> = arguments.trim().rsplit(' ').next().unwrap().split(',').collect();
    for option in ["tls", "iam", "accesspoint=fsap-0123456789abcdef0", "nosuid", "nodev"] {
        assert!(options.contains(&option), "{option}: {arguments}");
    }
}

#[test]
fn the_metrics_agent_reads_the_journal_of_units_that_there_are() {
    let settings: Value = serde_json::from_str(&render("amazon-cloudwatch-agent.json")).unwrap();
    let journals = &settings["logs"]["logs_collected"]["journald"]["collect_list"];
    let units = journals[0]["units"].as_array().unwrap();
    assert!(!units.is_empty());
    for unit in units {
        assert!(folder().join(unit.as_str().unwrap()).exists(), "{unit}");
    }
}

#[test]
fn the_metrics_agent_asks_the_admin_listener() {
    let settings: Value = serde_json::from_str(&render("amazon-cloudwatch-agent.json")).unwrap();
    let scraping = &settings["logs"]["metrics_collected"]["prometheus"]["prometheus_config_path"];
    // Where the role puts it.
    assert_eq!(scraping, "/opt/aws/amazon-cloudwatch-agent/etc/prometheus.yaml");
    let socket = fs::read_to_string(folder().join("hello-birthday.socket")).unwrap();
    let admin = socket.lines().filter_map(|line| line.strip_prefix("ListenStream=")).nth(1);
    let target = format!("127.0.0.1:{}", admin.expect("the second is admin"));
    assert!(render("prometheus.yaml").contains(&target));
}

/// A file as the role would write it with its defaults.
fn render(name: &str) -> String {
    let folder = TempDir::new().unwrap();
    let rendered = folder.path().join(name);
    let role = Path::new(env!("CARGO_MANIFEST_DIR")).join("ansible/roles/hello_birthday");
    run(command("ansible")
        .args(["localhost", "--module-name=ansible.builtin.template", "--extra-vars"])
        .arg(format!("@{}", role.join("defaults/main.yml").display()))
        .arg("--args")
        .arg(format!(
            "src={} dest={}",
            role.join("templates").join(format!("{name}.j2")).display(),
            rendered.display()
        ))
        .env("ANSIBLE_HOME", folder.path())
        .env("ANSIBLE_LOCALHOST_WARNING", "false"));
    fs::read_to_string(rendered).unwrap()
}
