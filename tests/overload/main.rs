//! Ten times the load that the service can take, from 5,000 connections, among
//! them those that send and read slowly: some requests are served in time, the
//! others are told at once to come again, and then all is as before.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bottleneck;
mod crowd;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../service/harness.rs"]
mod harness;
#[path = "../service/openapi.rs"]
mod openapi;
#[path = "../static_binary.rs"]
mod static_binary;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use bottleneck::Bottleneck;
use crowd::{Crowd, Seen};
use harness::{Client, PATIENCE, Service, new_folder, value, wait_until};
use static_binary::BINARY;

/// 5,000 connections.
const CROWD: Crowd = Crowd { busy: 3500, slow_heads: 500, slow_bodies: 500, slow_readers: 500 };

/// How many times what it can take is asked of the service.
const TIMES: f64 = 10.0;

/// Longer than a slow client is put up with.
const OVERLOAD: Duration = Duration::from_secs(15);

const MEMORY_MIB_MAX: f64 = 128.0;

/// The deadline of a request.
const ADMITTED_MAX: Duration = Duration::from_secs(5);

/// How soon a request is refused. Most of it is for a machine that the clients and
/// the service share.
const REFUSED_MAX: Duration = Duration::from_secs(1);

/// The time after which nothing tells of the load any more.
const NORMAL_AFTER: Duration = Duration::from_secs(2);

/// One at a time: each of them takes the whole machine.
static MACHINE: Mutex<()> = Mutex::new(());

#[test]
fn a_database_that_is_too_slow_is_no_reason_to_wait_or_to_grow() {
    // The journal of network file systems: reads wait for a lock too.
    expect_to_withstand("database", &["--sqlite-journal", "truncate"], |service| {
        let file = service.folder().path().join("hello-birthday.db");
        Bottleneck::of_the_database(&file, Duration::from_millis(500))
    });
}

#[test]
fn a_processor_that_is_too_slow_is_no_reason_to_wait_or_to_grow() {
    expect_to_withstand("processor", &[], |service| {
        let (held, free) = (Duration::from_millis(90), Duration::from_millis(10));
        Bottleneck::of_the_processor(service.pid(), held, free)
    });
}

fn expect_to_withstand(what: &str, flags: &[&str], slow_down: impl FnOnce(&Service) -> Bottleneck) {
    // Poisoned by a test that failed, which is no concern of this one.
    let _machine = MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    allow_open_files();
    let mut command = Command::new(&*BINARY);
    command.args(flags);
    let service = Service::spawn(&new_folder(), command);
    let files_before = open_files(&service);
    let bottleneck = slow_down(&service);

    let patient = Crowd { busy: CROWD.busy, ..Crowd::default() };
    let took = Duration::from_secs(5);
    let capacity =
        patient.visit(service.address, None, took).admitted.count() as f64 / took.as_secs_f64();
    wait_until_normal(&service);

    let mut seen = CROWD.visit(service.address, Some(TIMES * capacity), OVERLOAD);
    let left = Instant::now();
    wait_until_normal(&service);
    let normal_after = left.elapsed();
    let memory_peak = memory_mib(&service, "VmHWM:");
    let memory = memory_mib(&service, "VmRSS:");
    let files = open_files(&service) - files_before;
    drop(bottleneck);

    print_figures(what, capacity, &mut seen);
    println!(
        "{what}: {memory_peak:.0} MiB at most, {memory:.0} MiB after; normal after {} ms",
        normal_after.as_millis()
    );
    println!("{what}: {files} files more, {:?}", seen.by_status);
}

fn print_figures(what: &str, capacity: f64, seen: &mut Seen) {
    let seconds = OVERLOAD.as_secs_f64();
    println!(
        "{what}: can take {capacity:.0}/s, was sent {:.0}/s: {:.0}/s admitted (median {} ms, p99 {} \
         ms), {:.0}/s refused (median {} ms, p99 {} ms), {} lost, {} cut off",
        seen.sent as f64 / seconds,
        seen.admitted.count() as f64 / seconds,
        seen.admitted.quantile(0.5).as_millis(),
        seen.admitted.quantile(0.99).as_millis(),
        seen.refused.count() as f64 / seconds,
        seen.refused.quantile(0.5).as_millis(),
        seen.refused.quantile(0.99).as_millis(),
        seen.lost,
        seen.cut_off,
    );
}

/// Waits until a lone client is served, and nobody else is.
fn wait_until_normal(service: &Service) {
    wait_until("nothing is left of the load", || {
        let metrics = service.ask_admin("/metrics").expect_status(200).body;
        let left = [
            r#"hello_birthday_http_connections{listener="public"}"#,
            "hello_birthday_http_requests_in_flight",
            r#"hello_birthday_store_queue_requests{kind="read"}"#,
            r#"hello_birthday_store_queue_requests{kind="write"}"#,
        ];
        left.iter().all(|series| value(&metrics, series) == 0.0).then_some(())
    });
}

fn memory_mib(service: &Service, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a size");
    let kib: f64 = line.trim().strip_suffix(" kB").expect("KiB").parse().unwrap();
    kib / 1024.0
}

fn open_files(service: &Service) -> i64 {
    fs::read_dir(format!("/proc/{}/fd", service.pid())).unwrap().count() as i64
}

fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// The database of those who work in `folder`: a file there.
fn database_url(_folder: &Path) -> Option<String> {
    None
}

#[test]
fn probe_mix() {
    allow_open_files();
    for mix in std::env::var("MIX").unwrap().split(';') {
        let n: Vec<usize> = mix.split(',').map(|n| n.parse().unwrap()).collect();
        let crowd = Crowd { busy: n[0], slow_heads: n[1], slow_bodies: n[2], slow_readers: n[3] };
        let service = Service::spawn(&new_folder(), Command::new(&*BINARY));
        let file = service.folder().path().join("hello-birthday.db");
        let b = Bottleneck::of_the_database(&file, Duration::from_millis(500));
        crowd.visit(service.address, Some(5000.0), Duration::from_secs(4));
        let peak = memory_mib(&service, "VmHWM:");
        wait_until_normal(&service);
        println!("{mix}: peak {peak:.0} after {:.0}", memory_mib(&service, "VmRSS:"));
        drop(b);
    }
}
