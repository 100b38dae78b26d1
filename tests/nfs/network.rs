//! A network of a test's own: a switch between the share and its clients, and one
//! between the clients and the test.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{command, run};

/// Every guest takes a processor, so one test at a time has some.
static TURN: Mutex<()> = Mutex::new(());

/// The switches, in a namespace that ends with the test, however that ends.
pub struct Network {
    namespace: Child,
    _turn: MutexGuard<'static, ()>,
}

/// One end of a cable to a switch; the other is a guest's.
pub struct Cable {
    /// The device as this side names it.
    pub device: String,
    /// What the guest is called on it.
    pub address: Ipv4Addr,
    switch: &'static str,
}

impl Network {
    /// Makes the switches and moves this thread, and those it starts from now on,
    /// to where they are.
    pub fn enter() -> Network {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut namespace = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare comes with util-linux");
        // Its answer says that the namespace is made.
        namespace.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        namespace.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let file = File::open(format!("/proc/{}/ns/net", namespace.id())).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may enter a namespace");
        ip("link set lo up");
        for switch in ["front", "share"] {
            ip(&format!("link add {switch} type bridge"));
            ip(&format!("link set {switch} up"));
        }
        ip(&format!("address add {}/24 dev front", address("front", 1)));
        Network { namespace, _turn: turn }
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

    pub fn mend(&self) {
        ip(&format!("link set {} master {}", self.device, self.switch));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.namespace.kill();
        let _ = self.namespace.wait();
    }
}

/// Of a range for tests of networks, RFC 2544.
fn address(switch: &str, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, u8::from(switch == "share"), number)
}

fn ip(arguments: &str) {
    run(command("ip").args(arguments.split(' ')));
}
