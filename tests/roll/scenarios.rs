//! What happens to a group, and what its clients see of that.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::balancer::{Balancer, Health, Timeouts};
use crate::cluster::{self, Cluster};
use crate::group::{Group, Instance, Release, SIZE, Stopped, wait_until_unhealthy};
use crate::harness::{BINARY, Service, new_folder, random, wait_until};
use crate::load::{Clients, Load, Seen, TODAY};
use crate::network::Network;
use crate::proxy::Proxy;
use crate::releases;

/// How a scenario is run: as a test or for its figures.
#[derive(Clone, Copy)]
pub struct Scale {
    pub clients: Clients,
    pub timeouts: Timeouts,
    /// How long the clients are watched before something happens, and after, at least.
    pub watch_min: Duration,
}

/// The database that the instances share.
#[derive(Debug, Clone, Copy)]
pub enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    pub const BOTH: [Database; 2] = [Database::Sqlite, Database::Postgres];

    /// A new one, as instances reach it that work in one folder.
    fn create(self) -> String {
        match self {
            Database::Sqlite => "sqlite:birthdays.db".to_owned(),
            Database::Postgres => cluster::shared().new_database(),
        }
    }

    /// The newest migration that it has.
    fn schema_version(self, url: &str, folder: &Path) -> u32 {
        let version = "select max(version) from schema_versions";
        match self {
            Database::Sqlite => {
                let file = folder.join(url.strip_prefix("sqlite:").unwrap());
                let file = rusqlite::Connection::open(file).unwrap();
                file.query_row(version, [], |row| row.get(0)).unwrap()
            }
            Database::Postgres => cluster::execute(url, version).trim().parse().unwrap(),
        }
    }
}

impl Scale {
    /// Lets every client be answered.
    fn watch(&self, load: &Load) {
        thread::sleep(self.watch_min);
        load.wait_for_round();
    }
}

fn start<'a>(
    balancer: &'a Balancer,
    database: String,
    network: Option<&'a Network>,
    release: Release,
) -> Group<'a> {
    let mut group = empty(balancer, database, network);
    group.fill(release);
    group
}

fn empty<'a>(balancer: &'a Balancer, database: String, network: Option<&'a Network>) -> Group<'a> {
    Group { balancer, database, folder: new_folder(), network, instances: Vec::new() }
}

/// Rolls a group to the next release, which migrates the database, back, and to the same
/// release again.
pub fn roll(scale: &Scale, database: Database) -> Seen {
    let balancer = Balancer::start_with(scale.timeouts);
    let [previous, next] = [releases::previous(), releases::next()];
    let mut group = start(&balancer, database.create(), None, previous);
    let load = Load::start(balancer.address, scale.clients);
    let schema = |group: &Group| database.schema_version(&group.database, group.folder.path());
    let before = schema(&group);
    for release in [next, previous, previous] {
        scale.watch(&load);
        group.roll(release, |_| Ok(())).unwrap();
        assert_eq!(schema(&group), before + 1);
    }
    scale.watch(&load);
    let seen = load.stop();
    seen.expect_nothing_lost(group.addresses());
    seen
}

/// A roll that had to stop.
pub struct StoppedRoll {
    pub why: Stopped,
    /// When the bad instance was removed.
    pub removed: Instant,
    /// Whether it got requests.
    pub was_sent_requests: bool,
    pub seen: Seen,
}

/// Rolls to a release with this fault, which shows once the new instance serves.
pub fn roll_to_bad_release(scale: &Scale, fault: &str) -> StoppedRoll {
    let balancer = Balancer::start_with(scale.timeouts);
    let mut group = start(&balancer, Database::Sqlite.create(), None, releases::previous());
    let before = group.addresses();
    let load = Load::start(balancer.address, scale.clients);
    scale.watch(&load);
    let was_sent_requests = || balancer.instances_with_requests() > SIZE;
    let bake = |new: &Instance| {
        scale.watch(&load);
        wait_until("it has served", || was_sent_requests().then_some(()));
        new.service.signal(Signal::USR1);
        wait_until_unhealthy(&balancer, new);
        Err(Stopped::Unhealthy)
    };
    let bad = Release { fault, ..releases::next() };
    let why = group.roll(bad, bake).expect_err("the roll stops");
    let removed = Instant::now();
    scale.watch(&load);
    let seen = load.stop();
    assert_eq!(group.addresses(), before);
    seen.expect_nothing_lost(before);
    StoppedRoll { why, removed, was_sent_requests: was_sent_requests(), seen }
}

/// What strikes an instance.
#[derive(Debug, Clone, Copy)]
pub enum Blow {
    Kill,
    Hang,
    CutCable,
}

/// An instance that was struck under load and replaced.
pub struct Death {
    /// What the balancer found.
    pub health: Health,
    /// When it was removed.
    pub removed: Instant,
    /// What clients saw that take a failure for one, and those that retry.
    pub strict: Seen,
    pub patient: Seen,
}

/// Strikes one instance of a group, whose instances are each in a place of `network` if there
/// is one.
pub fn strike(scale: &Scale, blow: Blow, database: Database, network: Option<&Network>) -> Death {
    let (_server, url) = match (network, database) {
        (Some(network), Database::Postgres) => {
            let (server, url) = postgres_in(network);
            (Some(server), url)
        }
        _ => (None, database.create()),
    };
    let balancer = Balancer::start_with(scale.timeouts);
    let group = start(&balancer, url, network, releases::previous());
    strike_first(scale, group, |victim| match blow {
        Blow::Kill => victim.service.signal(Signal::KILL),
        Blow::Hang => victim.service.signal(Signal::STOP),
        Blow::CutCable => victim.place.as_ref().unwrap().cut(),
    })
}

/// Makes the database stop answering one instance. The others reach it.
pub fn cut_off_from_store(scale: &Scale) -> Death {
    let balancer = Balancer::start_with(scale.timeouts);
    let database = Database::Postgres.create();
    let proxy = Proxy::to(cluster::shared().port());
    let mut group = empty(&balancer, proxy.url(&database), None);
    group.add(Release { flags: &["--store-outage-max=6s"], ..releases::previous() });
    group.database = database;
    group.fill(releases::previous());
    strike_first(scale, group, |_| proxy.go_silent())
}

/// Makes the database answer no instance until each of them has noticed. Returns what clients saw
/// that retry.
pub fn outlast_outage(scale: &Scale) -> Seen {
    let balancer = Balancer::start_with(scale.timeouts);
    let proxy = Proxy::to(cluster::shared().port());
    let database = proxy.url(&Database::Postgres.create());
    let group = start(&balancer, database, None, releases::previous());
    let before = balancer.times_taken_out();
    let load = Load::start(balancer.address, Clients { patient: true, ..scale.clients });
    scale.watch(&load);
    proxy.go_silent();
    for instance in &group.instances {
        // The balancer checks every second.
        wait_until("the instance notices", || {
            let outage = instance.service.metric("hello_birthday_store_outage_seconds");
            (outage >= 5.0).then_some(())
        });
    }
    proxy.forward();
    scale.watch(&load);
    assert_eq!(balancer.times_taken_out(), before);
    let seen = load.stop();
    seen.expect_nothing_lost(group.addresses());
    seen
}

/// Strikes the first instance of a group, and has it replaced.
fn strike_first(scale: &Scale, mut group: Group, strike: impl FnOnce(&Instance)) -> Death {
    let balancer = group.balancer;
    let half = Clients { per_second: scale.clients.per_second / 2, ..scale.clients };
    let [strict, patient] =
        [false, true].map(|patient| Load::start(balancer.address, Clients { patient, ..half }));
    [&strict, &patient].into_iter().for_each(|load| scale.watch(load));
    let victim = group.instances.remove(0);
    strike(&victim);
    wait_until_unhealthy(balancer, &victim);
    let health = balancer.health(&victim.target);
    group.remove(victim);
    let removed = Instant::now();
    group.fill(releases::previous());
    let [strict, patient] = [strict, patient].map(|load| {
        scale.watch(&load);
        let seen = load.stop();
        seen.expect_nothing_lost(group.addresses());
        seen
    });
    Death { health, removed, strict, patient }
}

/// A server that an instance without network cannot reach either, and a database in it.
fn postgres_in(network: &Network) -> (Cluster, String) {
    let here = network.here().to_string();
    let addresses = format!("127.0.0.1,{here}");
    let server = Cluster::start(&[("fsync", "off"), ("listen_addresses", &addresses)]);
    server.configure_hosts(
        "host all all 127.0.0.1/32 scram-sha-256\nhost all all samenet scram-sha-256",
    );
    server.reload();
    let url = server.new_database().replacen("127.0.0.1", &here, 1);
    // A network that was just made may take seconds to carry the first packet.
    (server, url + "?sslmode=disable&connect_timeout=60")
}

/// Restarts one instance whose sockets are systemd's, so that requests wait there.
pub fn restart(scale: &Scale, restarts: usize) -> Seen {
    let folder = new_folder();
    let sockets = ["127.0.0.1:0"; 2].map(|address| TcpListener::bind(address).unwrap());
    let mut service = start_on(&folder, &sockets);
    let load = Load::start(service.address, scale.clients);
    for _ in 0..restarts {
        load.wait_for_round();
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(random(80)));
        service.stop();
        service = start_on(&folder, &sockets);
    }
    load.wait_for_round();
    let seen = load.stop();
    seen.expect_nothing_lost([service.address]);
    service.stop();
    seen
}

/// Passes sockets as systemd does: from descriptor 3 on (sd_listen_fds(3)). A shell
/// moves them there, and is then replaced by the service.
fn start_on(folder: &Arc<TempDir>, [public, admin]: &[TcpListener; 2]) -> Service {
    let descriptor = |socket: &TcpListener| OwnedFd::from(socket.try_clone().unwrap());
    let script = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", BINARY, "--today", TODAY]);
    command.stdin(descriptor(public)).stdout(descriptor(admin));
    Service::spawn(folder, command)
}
