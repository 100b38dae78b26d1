//! Passwords: replaced while the service runs, and never printed.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::cluster::{execute, shared};
use crate::commits::Commits;
use crate::harness::{Failed, Service, new_folder, random, wait_until};
use crate::load::{BUSY, Clients, Load};
use crate::outages::{count, expect_unavailable};
use crate::refusal::{failed, refusal};
use crate::url::{password, role};
use crate::waits::wait_until_works;

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

#[test]
fn requests_wait_while_a_password_is_rotated() {
    const ROTATIONS: usize = 4;
    let secret = Secret::new();
    let service = secret.start_service();
    let load = Load::start(service.address, Clients { shared: true, ..BUSY });
    let commits = Commits::start(shared().superuser());
    let mut longest_refused = Duration::ZERO;
    let retries = || count(&service, "retries", "write") + count(&service, "retries", "read");
    for number in 0..ROTATIONS {
        load.wait_for_round();
        let url = secret.next_url();
        let mut steps: [&dyn Fn(); 2] = [&|| secret.alter_role(&url), &|| secret.write(&url)];
        if number % 2 == 1 {
            steps.reverse();
        }
        steps[0]();
        let before = retries();
        let refused = Instant::now();
        secret.cut_connections();
        // Each of the three connections that died is one, and may be replaced at once.
        wait_until("connecting fails", || (retries() >= before + 4.0).then_some(()));
        steps[1]();
        longest_refused = longest_refused.max(refused.elapsed());
        load.wait_for_round();
    }
    load.stop().expect_none_refused(&service, commits.stop().max(longest_refused));
    secret.expect_no_password(&service);
}

#[test]
fn sighup_has_a_service_use_the_database_that_its_file_names_by_then() {
    let folder = new_folder();
    let file = folder.path().join("url");
    let urls = [shared().new_database(), shared().new_database()];
    for url in &urls {
        Service::start(&["--database-url", url]).stop();
    }
    fs::write(&file, &urls[0]).unwrap();
    let flags = ["--database-url-file", file.to_str().unwrap()];
    let service = Service::start_in(&folder, &flags);
    let reload = |times: usize| {
        service.signal(Signal::HUP);
        let reloads = || service.log().matches("read again on SIGHUP").count();
        wait_until("the file is read again", || (reloads() == times).then_some(()));
    };
    service.save("John", "1990-05-20");
    fs::write(&file, &urls[1]).unwrap();
    reload(1);
    service.get("/hello/John").expect_status(404);
    service.save("Jane", "1990-05-20");
    fs::write(&file, "hunter2").unwrap();
    reload(2);
    let log = service.wait_for_log("the database stays the one it is");
    assert!(!log.contains("hunter2"), "{log}");
    fs::write(&file, &urls[0]).unwrap();
    reload(3);
    wait_until_works(&service);
    service.get("/hello/John").expect_status(200);
    service.get("/hello/Jane").expect_status(404);
}

#[test]
fn a_database_without_the_schema_is_not_used_after_sighup() {
    let folder = new_folder();
    let file = folder.path().join("url");
    let [ours, empty, others] = [(); 3].map(|()| shared().new_database());
    execute(&others, "create table users (username text primary key, date_of_birth date)");
    fs::write(&file, &ours).unwrap();
    let service = Service::start_in(&folder, &["--database-url-file", file.to_str().unwrap()]);
    service.save("John", "1990-05-20");
    let mut reloads = 0;
    let mut use_database = |url: &str| {
        fs::write(&file, url).unwrap();
        service.signal(Signal::HUP);
        reloads += 1;
        let seen = || service.log().matches("read again on SIGHUP").count();
        wait_until("the file is read again", || (seen() == reloads).then_some(()));
    };
    for (url, why) in [(&empty, "run hello-birthday migrate"), (&others, "another program")] {
        use_database(url);
        expect_unavailable(&service.put("/hello/Jane", BORN));
        expect_unavailable(&service.get("/hello/John"));
        service.wait_for_log(why);
        use_database(&ours);
        wait_until_works(&service);
        service.get("/hello/Jane").expect_status(404);
    }
    assert_eq!(execute(&others, "select count(*) from users").trim(), "0");
}

#[test]
fn a_file_that_turns_to_garbage_is_logged_but_not_quoted_and_may_be_corrected() {
    thread::scope(|scope| {
        for garbage in ["", "postgres://user:hunter2@/x", "sqlite:hunter2.db"] {
            scope.spawn(move || turn_to_garbage(garbage));
        }
    });
}

fn turn_to_garbage(garbage: &str) {
    let secret = Secret::new();
    let service = secret.start_service();
    service.save("John", "1990-05-20");
    secret.write(garbage);
    secret.cut_connections();
    thread::scope(|scope| {
        scope.spawn(|| expect_unavailable(&service.put("/hello/John", BORN)));
        scope.spawn(|| expect_unavailable(&service.get("/hello/John")));
    });
    secret.write(&secret.url);
    wait_until_works(&service);
    let error = match garbage.starts_with("sqlite:") {
        true => "no longer names a Postgres database".to_owned(),
        false => format!("{}: ", secret.file().display()),
    };
    let log = service.wait_for_log(&error);
    assert!(log.lines().any(|line| line.contains("ERROR") && line.contains(&error)), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    secret.expect_no_password(&service);
}

#[test]
fn a_file_without_a_url_exits_2_and_is_not_quoted() {
    let folder = new_folder();
    let file = folder.path().join("url");
    let flags = ["--database-url-file", file.to_str().unwrap()];
    let sentence = || {
        let Failed { status, log } = failed(&flags);
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
        // After an empty line comes how the command is used.
        let sentence = log.split("\n\n").next().unwrap().to_owned();
        assert!(sentence.contains(flags[1]) && !sentence.contains('\n'), "{log}");
        sentence
    };
    assert!(sentence().contains("No such file"));
    for garbage in ["", "\n", "hunter2", "hunter2\npostgres://h/db", "postgres://u:hunter2@/db"] {
        fs::write(&file, garbage).unwrap();
        assert!(sentence().contains("URL"), "{}", sentence());
    }
    fs::write(&file, b"\xff hunter2").unwrap();
    assert!(sentence().contains("UTF-8"), "{}", sentence());
}

#[test]
fn a_refused_connection_names_the_server_and_not_the_password() {
    let url = shared().new_database();
    let here = format!("127.0.0.1:{}", shared().port());
    let closed = "127.0.0.1:1";
    let wrong = url.replace(password(&url), "hunter2hunter2");
    let unknown_database = url.clone() + "_unknown";
    let unknown_host = url.replace(&here, "no-such-host.invalid:5432") + "?sslmode=require";
    for (url, place, why) in [
        (wrong, &*here, "password authentication failed"),
        (unknown_database, &here, "does not exist"),
        (unknown_host, "no-such-host.invalid:5432", ""),
        (url.replace(&here, closed), closed, "refused"),
    ] {
        let folder = new_folder();
        let file = folder.path().join("url");
        fs::write(&file, &url).unwrap();
        for flags in [["--database-url", &url], ["--database-url-file", file.to_str().unwrap()]] {
            let refusal = refusal(&flags);
            assert!(refusal.contains(&format!("cannot connect to {place}: ")), "{refusal}");
            assert!(refusal.contains(why), "{refusal}");
            assert!(!refusal.contains(password(&url)), "the password is printed");
        }
    }
}

/// A database URL in a file.
struct Secret {
    folder: Arc<TempDir>,
    url: String,
    /// Of the role, from the first to the last.
    passwords: Mutex<Vec<String>>,
}

impl Secret {
    fn new() -> Secret {
        let url = shared().new_database();
        let passwords = Mutex::new(vec![password(&url).to_owned()]);
        let secret = Secret { folder: new_folder(), url, passwords };
        secret.write(&secret.url);
        secret
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("url")
    }

    fn start_service(&self) -> Service {
        let file = self.file();
        Service::start_in(&self.folder, &["--database-url-file", file.to_str().unwrap()])
    }

    /// The URL with a new password, which the role does not have yet.
    fn next_url(&self) -> String {
        let password_of_next = format!("Next{:016x}", random(u64::MAX));
        let url = self.url.replace(password(&self.url), &password_of_next);
        self.passwords.lock().unwrap().push(password_of_next);
        url
    }

    /// Gives the role the password of `url`.
    fn alter_role(&self, url: &str) {
        let role = role(url);
        shared().execute(&format!("alter role {role} password '{}'", password(url)));
    }

    /// Replaces the file in one step, as one does with secrets.
    fn write(&self, url: &str) {
        let new = self.folder.path().join("url.new");
        fs::write(&new, url).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    /// Ends the service's connections.
    fn cut_connections(&self) {
        let role = role(&self.url);
        shared().execute(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'"
        ));
    }

    /// Expects no password in the log, the metrics and the command line.
    fn expect_no_password(&self, service: &Service) {
        let metrics = service.ask_admin("/metrics").expect_status(200).body;
        let process = format!("/proc/{}/cmdline", service.pid().as_raw_nonzero());
        let cmdline = String::from_utf8(fs::read(process).unwrap()).unwrap();
        assert!(cmdline.contains("--database-url-file"), "{cmdline}");
        for password in &*self.passwords.lock().unwrap() {
            for text in [&service.log(), &metrics, &cmdline] {
                assert!(!text.contains(password), "a password is printed");
            }
        }
    }
}
