//! Passwords: replaced while the service runs, and never told.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::cluster::shared;
use crate::harness::{Failed, Service, new_folder, random, wait_until};
use crate::load::Load;
use crate::refusal::{failed, refusal};
use crate::url::{password, role};

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

const CLIENTS: usize = 64;

#[test]
fn a_password_rotated_under_load_costs_no_request() {
    rotate_under_load(Duration::ZERO);
}

#[test]
fn requests_wait_while_a_rotation_is_half_done() {
    rotate_under_load(Duration::from_millis(500));
}

/// Gives the role and the file new passwords, and this long only one of them.
fn rotate_under_load(half_done: Duration) {
    const ROTATIONS: usize = 6;
    let secret = Secret::new();
    let service = secret.start_service();
    let load = Load::start(&service, CLIENTS);
    let (answers, cut) = while_connections_are_cut(&secret, |cut| {
        for number in 0..ROTATIONS {
            load.wait_for(1000);
            let url = secret.next_url();
            let mut steps: [&dyn Fn(); 2] = [&|| secret.alter_role(&url), &|| secret.write(&url)];
            if number % 2 == 1 {
                steps.reverse();
            }
            steps[0]();
            // Not a wait for something.
            thread::sleep(half_done);
            steps[1]();
            let before = cut.load(Ordering::Relaxed);
            wait_until("the new password is used", || {
                (cut.load(Ordering::Relaxed) > before).then_some(())
            });
        }
        load.wait_for(1000);
        load.stop()
    });
    println!("{ROTATIONS} rotations of {half_done:?}, {cut} connections cut: {answers:?}");
    let _ = answers.expect_all_served();
    secret.expect_untold(&service);
}

#[test]
fn a_file_that_turns_to_garbage_is_told_of_but_not_quoted_and_may_be_mended() {
    let secret = Secret::new();
    let service = secret.start_service();
    let try_both = || {
        thread::scope(|scope| {
            let put = scope.spawn(|| service.put("/hello/John", BORN).status);
            let get = service.get("/hello/John").status;
            (put.join().unwrap(), get)
        })
    };
    for garbage in ["", "postgres://user:hunter2@/x", "sqlite:hunter2.db"] {
        wait_until("it works", || (try_both() == (204, 200)).then_some(()));
        secret.write(garbage);
        secret.cut_connections();
        assert_eq!(try_both(), (503, 503), "{garbage}");
        secret.write(&secret.url);
    }
    wait_until("it works again", || (try_both() == (204, 200)).then_some(()));
    let log = service.log();
    let names_file = format!("{}: ", secret.file().display());
    assert!(log.lines().any(|line| line.contains("ERROR") && line.contains(&names_file)), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    secret.expect_untold(&service);
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
        // What follows after an empty line is how the command is used.
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
fn who_is_not_let_in_is_told_where_but_not_with_what() {
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
            assert!(!refusal.contains(password(&url)), "the password is told");
        }
    }
}

/// A database URL in a file.
struct Secret {
    folder: Arc<TempDir>,
    url: String,
    /// All that have been in the URL, the first one included.
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

    /// Replaces the file at once, as one does with secrets.
    fn write(&self, url: &str) {
        let new = self.folder.path().join("url.new");
        fs::write(&new, url).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    /// Ends the service's connections, and tells how many there were.
    fn cut_connections(&self) -> u64 {
        let role = role(&self.url);
        let cut = shared().execute(&format!(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = '{role}'"
        ));
        cut.trim().parse().unwrap()
    }

    /// Expects that no password is where others see it.
    fn expect_untold(&self, service: &Service) {
        let metrics = service.ask_admin("/metrics").expect_status(200).body;
        let process = format!("/proc/{}/cmdline", service.pid().as_raw_nonzero());
        let cmdline = String::from_utf8(fs::read(process).unwrap()).unwrap();
        assert!(cmdline.contains("--database-url-file"), "{cmdline}");
        for password in &*self.passwords.lock().unwrap() {
            for told in [&service.log(), &metrics, &cmdline] {
                assert!(!told.contains(password), "a password is told");
            }
        }
    }
}

/// Acts while the service loses its connections again and again, and counts how
/// many it lost.
fn while_connections_are_cut<T>(secret: &Secret, act: impl FnOnce(&AtomicU64) -> T) -> (T, u64) {
    let cut = &AtomicU64::new(0);
    let (acting, acted) = mpsc::channel::<()>();
    let result = thread::scope(|scope| {
        scope.spawn(move || {
            // Ends with `acting`, however that ends. The pace leaves the time to connect.
            let pace = Duration::from_millis(200);
            while acted.recv_timeout(pace) == Err(RecvTimeoutError::Timeout) {
                cut.fetch_add(secret.cut_connections(), Ordering::Relaxed);
            }
        });
        let _acting = acting;
        act(cut)
    });
    (result, cut.load(Ordering::Relaxed))
}
