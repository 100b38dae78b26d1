//! A primary that dies and a standby that takes over: nothing acknowledged is lost,
//! and the service finds the new primary by itself.

use std::thread;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::harness::{Service, random};
use crate::load::{BUSY, Load, TODAY};
use crate::waits::{wait_until_refused, wait_until_works};

#[test]
fn a_failover_loses_nothing_acknowledged() {
    // Of several hosts, the one that takes writes is meant.
    fail_over("", |_| {});
}

#[test]
fn a_failover_that_requests_do_not_wait_for_loses_nothing_acknowledged() {
    fail_over("?target_session_attrs=read-write", wait_until_refused);
}

/// Lets the standby take over after `outage`.
fn fail_over(attributes: &str, outage: fn(&Service)) {
    let primary = Cluster::start(&[("fsync", "off")]);
    let standby = primary.synchronous_standby();
    let (first, second) = (primary.port(), standby.port());
    let url = primary
        .new_database()
        .replace(&format!(":{first}/"), &format!(":{first},127.0.0.1:{second}/"))
        + attributes;
    let service = Service::start(&["--database-url", &url, "--today", TODAY]);
    let load = Load::start(service.address, BUSY);
    // Not a wait for something: the moment is to be any.
    thread::sleep(Duration::from_millis(200 + random(300)));
    primary.kill();
    outage(&service);
    standby.promote();
    wait_until_works(&service);
    let seen = load.stop();
    seen.expect_all_answered();
    seen.expect_nothing_lost([service.address]);
    println!("{seen}, none lost");
    service.stop();
}
