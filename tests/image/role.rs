//! What the role does to a host.

use std::net::{SocketAddr, TcpStream};
use std::process::Output;

use serde_json::json;

use crate::harness::Client;
use crate::image::{Copy, settings};
use crate::machine::Machine;
use crate::said;

#[test]
fn a_running_host_gets_another_port_and_another_file_system() {
    let copy = Copy::of_image();
    // Stands in for the helper, which is of Amazon Linux. What it mounts says that it
    // needs the network, as NFS would, or systemd would take it for a local disk.
    let helper = "#!/bin/sh\necho \"$*\" >/run/efs\nexec mount --bind -o _netdev /mounted \"$2\"\n";
    copy.write("/usr/sbin/mount.efs", helper, 0o755);
    let machine = Machine::boot(copy);
    let mut settings = settings();
    settings["hello_birthday_started"] = json!(true);
    settings["hello_birthday_sealed"] = json!(false);
    settings["hello_birthday_listen"] = json!("9090");
    settings["hello_birthday_mount_type"] = json!("efs");
    settings["hello_birthday_mount_source"] = json!("fs-0123456789abcdef0:/");
    settings["hello_birthday_mount_access_point"] = json!("fsap-0123456789abcdef0");
    let play = |playbook| {
        let output = machine.play(playbook, &settings);
        assert!(output.status.success(), "{}", said(&output));
    };

    play("ansible/site.yml");
    assert!(TcpStream::connect(machine.address).is_err());
    let ask = || {
        let mut client = Client::new(SocketAddr::new(machine.address.ip(), 9090));
        client.send("GET", "/health", "").unwrap().expect_status(200);
    };
    ask();
    play("ansible/verify.yml");

    machine.run(&["systemctl", "restart", "srv-birthdays.mount"]);
    ask();
    let arguments = machine.run(&["cat", "/run/efs"]);
    assert!(arguments.starts_with("fs-0123456789abcdef0:/ /srv/birthdays "), "{arguments}");
    let options: Vec<_> = arguments.trim().rsplit(' ').next().unwrap().split(',').collect();
    for option in ["tls", "iam", "accesspoint=fsap-0123456789abcdef0", "nosuid", "nodev"] {
        assert!(options.contains(&option), "{option}: {arguments}");
    }
}

#[test]
fn a_running_host_is_made_an_image_and_tried_and_left_as_it_was() {
    let machine = Machine::boot(Copy::of_image());
    let mut settings = settings();
    settings["hello_birthday_started"] = json!(true);
    // As Packer does with the machine that an AMI is made of.
    let output = machine.play("packer/bake.yml", &settings);
    assert!(output.status.success(), "{}", said(&output));
    // The role finds all as it should be. Running, the host has an id and a journal again.
    assert_eq!(
        changed_tasks(&output)[0],
        "Remove what belongs to the machine",
        "{}",
        said(&output)
    );
    assert!(said(&output).contains("The service works"));
    for unit in ["hello-birthday.service", "hello-birthday.socket", "hello-birthday.timer"] {
        assert_eq!(machine.property(unit, "ActiveState"), "inactive", "{unit}");
    }
    assert!(!machine.root().join("run/credstore").exists());
}

/// The tasks that changed something, in order.
pub fn changed_tasks(output: &Output) -> Vec<String> {
    let said = String::from_utf8_lossy(&output.stdout);
    let tasks = said.split("\nTASK [hello_birthday : ").skip(1);
    tasks
        .filter(|task| task.contains("\nchanged: "))
        .map(|task| task.split(']').next().unwrap().to_owned())
        .collect()
}
