//! Users are found in a replica, and in the primary while the replica is away.

use std::fs;

use crate::cluster::{Cluster, execute, shared};
use crate::commits::Commits;
use crate::harness::{Service, new_folder, wait_until};
use crate::load::{BUSY, Clients, Load};
use crate::migrate::migrate;
use crate::proxy::Proxy;
use crate::url::role;
use crate::waits::wait_until_works;

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

const GONE: &str = "the replica does not answer: reading from the primary";
const AGAIN: &str = "reading from the replica again";

#[test]
fn the_replica_finds_and_the_primary_saves() {
    let pair = Pair::start();
    let service = pair.start_service();
    service.save("John", "1990-05-20");
    wait_until("the standby has John", || (service.get("/hello/John").status == 200).then_some(()));
    let before = service.get("/hello/John").body;

    pair.standby.execute("select pg_wal_replay_pause()");
    wait_until("the replay pauses", || {
        let state = pair.standby.execute("select pg_get_wal_replay_pause_state()");
        (state == "paused\n").then_some(())
    });
    service.save("John", "1990-05-21");
    assert_eq!(execute(&pair.url, "select date_of_birth from users"), "1990-05-21\n");
    for _ in 0..10 {
        assert_eq!(service.get("/hello/John").expect_status(200).body, before);
    }
    pair.standby.execute("select pg_wal_replay_resume()");
    wait_until("the standby catches up", || {
        (service.get("/hello/John").expect_status(200).body != before).then_some(())
    });
    assert_eq!(pair.connections_to_standby(), 2);
    assert_eq!(fallbacks(&service), 0.0);
    assert_eq!((times(&service, GONE), times(&service, AGAIN)), (0, 0));
}

#[test]
fn a_replica_killed_under_load_costs_no_request_and_is_logged_once() {
    let pair = Pair::start();
    let service = pair.start_service();
    // The standby must have a user before it is found there.
    service.save("John", "1990-05-20");
    pair.wait_for_standby();

    let commits = Commits::start(pair.primary.superuser());
    let load = Load::start(service.address, Clients { shared: true, ..BUSY });
    load.wait_for_round();
    assert_eq!(fallbacks(&service), 0.0);
    pair.standby.kill();
    wait_until("the primary is read", || (fallbacks(&service) > 0.0).then_some(()));
    load.wait_for_round();
    pair.standby.start_again();
    wait_until("the replica is back", || (times(&service, AGAIN) > 0).then_some(()));
    load.wait_for_round();
    load.stop().expect_none_refused(&service, commits.stop());
    let without = fallbacks(&service);
    println!("{without} batches went to the primary instead");
    assert_eq!((times(&service, GONE), times(&service, AGAIN)), (1, 1), "{}", service.log());

    for _ in 0..10 {
        service.get("/hello/John").expect_status(200);
    }
    assert_eq!(fallbacks(&service), without);
    assert_eq!(pair.connections_to_standby(), 2);
}

#[test]
fn a_replica_that_is_away_keeps_no_service_from_starting() {
    let url = shared().new_database();
    let proxy = Proxy::to(shared().port());
    proxy.refuse();
    let flags = ["--database-url", &url, "--read-database-url", &proxy.url(&url)];
    let service = Service::start(&flags);
    service.save("John", "1990-05-20");
    service.get("/hello/John").expect_status(200);
    service.get("/health").expect_status(200);
    assert!(fallbacks(&service) > 0.0);
    service.wait_for_log(GONE);
    assert_eq!((times(&service, GONE), times(&service, AGAIN)), (1, 0));

    proxy.forward();
    wait_until_found(&service);
    let without = fallbacks(&service);
    service.get("/hello/John").expect_status(200);
    assert_eq!(fallbacks(&service), without);
}

#[test]
fn the_file_with_a_replica_s_url_is_read_for_each_connection() {
    let url = shared().new_database();
    let proxy = Proxy::to(shared().port());
    proxy.refuse();
    let folder = new_folder();
    let file = folder.path().join("url");
    fs::write(&file, proxy.url(&url)).unwrap();
    let flags = ["--database-url", &url, "--read-database-url-file", file.to_str().unwrap()];
    let service = Service::start(&flags);
    service.save("John", "1990-05-20");
    service.get("/hello/John").expect_status(200);
    assert!(fallbacks(&service) > 0.0);

    // What is there for a moment is a replica that is away.
    fs::write(&file, "postgres://user:hunter2@/x").unwrap();
    service.get("/hello/John").expect_status(200);
    fs::write(&file, &url).unwrap();
    wait_until_found(&service);
    let without = fallbacks(&service);
    service.get("/hello/John").expect_status(200);
    assert_eq!(fallbacks(&service), without);
    assert!(!service.log().contains("hunter2"));
}

#[test]
fn a_replica_that_falls_silent_is_logged_once_and_the_primary_is_read() {
    const FINDS: u8 = 20;
    let url = shared().new_database();
    let proxy = Proxy::to(shared().port());
    let service =
        Service::start(&["--database-url", &url, "--read-database-url", &proxy.url(&url)]);
    service.save("John", "1990-05-20");
    service.get("/hello/John").expect_status(200);

    proxy.go_silent();
    for _ in 0..FINDS {
        service.get("/hello/John").expect_status(200);
    }
    assert_eq!(fallbacks(&service), f64::from(FINDS));
    service.wait_for_log(GONE);
    assert_eq!((times(&service, GONE), times(&service, AGAIN)), (1, 0));

    proxy.forward();
    wait_until_found(&service);
}

#[test]
fn a_lookup_that_the_replica_cancels_for_a_conflict_goes_to_the_primary_and_the_next_does_not() {
    let [primary, replica] = [(); 2].map(|()| shared().new_database());
    migrate(&replica);
    execute(
        &replica,
        "alter table users rename to known;
         insert into known values ('John', '1990-05-20');
         create sequence lookups;
         create function conflict() returns boolean language plpgsql as $$ begin
             if nextval('lookups') = 1 then
                 raise exception using errcode = '40001';
             end if;
             return true;
         end $$;
         create view users as select username, date_of_birth from known where conflict()",
    );
    let service = Service::start(&["--database-url", &primary, "--read-database-url", &replica]);
    service.save("John", "1990-05-20");
    for _ in 0..3 {
        service.get("/hello/John").expect_status(200);
    }
    assert_eq!(fallbacks(&service), 1.0);
    assert_eq!((times(&service, GONE), times(&service, AGAIN)), (0, 0));
    assert_eq!(execute(&replica, "select last_value from lookups"), "3\n");
}

#[test]
fn users_are_found_while_the_primary_is_down_but_health_reports_it() {
    let url = shared().new_database();
    let proxy = Proxy::to(shared().port());
    let service =
        Service::start(&["--database-url", &proxy.url(&url), "--read-database-url", &url]);
    service.save("John", "1990-05-20");
    service.get("/health").expect_status(200);

    proxy.refuse();
    service.get("/health").expect_status(503);
    service.put("/hello/John", BORN).expect_status(503);
    service.get("/health").expect_status(503);
    service.get("/hello/John").expect_status(200);
    service.ask_admin("/readyz").expect_status(200);
    assert_eq!(fallbacks(&service), 0.0);

    proxy.forward();
    wait_until_works(&service);
}

/// Sends finds until the replica answers them again.
fn wait_until_found(service: &Service) {
    wait_until("the replica is found", || {
        service.get("/hello/John").expect_status(200);
        (times(service, AGAIN) > 0).then_some(())
    });
}

/// A server and its standby, with a database that both have.
struct Pair {
    primary: Cluster,
    standby: Cluster,
    url: String,
}

impl Pair {
    fn start() -> Pair {
        let primary = Cluster::start(&[("fsync", "off")]);
        let standby = primary.synchronous_standby();
        // The commits of the primary shall not wait for it.
        primary.configure(&[("synchronous_standby_names", "")]);
        primary.reload();
        wait_until("commits wait for no standby", || {
            (primary.execute("show synchronous_standby_names") == "\n").then_some(())
        });
        let url = primary.new_database();
        migrate(&url);
        let pair = Pair { primary, standby, url };
        pair.wait_for_standby();
        pair
    }

    /// Starts a service with a replica URL that holds nothing but the address.
    fn start_service(&self) -> Service {
        let replica = format!("postgres://127.0.0.1:{}", self.standby.port());
        Service::start(&["--database-url", &self.url, "--read-database-url", &replica])
    }

    /// Waits until the standby has all that the primary has now.
    fn wait_for_standby(&self) {
        let now = self.primary.execute("select pg_current_wal_lsn()");
        wait_until("the standby catches up", || {
            let replayed = format!("select pg_last_wal_replay_lsn() >= '{}'", now.trim());
            (self.standby.execute(&replayed) == "t\n").then_some(())
        });
    }

    fn connections_to_standby(&self) -> u32 {
        let count = self.standby.execute(&format!(
            "select count(*) from pg_stat_activity where usename = '{}'",
            role(&self.url)
        ));
        count.trim().parse().unwrap()
    }
}

fn fallbacks(service: &Service) -> f64 {
    service.metric("hello_birthday_store_replica_fallbacks_total")
}

/// How often the log says `what`.
fn times(service: &Service, what: &str) -> usize {
    service.log().lines().filter(|line| line.contains(what)).count()
}
