//! A network that swallows, refuses or cuts what is sent to the database.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Session, shared};
use crate::harness::{Answer, PATIENCE, Service, wait_until};
use crate::load::Load;
use crate::proxy::Proxy;
use crate::url::role;

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

const CLIENTS: usize = 64;

/// The time that every request is answered within, and some for a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(5 + 2);

/// The time within which health tells of a change, and a database that is back is
/// found.
const NOTICE_MAX: Duration = Duration::from_secs(2);

#[test]
fn silence_is_answered_in_time_and_costs_nothing_for_long() {
    let proxy = Proxy::to(shared().port());
    let url = proxy.url(&shared().new_database());
    let service = Service::start(&["--database-url", &url]);
    let load = Load::start(&service, CLIENTS);
    load.wait_for(1000);

    proxy.go_silent();
    let (health, took) = timed(|| service.get("/health"));
    health.expect_problem(503, "the store");
    assert!(took < NOTICE_MAX, "health tells after {took:?}");
    // From when on every client has met the silence.
    load.wait_for(2 * CLIENTS as u64);
    expect_steady(&service);

    proxy.forward();
    expect_back(&service);
    let answers = load.stop();
    println!("under {CLIENTS} clients: {answers:?}");
    assert!(answers.slowest < ANSWER_MAX, "{answers:?}");
    assert!(answers.by_status.keys().all(|status| [200, 204, 503].contains(status)), "{answers:?}");

    let load = Load::start(&service, CLIENTS);
    load.wait_for(1000);
    let _ = load.stop().expect_all_served();
    service.get("/health").expect_status(200);
}

#[test]
fn a_server_that_lets_in_and_hangs_is_not_piled_up_at() {
    let proxy = Proxy::to(shared().port());
    let url = shared().new_database();
    let service = Service::start(&["--database-url", &proxy.url(&url)]);
    let load = Load::start(&service, CLIENTS);
    load.wait_for(1000);

    proxy.hang();
    load.wait_for(2 * CLIENTS as u64);
    expect_steady(&service);
    // One that saves and two that find, and each of them may be about to be replaced.
    let connections = shared().execute(&format!(
        "select count(*) from pg_stat_activity
         where usename = '{}' and application_name = 'hello-birthday'",
        role(&url)
    ));
    assert!(connections.trim().parse::<u32>().unwrap() <= 6, "{connections} connections");

    proxy.forward();
    wait_until("it works again", || {
        let saved = service.put("/hello/John", BORN).status == 204;
        (saved && service.get("/hello/John").status == 200).then_some(())
    });
    let answers = load.stop();
    println!("under {CLIENTS} clients: {answers:?}");
    assert!(answers.slowest < ANSWER_MAX, "{answers:?}");
}

#[test]
fn a_database_that_is_down_is_answered_for_in_time_and_found_when_it_is_back() {
    let proxy = Proxy::to(shared().port());
    let url = proxy.url(&shared().new_database());
    let service = Service::start(&["--database-url", &url]);
    service.save("John", "1990-05-20");

    proxy.refuse();
    let began = Instant::now();
    for number in 0.. {
        for (method, body) in [("PUT", BORN), ("GET", "")] {
            let (answer, took) = timed(|| service.request(method, "/hello/John", body));
            expect_unavailable(&answer);
            // The first of each kind may hope until its deadline.
            let most = if number == 0 { ANSWER_MAX } else { NOTICE_MAX };
            assert!(took < most, "{method} number {number} took {took:?}");
        }
        let (_, took) = timed(|| service.get("/health").expect_status(503));
        assert!(took < NOTICE_MAX, "health tells after {took:?}");
        if began.elapsed() > Duration::from_secs(15) {
            break;
        }
    }
    service.ask_admin("/readyz").expect_status(200);
    service.ask_admin("/livez").expect_status(200);

    proxy.forward();
    expect_back(&service);
}

#[test]
fn a_connection_that_dies_before_the_answer_costs_no_request() {
    let proxy = Proxy::to(shared().port());
    let url = shared().new_database();
    let service = Service::start(&["--database-url", &proxy.url(&url)]);
    // So that the connections are there.
    service.save("John", "1990-05-20");
    service.get("/hello/John").expect_status(200);

    for times in 1..=5 {
        proxy.cut_answer_to("Mallory");
        let (answer, took) = timed(|| service.put("/hello/Mallory", BORN));
        answer.expect_status(204);
        assert!(took < ANSWER_MAX, "saved after {took:?}");
        proxy.cut_answer_to("Mallory");
        let (answer, took) = timed(|| service.get("/hello/Mallory"));
        answer.expect_status(200);
        assert!(took < ANSWER_MAX, "found after {took:?}");
        for kind in ["write", "read"] {
            assert_eq!(retries(&service, kind), f64::from(times), "{kind}");
        }
    }
}

#[test]
fn a_lock_held_for_long_leaves_no_one_waiting_for_it() {
    hold_a_lock_for_long(shared(), &shared().new_database());
}

/// Holds a lock for longer than requests wait, and expects that none of their
/// statements waits for much longer than they do.
pub fn hold_a_lock_for_long(cluster: &Cluster, url: &str) {
    let service = Service::start(&["--database-url", url]);
    service.save("John", "1990-05-20");
    let mut locking = Session::open(url);
    locking.execute("begin; lock table users in access exclusive mode");
    let waiting = || {
        cluster.execute(&format!(
            "select count(*) from pg_stat_activity
             where usename = '{}' and application_name = 'hello-birthday'
             and wait_event_type = 'Lock'",
            role(url)
        ))
    };
    for _ in 0..2 {
        thread::scope(|scope| {
            for (method, body) in [("PUT", BORN), ("GET", "")] {
                let service = &service;
                scope.spawn(move || {
                    let (answer, took) = timed(|| service.request(method, "/hello/John", body));
                    expect_unavailable(&answer);
                    assert!(took < ANSWER_MAX, "{method} took {took:?}");
                });
            }
            wait_until("both wait for the lock", || (waiting() == "2\n").then_some(()));
        });
    }
    let (_, took) = timed(|| wait_until("no one waits", || (waiting() == "0\n").then_some(())));
    assert!(took < Duration::from_secs(3), "the last one waited for another {took:?}");
    // Still held.
    service.get("/health").expect_status(503);
    drop(locking);
    expect_back(&service);
}

/// What a process uses.
#[derive(Debug)]
struct Usage {
    memory_kib: u64,
    files: usize,
}

impl Usage {
    fn of(service: &Service) -> Usage {
        let process = format!("/proc/{}", service.pid().as_raw_nonzero());
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let files = fs::read_dir(format!("{process}/fd")).unwrap().count();
        Usage { memory_kib: memory.trim().trim_end_matches(" kB").parse().unwrap(), files }
    }
}

/// Expects that through 15 s of an outage the service uses no more than at their
/// beginning, and tells of its state in time.
#[track_caller]
fn expect_steady(service: &Service) {
    let before = Usage::of(service);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(15) {
        let (_, took) = timed(|| service.get("/health").expect_status(503));
        assert!(took < NOTICE_MAX, "health tells after {took:?}");
        for probe in ["/readyz", "/livez"] {
            let (_, took) = timed(|| service.ask_admin(probe).expect_status(200));
            assert!(took < NOTICE_MAX, "{probe} tells after {took:?}");
        }
    }
    let after = Usage::of(service);
    println!("through 15 s of an outage: {before:?}, then {after:?}");
    assert!(after.files <= before.files + 8, "{before:?}, then {after:?}");
    assert!(after.memory_kib <= before.memory_kib + 4096, "{before:?}, then {after:?}");
}

/// Expects that the service works again soon: saves first, then finds.
#[track_caller]
fn expect_back(service: &Service) {
    let began = Instant::now();
    let back = [("PUT", BORN, 204), ("GET", "", 200)].map(|(method, body, status)| {
        wait_until("it works again", || {
            (service.request(method, "/hello/John", body).status == status).then_some(())
        });
        began.elapsed()
    });
    println!("back after {back:?}");
    assert!(back[1] < NOTICE_MAX, "back after {back:?}");
}

#[track_caller]
fn expect_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.header("retry-after").is_some());
}

fn retries(service: &Service, kind: &str) -> f64 {
    service.metric(&format!("hello_birthday_store_retries_total{{kind=\"{kind}\"}}"))
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = act();
    let took = began.elapsed();
    assert!(took < PATIENCE);
    (result, took)
}
