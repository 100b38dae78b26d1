//! A network of the tests' own: a switch between the share and its clients, and one
//! between the clients and the tests.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::commands::ip;

/// The switches, in a namespace that ends with this process, however that ends.
pub struct Network {
    namespace: Child,
}

/// One end of a cable to a switch; the other is a guest's.
pub struct Cable {
    /// The device as this side names it.
    pub device: String,
    /// What the guest is called on it.
    pub address: Ipv4Addr,
    /// What it leads to.
    pub switch: &'static str,
}

impl Network {
    /// Makes the switches and enters their namespace. `folder` is removed when it ends.
    pub fn start(folder: &Path) -> Network {
        let mut namespace = Command::new("unshare")
            .args(["--net", "sh", "-c", "cat; rm -rf \"$0\""])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare comes with util-linux");
        // Its answer says that the namespace is made.
        namespace.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        namespace.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let network = Network { namespace };
        network.enter();
        ip("link set lo up");
        for switch in ["front", "share"] {
            ip(&format!("link add {switch} type bridge"));
            ip(&format!("link set {switch} up"));
        }
        ip(&format!("address add {}/24 dev front", address("front", 1)));
        network
    }

    /// Moves this thread, and those that it starts from now on, to the switches.
    pub fn enter(&self) {
        let file = File::open(format!("/proc/{}/ns/net", self.namespace.id())).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may enter a namespace");
    }

    /// Lays a cable from a switch to the guest with `number`.
    pub fn cable(&self, switch: &'static str, number: u8) -> Cable {
        let device = format!("{switch}{number}");
        ip(&format!("tuntap add dev {device} mode tap"));
        ip(&format!("link set {device} master {switch} up"));
        Cable { device, address: address(switch, number), switch }
    }
}

impl Cable {
    /// What is sent on the cable from now on arrives nowhere.
    pub fn cut(&self) {
        ip(&format!("link set {} nomaster", self.device));
    }

    pub fn repair(&self) {
        ip(&format!("link set {} master {}", self.device, self.switch));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Closes its input, which ends it. Ended already is as good.
        let _ = self.namespace.wait();
    }
}

/// Of a range for tests of networks, RFC 2544.
fn address(switch: &str, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, u8::from(switch == "share"), number)
}
