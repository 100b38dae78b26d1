//! A network between the service and the database that loses, refuses or cuts
//! connections, and a table that is locked.

use std::fs;
use std::thread;

use crate::cluster::{Cluster, Session, shared};
use crate::commits::Commits;
use crate::harness::{Answer, Service, wait_until};
use crate::load::{BUSY, Clients, Load};
use crate::proxy::Proxy;
use crate::url::role;
use crate::waits::{wait_until_unhealthy, wait_until_works};

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

/// Connections to the database: one saves and two find.
const CONNECTIONS: usize = 3;

#[test]
fn a_silent_network_is_answered_for_and_costs_nothing_that_stays() {
    outlast(Proxy::go_silent);
}

#[test]
fn a_server_that_accepts_connections_and_hangs_is_not_given_more_and_more_of_them() {
    outlast(Proxy::hang);
}

#[test]
fn a_database_that_refuses_connections_is_found_when_it_is_back() {
    outlast(Proxy::refuse);
}

/// Lets clients send requests through an outage.
fn outlast(begin: fn(&Proxy)) {
    let proxy = Proxy::to(shared().port());
    let url = shared().new_database();
    let service = Service::start(&["--database-url", &proxy.url(&url)]);
    let load = Load::start(service.address, Clients { shared: true, ..BUSY });
    load.wait_for_round();
    let (files, memory) = (open_files(&service), resident_kib(&service));

    begin(&proxy);
    wait_until_unhealthy(&service);
    wait_until("batches fail on each connection", || {
        let [write, read] = ["write", "read"].map(|kind| count(&service, "errors", kind));
        (write >= 1.0 && read >= 2.0).then_some(())
    });
    service.get("/health").expect_status(503);
    for probe in ["/readyz", "/livez"] {
        service.ask_admin(probe).expect_status(200);
    }
    // Each is replaced by another one at most.
    wait_until("connections that were given up are closed", || {
        let sessions = shared().execute(&format!("select count(*) {}", sessions(&url)));
        let sessions: usize = sessions.trim().parse().unwrap();
        (sessions <= CONNECTIONS && open_files(&service) <= files + 2).then_some(())
    });
    let after = resident_kib(&service);
    assert!(after < memory + 16 * 1024, "{memory} KiB, then {after} KiB of memory");

    proxy.forward();
    wait_until_works(&service);
    let seen = load.stop();
    seen.expect_all_answered();
    assert!(seen.retried > 0, "no request met the outage");
    let commits = Commits::start(shared().superuser());
    let load = Load::start(service.address, Clients { shared: true, ..BUSY });
    load.wait_for_round();
    load.stop().expect_none_refused(&service, commits.stop());
}

#[test]
fn a_short_outage_costs_no_request() {
    let proxy = Proxy::to(shared().port());
    let url = proxy.url(&shared().new_database());
    let service = Service::start(&["--database-url", &url]);
    service.save("John", "1990-05-20");
    service.get("/hello/John").expect_status(200);

    proxy.refuse();
    thread::scope(|scope| {
        scope.spawn(|| service.put("/hello/John", BORN).expect_status(204));
        scope.spawn(|| service.get("/hello/John").expect_status(200));
        // The first attempt may be on a connection that was cut.
        wait_until("both fail to connect", || {
            let failing = ["write", "read"].map(|kind| count(&service, "retries", kind));
            failing.iter().all(|retries| *retries >= 2.0).then_some(())
        });
        proxy.forward();
    });
}

#[test]
fn a_connection_that_dies_before_the_answer_costs_no_request() {
    let proxy = Proxy::to(shared().port());
    let url = shared().new_database();
    let service = Service::start(&["--database-url", &proxy.url(&url)]);
    // So that the connections are there.
    service.save("John", "1990-05-20");
    service.get("/hello/John").expect_status(200);

    for times in 1..=3 {
        for (kind, method, body, success) in [("write", "PUT", BORN, 204), ("read", "GET", "", 200)]
        {
            proxy.cut_answer_to("Mallory");
            service.request(method, "/hello/Mallory", body).expect_status(success);
            assert!(count(&service, "retries", kind) >= f64::from(times), "{kind}");
        }
    }
}

#[test]
fn a_lock_held_for_long_leaves_no_statement_waiting_for_it() {
    hold_a_lock_for_long(shared(), &shared().new_database());
}

/// Holds a lock until requests give up, and expects that their statements do so too.
pub fn hold_a_lock_for_long(cluster: &Cluster, url: &str) {
    let service = Service::start(&["--database-url", url]);
    service.save("John", "1990-05-20");
    let mut locking = Session::open(url);
    locking.execute("begin; lock table users in access exclusive mode");
    let waiting = |count: usize| {
        wait_until("so many statements wait for the lock", || {
            (waiting_for_locks(cluster, url) == count).then_some(())
        });
    };
    thread::scope(|scope| {
        let requests = [("PUT", BORN), ("GET", "")].map(|(method, body)| {
            let service = &service;
            scope.spawn(move || expect_unavailable(&service.request(method, "/hello/John", body)))
        });
        waiting(2);
        for request in requests {
            request.join().unwrap();
        }
    });
    waiting(0);
    // Still held.
    service.get("/health").expect_status(503);
    drop(locking);
    wait_until_works(&service);
}

/// How many statements of the service wait for a lock.
pub fn waiting_for_locks(cluster: &Cluster, url: &str) -> usize {
    let waiting = format!("select count(*) {} and wait_event_type = 'Lock'", sessions(url));
    cluster.execute(&waiting).trim().parse().unwrap()
}

/// The sessions of the service that has the database of `url`.
pub fn sessions(url: &str) -> String {
    let role = role(url);
    format!(
        "from pg_stat_activity where usename = '{role}' and application_name = 'hello-birthday'"
    )
}

#[track_caller]
pub fn expect_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.header("retry-after").is_some());
}

/// What the service counts as `what`, `retries` or `errors`, of batches of `kind`.
pub fn count(service: &Service, what: &str, kind: &str) -> f64 {
    service.metric(&format!("hello_birthday_store_{what}_total{{kind=\"{kind}\"}}"))
}

fn open_files(service: &Service) -> usize {
    fs::read_dir(format!("/proc/{}/fd", service.pid().as_raw_nonzero())).unwrap().count()
}

fn resident_kib(service: &Service) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid().as_raw_nonzero()));
    let status = status.unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    memory.trim().trim_end_matches(" kB").parse().unwrap()
}
