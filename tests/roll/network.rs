//! A network of instances that can be cut.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

/// A switch on this machine.
pub struct Network {
    bridge: String,
    subnet: u8,
}

/// Names of places are not used again: one that was ended may linger.
static PLACES: AtomicU8 = AtomicU8::new(1);

/// A place in the network with a stack of its own.
pub struct Place {
    namespace: String,
    link: String,
    pub address: IpAddr,
}

impl Network {
    /// Connects this machine to a new switch.
    pub fn new() -> Network {
        let process = std::process::id();
        let subnet = u8::try_from(process % 256).unwrap();
        let network = Network { bridge: format!("hbr{process}"), subnet };
        ip(&format!("link add {} type bridge", network.bridge));
        ip(&format!("addr add {}/24 dev {}", network.here(), network.bridge));
        ip(&format!("link set {} up", network.bridge));
        network
    }

    /// This machine's own address.
    pub fn here(&self) -> IpAddr {
        self.address(1)
    }

    /// An address of a range for tests of networks, RFC 2544.
    fn address(&self, host: u8) -> IpAddr {
        Ipv4Addr::new(198, 19, self.subnet, host).into()
    }

    /// Connects a new place.
    pub fn new_place(&self) -> Place {
        let host = 1 + PLACES.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("{}-{host}", self.bridge);
        let link = namespace.clone();
        let place = Place { namespace, link, address: self.address(host) };
        let Place { namespace, link, address } = &place;
        ip(&format!("netns add {namespace}"));
        ip(&format!("link add {link} type veth peer name eth0 netns {namespace}"));
        ip(&format!("link set {link} master {} up", self.bridge));
        ip(&format!("-n {namespace} addr add {address}/24 dev eth0"));
        ip(&format!("-n {namespace} link set eth0 up"));
        place
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        try_ip(&format!("link delete {}", self.bridge));
    }
}

impl Place {
    /// Runs a service here.
    pub fn command(&self, binary: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(binary);
        command.arg(format!("--listen={}:8080", self.address));
        command.arg(format!("--admin-listen={}:8081", self.address));
        command
    }

    /// Pulls the cable: what is sent is lost, and nobody hears so.
    pub fn cut(&self) {
        ip(&format!("link set {} nomaster", self.link));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left unsent in a namespace keeps it, and its cable, for a while.
        try_ip(&format!("link delete {}", self.link));
        try_ip(&format!("netns delete {}", self.namespace));
    }
}

fn ip(arguments: &str) {
    assert!(try_ip(arguments), "ip {arguments}");
}

fn try_ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).status().is_ok_and(|status| status.success())
}
