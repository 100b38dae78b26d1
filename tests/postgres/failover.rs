//! A primary that dies and a standby that takes over: nothing acknowledged is lost,
//! and the service finds its way by itself.

use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::crashes::write_during;
use crate::harness::{Service, random, wait_until};
use crate::read_all;

/// How long the service may take to find the new primary.
const FOUND_MAX: Duration = Duration::from_secs(2);

#[test]
fn a_failover_loses_nothing_acknowledged() {
    // A request that waits hears nothing of a short outage. Where several hosts are
    // named, the primary is meant.
    for (outage, attributes) in [
        (0, "?target_session_attrs=read-write"),
        (0, ""),
        (7000, "?target_session_attrs=read-write"),
    ] {
        fail_over(Duration::from_millis(outage), attributes);
    }
}

/// Lets the standby take over after `outage`.
fn fail_over(outage: Duration, attributes: &str) {
    let primary = Cluster::start(&[("fsync", "off")]);
    let standby = primary.synchronous_standby();
    let (first, second) = (primary.port(), standby.port());
    let url = primary
        .new_database()
        .replace(&format!(":{first}/"), &format!(":{first},127.0.0.1:{second}/"))
        + attributes;
    let service = Service::start(&["--database-url", &url]);
    let mut known = write_during(service.address, 0, || {
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(200 + random(300)));
        primary.kill();
        let killed = Instant::now();
        thread::sleep(outage);
        standby.promote();
        let promoted = Instant::now();
        let body = r#"{"dateOfBirth":"1990-05-20"}"#;
        wait_until("the service finds the new primary", || {
            (service.put("/hello/John", body).status == 204).then_some(())
        });
        let found = promoted.elapsed();
        println!("found {found:?} after the promotion, {:?} after the crash", killed.elapsed());
        assert!(found < FOUND_MAX);
    });
    known.check(read_all(&url));
    println!("{} saves acknowledged, none lost; {} refused", known.acknowledged, known.refused);
    service.stop();
}
