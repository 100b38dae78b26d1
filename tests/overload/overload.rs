//! A service with thousands of busy clients and slow ones, and how much memory it takes.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::harness::{Service, new_folder, value, wait_until};
use crate::load::{Clients, Load, Seen, TODAY};
use crate::slow::{self, Slow};
use crate::static_binary::BINARY;

/// The slow clients, and where the service counts those of a kind that it cut off.
const SLOW: [(Slow, usize, &str); 3] = [
    (
        Slow::Head,
        600,
        r#"hello_birthday_http_connections_timed_out_total{listener="public",phase="head"}"#,
    ),
    (
        Slow::Body,
        600,
        r#"hello_birthday_http_requests_total{method="PUT",route="/hello/{username}",status="408"}"#,
    ),
    (
        Slow::Reader,
        300,
        r#"hello_birthday_http_connections_timed_out_total{listener="public",phase="response"}"#,
    ),
];

/// Busy clients, which together with the slow ones have 5,000 connections.
const COUNT: usize = 3500;

/// What is zero when no client is connected.
const GAUGES: [&str; 4] = [
    r#"hello_birthday_http_connections{listener="public"}"#,
    "hello_birthday_http_requests_in_flight",
    r#"hello_birthday_store_queue_length{kind="read"}"#,
    r#"hello_birthday_store_queue_length{kind="write"}"#,
];

/// How a service got over it.
pub struct Overload {
    pub seen: Seen,
    pub peak_mib: f64,
    /// From the end of the load until nothing was left of it.
    pub normal_after: Duration,
}

/// Starts the binary that is shipped, whose memory counts, on a day that the clients know.
pub fn start(flags: &[&str]) -> Service {
    // This process has the other end of every connection.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut command = Command::new(&*BINARY);
    command.args(["--today", TODAY]).args(flags);
    Service::spawn(&new_folder(), command)
}

/// Lets all clients at the service until `during` has returned, the slow ones have been cut
/// off and the busy ones have been answered after that. Then waits until the service holds
/// nothing of theirs and serves a lone client.
pub fn withstand(service: &Service, busy: Clients, during: impl FnOnce(&Load)) -> Overload {
    service.save("Lone", "1990-05-20");
    let before = threads_and_files(service);
    let slow = slow::start(service.address, SLOW.map(|(slow, count, _)| (slow, count)));
    let load = Load::start(service.address, Clients { count: COUNT, ..busy });
    during(&load);
    wait_until("the slow are cut off", || {
        let metrics = metrics(service);
        let cut_off = |(_, count, series)| value(&metrics, series) >= f64::from(count as u32);
        SLOW.into_iter().all(cut_off).then_some(())
    });
    load.wait_for_round();
    let seen = load.stop();
    drop(slow);

    let ended = Instant::now();
    wait_until("nothing is left of the load", || {
        let metrics = metrics(service);
        let (threads, files) = threads_and_files(service);
        // The database may have been given a connection more.
        let is_as_before = threads <= before.0 && files <= before.1 + 8;
        (is_as_before && GAUGES.iter().all(|series| value(&metrics, series) == 0.0)).then_some(())
    });
    service.get("/health").expect_status(200);
    service.get("/hello/Lone").expect_status(200);
    service.save("Lone", "1990-05-21");
    let normal_after = ended.elapsed();
    Overload { seen, peak_mib: peak_mib(service), normal_after }
}

pub fn metrics(service: &Service) -> String {
    service.ask_admin("/metrics").expect_status(200).body
}

fn threads_and_files(service: &Service) -> (usize, usize) {
    let count = |of| fs::read_dir(format!("/proc/{}/{of}", service.pid())).unwrap().count();
    (count("task"), count("fd"))
}

/// MiB of memory that the process had at most.
pub fn peak_mib(service: &Service) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a size");
    let kib: f64 = line.trim().strip_suffix(" kB").expect("KiB").parse().unwrap();
    kib / 1024.0
}
