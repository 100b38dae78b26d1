//! Instances that die under load: a few requests fail, for as long as the balancer does
//! not know, and none for clients that try again.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::balancer::{Balancer, NOTICED_MAX};
use crate::cluster::Cluster;
use crate::group::{Group, Instance, Release};
use crate::harness::new_folder;
use crate::load::{Load, Manner};
use crate::network::Network;
use crate::{Database, NOISE, alone, releases};

/// How long the load runs before somebody dies, and once the group is full again.
const BEFORE: Duration = Duration::from_millis(500);
const AFTER: Duration = Duration::from_millis(1500);

#[test]
fn a_killed_instance_fails_requests_until_the_balancer_knows() {
    let kill = |instance: &Instance| instance.service.signal(Signal::KILL);
    die("killed", kill);
}

#[test]
fn a_hung_instance_fails_requests_until_the_balancer_knows() {
    let stop = |instance: &Instance| instance.service.signal(Signal::STOP);
    die("hung", stop);
}

#[test]
fn an_instance_without_network_fails_requests_until_the_balancer_knows() {
    let cut = |instance: &Instance| instance.place.as_ref().unwrap().cut();
    die("cut off", cut);
}

fn die(how: &str, strike: fn(&Instance)) {
    let _alone = alone();
    let network = Network::new();
    for database in [Database::Sqlite, Database::Postgres] {
        let (_server, url) = match database {
            Database::Sqlite => (None, database.create()),
            Database::Postgres => {
                let (server, url) = postgres_in(&network);
                (Some(server), url)
            }
        };
        let release = Release::good(releases::previous());
        let balancer = Balancer::start();
        let mut group = Group::start(&balancer, url, new_folder(), Some(&network), release);
        for manner in [Manner::Strict, Manner::Patient] {
            let load = Load::start(balancer.address, manner);
            thread::sleep(BEFORE);
            let victim = group.instances.remove(0);
            let struck = Instant::now();
            strike(&victim);
            group.wait_until_unhealthy(&victim);
            let noticed = struck.elapsed();
            // What the cloud's group does about it.
            group.take_away(victim);
            group.fill(release);
            thread::sleep(AFTER);
            let seen = load.stop();
            seen.expect_nothing_lost(group.addresses());
            println!("{how} on {database:?}, {manner:?}: noticed after {noticed:.1?}; {seen}");
            assert!(noticed < NOTICED_MAX + NOISE, "{noticed:?}");
            assert!(seen.failing_for() < NOTICED_MAX + NOISE, "{seen}");
            if manner == Manner::Patient {
                seen.expect_no_failure();
            }
        }
    }
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
    let url = server.new_database().replacen("127.0.0.1", &here, 1) + "?sslmode=disable";
    (server, url)
}
