//! Ten times the load that the service can take, from 5,000 connections, among
//! them those that send and read slowly: some requests are served in time, the
//! others are told at once to come again, and then all is as before.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../postgres/cluster.rs"]
mod cluster;
mod crowd;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../service/harness.rs"]
mod harness;
#[path = "../service/openapi.rs"]
mod openapi;
#[path = "../patience.rs"]
mod patience;
#[path = "../static_binary.rs"]
mod static_binary;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crowd::{Crowd, Seen};
use harness::{Service, new_folder, value, wait_until};
use static_binary::BINARY;

/// 5,000 connections.
const CROWD: Crowd =
    Crowd { busy: 3500, finds: true, slow_heads: 600, slow_bodies: 600, slow_readers: 300 };

/// Requests in one trip: fewer than usual, so that this machine's clients can send far
/// more than the database takes.
const TRIP_MAX: usize = 512;

/// What a trip takes where the database is slow.
const TRIP_TAKES: Duration = Duration::from_millis(500);

/// How many times what it can take is asked of the service.
const TIMES: f64 = 10.0;

/// How long it lasts at least, once everybody is in.
const OVERLOAD: Duration = Duration::from_secs(15);

const MEMORY_MIB_MAX: f64 = 128.0;

/// The deadline of a request.
const ADMITTED_MAX: Duration = Duration::from_secs(5);

/// How soon a request is refused. Most of it is for a machine that the clients and
/// the service share.
const REFUSED_MAX: Duration = Duration::from_secs(1);

/// The time after which nothing tells of the load any more.
const NORMAL_AFTER: Duration = Duration::from_secs(2);

/// Where slow heads, bodies and readers are counted.
const SLOW: [&str; 3] = [
    r#"hello_birthday_http_connections_cut_off_total{listener="public",phase="head"}"#,
    r#"hello_birthday_http_requests_total{method="PUT",route="/hello/{username}",status="408"}"#,
    r#"hello_birthday_http_connections_cut_off_total{listener="public",phase="answer"}"#,
];

/// One at a time: each of them takes the whole machine.
static MACHINE: Mutex<()> = Mutex::new(());

#[test]
fn a_database_that_is_too_slow_is_no_reason_to_wait_or_to_grow() {
    let database = cluster::shared().new_database();
    let flags = ["--database-url", &database, "--store-trip-max", &TRIP_MAX.to_string()];
    let saves_only = Crowd { finds: false, ..CROWD };
    let can_take = TRIP_MAX as f64 / TRIP_TAKES.as_secs_f64();
    // Those who wait for an answer send nothing: as many as fill two trips. And some are late.
    let sending = 0.7 * (CROWD.busy - 2 * TRIP_MAX) as f64 / CROWD.busy as f64;
    let per_second = TIMES * can_take / sending;
    let mut seen =
        expect_to_withstand("database", &flags, saves_only, Some(per_second), |service| {
            slow_down(&database);
            service.save("First", "1990-05-20");
        });
    let times = seen.per_second(seen.sent) / can_take;
    println!("database: sent {times:.1} times the {can_take:.0}/s that it can take");
    assert!(times >= TIMES, "sent only {times} times what it can take");
    let admitted = seen.per_second(seen.admitted.count()) / can_take;
    assert!((0.5..1.2).contains(&admitted), "admitted {admitted} times what it can take");
    assert!(seen.refused.count() > seen.admitted.count(), "hardly any request was refused");
    let refused = seen.refused.quantile(0.99);
    assert!(refused < REFUSED_MAX, "refused after {refused:?}");
}

/// The clients and the service want all of the processors, and nobody waits for an
/// answer any longer than it takes.
#[test]
fn a_processor_that_is_too_slow_is_no_reason_to_grow() {
    let seen = expect_to_withstand("processor", &[], CROWD, None, |_| {});
    assert!(seen.admitted.count() > seen.refused.count(), "hardly any request was admitted");
}

/// Lets every trip that saves take its time.
fn slow_down(database: &str) {
    let seconds = TRIP_TAKES.as_secs_f64();
    cluster::execute(
        database,
        &format!(
            "create function dawdle() returns trigger language plpgsql as
             $$ begin perform pg_sleep({seconds}); return null; end $$;
             create trigger dawdle before insert on users
             for each statement execute function dawdle()"
        ),
    );
}

/// Overloads a service, which `prepare` has made slow.
fn expect_to_withstand(
    what: &str,
    flags: &[&str],
    crowd: Crowd,
    per_second: Option<f64>,
    prepare: impl FnOnce(&Service),
) -> Seen {
    // Poisoned by a test that failed, which is no concern of this one.
    let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    allow_open_files();
    let mut command = Command::new(&*BINARY);
    command.args(flags);
    let service = Service::spawn(&new_folder(), command);
    prepare(&service);
    service.save("Lone", "1990-05-20");
    let before = Footprint::of(&service);

    let mut seen = visit(crowd, &service, per_second);
    let left = Instant::now();
    wait_until_normal(&service);
    service.get("/health").expect_status(200);
    service.get("/hello/Lone").expect_status(200);
    service.save("Lone", "1990-05-21");
    let normal_after = left.elapsed();
    let after = Footprint::of(&service);
    let peak = memory_mib(&service, "VmHWM:");

    print_figures(what, &mut seen);
    println!(
        "{what}: {:.0} MiB before, {peak:.0} at most, {:.0} after; normal after {} ms",
        before.memory_mib,
        after.memory_mib,
        normal_after.as_millis()
    );
    let admitted = seen.admitted.quantile(0.99);
    assert!(peak < MEMORY_MIB_MAX, "{peak} MiB");
    assert!(admitted < ADMITTED_MAX, "p99 of those admitted: {admitted:?}");
    assert_eq!(seen.lost, 0, "requests without an answer");
    assert!(normal_after < NORMAL_AFTER, "normal after {normal_after:?}");
    assert!(after.threads <= before.threads, "{} threads more", after.threads - before.threads);
    // The database may have been given a connection more.
    assert!(after.files <= before.files + 8, "{} files more", after.files - before.files);
    let metrics = service.ask_admin("/metrics").expect_status(200).body;
    assert_eq!(value(&metrics, r#"hello_birthday_http_panics_total{listener="public"}"#), 0.0);
    assert!(!metrics.contains(r#"status="500""#), "{metrics}");
    seen
}

/// Lets a crowd visit the service until its slow ones have been cut off.
fn visit(crowd: Crowd, service: &Service, per_second: Option<f64>) -> Seen {
    let may_leave = AtomicBool::new(false);
    thread::scope(|scope| {
        let visit = scope.spawn(|| crowd.visit(service.address, per_second, OVERLOAD, &may_leave));
        // Also where the test has failed, or it would wait for the crowd.
        let leaving = Leaving(&may_leave);
        wait_until("the slow are cut off", || {
            let cut_off = slow(service);
            let came = [crowd.slow_heads, crowd.slow_bodies, crowd.slow_readers];
            cut_off.iter().zip(came).all(|(cut_off, came)| *cut_off >= came as f64).then_some(())
        });
        drop(leaving);
        visit.join().unwrap()
    })
}

/// Lets a crowd leave when it is dropped.
struct Leaving<'a>(&'a AtomicBool);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Connections that were ended for being slow, of each kind.
fn slow(service: &Service) -> [f64; 3] {
    let metrics = service.ask_admin("/metrics").expect_status(200).body;
    SLOW.map(|series| value(&metrics, series))
}

/// What a process takes up.
struct Footprint {
    memory_mib: f64,
    threads: usize,
    files: usize,
}

impl Footprint {
    fn of(service: &Service) -> Footprint {
        let count = |of| fs::read_dir(format!("/proc/{}/{of}", service.pid())).unwrap().count();
        Footprint {
            memory_mib: memory_mib(service, "VmRSS:"),
            threads: count("task"),
            files: count("fd"),
        }
    }
}

fn print_figures(what: &str, seen: &mut Seen) {
    let counts = [seen.sent, seen.admitted.count(), seen.refused.count()];
    let [sent, admitted, refused] = counts.map(|count| seen.per_second(count));
    println!(
        "{what}: sent {sent:.0}/s, admitted {admitted:.0}/s (median {} ms, p99 {} ms), refused \
         {refused:.0}/s (median {} ms, p99 {} ms), {} lost: {:?}",
        seen.admitted.quantile(0.5).as_millis(),
        seen.admitted.quantile(0.99).as_millis(),
        seen.refused.quantile(0.5).as_millis(),
        seen.refused.quantile(0.99).as_millis(),
        seen.lost,
        seen.by_status,
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

fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// The database of those who work in `folder`: a file there.
fn database_url(_folder: &Path) -> Option<String> {
    None
}
