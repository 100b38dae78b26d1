//! `hello-birthday copy`, between both kinds of database.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rusqlite::Connection;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::cluster::{Session, execute, shared};
use crate::harness::{BINARY, clean_environment, wait, wait_until};
use crate::migrate::migrate;
use crate::url::{password, role};
use crate::waits::read_all;

/// Usernames and dates of birth, in the order of the names' bytes.
type Users = BTreeMap<String, String>;

const USERS: usize = 20_000;

/// Part of every username.
const NAME: &str = "Somebody";

#[test]
fn all_users_are_copied_both_ways_and_proved() {
    let users = some_users(USERS);
    let folder = Folder::new();
    let [first, last] = ["first.db", "last.db"].map(|name| folder.path(name));
    let postgres = shared().new_database();
    make_sqlite(&first, &users);

    for (from, to) in [(sqlite(&first), postgres.clone()), (postgres.clone(), sqlite(&last))] {
        let copied = folder.copy(&from, &to, &[]).expect_status(0);
        let proof = format!(
            "20,000 users are in both databases, SHA-256 {}\nrates are not copied: load them into \
             the other database with hello-birthday load-rates\n",
            sha256(&users)
        );
        assert_eq!(copied.output, proof);
        // There is no terminal, so there are plain lines.
        let lines: Vec<&str> = copied.error.split('\n').collect();
        let expected = [
            "copied 10,000 of 20,000 users",
            "copied 20,000 of 20,000 users",
            "verified 10,000 of 20,000 users",
            "verified 20,000 of 20,000 users",
            "",
        ];
        assert_eq!(lines, expected);
    }
    for (place, found) in [
        ("the source", read_sqlite(&first)),
        ("Postgres", read_all(&postgres)),
        ("the copy of the copy", read_sqlite(&last)),
    ] {
        assert!(found == users, "{place} holds other users");
    }
}

#[test]
fn a_file_is_not_copied_onto_itself() {
    let users = some_users(10);
    let folder = Folder::new();
    let [file, link] = ["users.db", "link.db"].map(|name| folder.path(name));
    make_sqlite(&file, &users);
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let refused = folder.copy(&sqlite(&file), &sqlite(&link), &[]).expect_status(1);
    assert!(refused.error.contains("name the same file"), "{}", refused.error);
    assert!(read_sqlite(&file) == users, "the file was changed");
}

#[test]
fn another_date_is_kept_and_reported_unless_replace_is_given() {
    let users = some_users(USERS);
    let mut there = Users::new();
    for name in users.keys().step_by(USERS / 3 + 1) {
        there.insert(name.clone(), "1888-08-08".to_owned());
    }
    assert_eq!(there.len(), 3);
    there.insert(format!("Only{NAME}"), "1999-09-09".to_owned());
    let folder = Folder::new();
    let [source, target] = ["source.db", "target.db"].map(|name| folder.path(name));
    let postgres = shared().new_database();
    make_sqlite(&source, &users);
    make_sqlite(&target, &there);
    make_postgres(&postgres, &there);

    for (to, read) in [
        (postgres.clone(), &(|| read_all(&postgres)) as &dyn Fn() -> Users),
        (sqlite(&target), &|| read_sqlite(&target)),
    ] {
        let copied = folder.copy(&sqlite(&source), &to, &[]).expect_status(1);
        assert_eq!(copied.output, "");
        let sentence = copied.error.lines().last().unwrap();
        assert!(sentence.contains("3 of 20,000 users have a different date"), "{sentence}");
        assert!(sentence.contains("--replace"), "{sentence}");
        let mut expected = users.clone();
        expected.extend(there.clone());
        assert!(read() == expected, "not what was kept and copied");

        let copied = folder.copy(&sqlite(&source), &to, &["--replace"]).expect_status(0);
        assert!(copied.output.contains(&sha256(&users)), "{}", copied.output);
        expected.extend(users.clone());
        assert!(read() == expected, "not what was replaced");
    }
    assert!(read_sqlite(&source) == users, "the source was changed");
}

#[test]
fn users_erased_from_the_source_during_a_move_are_counted_and_stay() {
    let users = some_users(3);
    let (erased, _) = users.first_key_value().unwrap();
    let folder = Folder::new();
    let [source, target] = ["source.db", "target.db"].map(|name| folder.path(name));
    let postgres = shared().new_database();
    make_sqlite(&source, &users);
    let told = "are only in the destination";
    for to in [sqlite(&target), postgres.clone()] {
        let copied = folder.copy(&sqlite(&source), &to, &[]).expect_status(0);
        assert!(!copied.output.contains(told), "{}", copied.output);
    }
    let erase = "delete from users where username = ?1";
    Connection::open(&source).unwrap().execute(erase, [erased]).unwrap();
    for to in [sqlite(&target), postgres.clone()] {
        let copied = folder.copy(&sqlite(&source), &to, &["--replace"]).expect_status(0);
        let told = format!("1 users {told} and stay there");
        assert!(copied.output.contains("2 users are in both databases"), "{}", copied.output);
        assert!(copied.output.contains(&told), "{}", copied.output);
    }
    assert!(read_sqlite(&target) == users && read_all::<Users>(&postgres) == users);
}

#[test]
fn a_copy_killed_in_the_middle_is_finished_by_the_next() {
    let users = some_users(USERS);
    let folder = Folder::new();
    let source = folder.path("source.db");
    let postgres = shared().new_database();
    make_sqlite(&source, &users);
    migrate(&postgres);
    // Another session has not committed the last user yet, so the copy waits for it.
    let (name, _) = users.last_key_value().unwrap();
    let mut busy = Session::open(&postgres);
    busy.execute(&format!("begin; insert into users values ('{name}', '1888-08-08')"));

    let mut copying = folder.start_copy(&sqlite(&source), &postgres, &[]);
    let error = folder.path("error");
    wait_until("half of it is copied", || {
        fs::read_to_string(&error).unwrap().contains("copied 10,000").then_some(())
    });
    copying.kill().unwrap();
    wait(&mut copying);
    // Or the server would still execute what it was sent.
    let end = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where usename = '{}' and application_name = 'hello-birthday'",
        role(&postgres)
    );
    wait_until("its sessions end", || shared().execute(&end).is_empty().then_some(()));
    drop(busy);
    assert_eq!(read_all::<Users>(&postgres).len(), USERS / 2);

    let copied = folder.copy(&sqlite(&source), &postgres, &[]).expect_status(0);
    assert!(copied.output.contains(&sha256(&users)), "{}", copied.output);
    assert!(read_all::<Users>(&postgres) == users, "not what was copied");
}

#[test]
fn a_source_that_is_missing_is_not_made() {
    let folder = Folder::new();
    let source = folder.path("missing.db");
    let postgres = shared().new_database();
    let copied = folder.copy(&sqlite(&source), &postgres, &[]).expect_status(1);
    let what = format!("there is no file {}", source.display());
    assert!(copied.error.contains(&what), "{}", copied.error);
    assert_eq!(copied.error.lines().count(), 1, "{}", copied.error);
    assert!(!source.exists());
    // Nor is the schema on a server.
    let target = folder.path("target.db");
    let copied = folder.copy(&postgres, &sqlite(&target), &[]).expect_status(1);
    assert!(copied.error.contains("cannot open the database to copy from"), "{}", copied.error);
    assert!(!target.exists());
    assert_eq!(execute(&postgres, "select to_regclass('users')"), "\n");
}

#[test]
fn what_names_no_database_exits_2_and_is_not_quoted() {
    let folder = Folder::new();
    let good = sqlite(&folder.path("users.db"));
    for bad in ["", "sqlite:", "hunter2", "postgres://user:hunter2@/db", "mysql://u:hunter2@h/db"] {
        for (flag, from, to) in [("from", bad, &*good), ("to", &good, bad)] {
            let copied = folder.copy(from, to, &[]).expect_status(2);
            // They are given in variables, of which an empty one is as none.
            let complaint = match bad {
                "" => format!("--{flag} <URL>"),
                _ => format!("HELLO_BIRTHDAY_{}: ", flag.to_uppercase()),
            };
            assert!(copied.error.contains(&complaint), "{}", copied.error);
            assert!(!copied.error.contains("hunter2"), "{}", copied.error);
        }
    }
    assert!(!folder.path("users.db").exists());
}

#[test]
fn a_terminal_sees_a_bar() {
    let folder = Folder::new();
    let source = folder.path("source.db");
    make_sqlite(&source, &some_users(USERS));
    // A terminal of no type cannot move its cursor.
    let mut command = Command::new("script");
    command.env("TERM", "xterm");
    command.args(["-qec", &format!("{BINARY} copy"), "/dev/null"]);
    let postgres = shared().new_database();
    let seen = folder.finish(command, &sqlite(&source), &postgres).expect_status(0).output;
    assert!(seen.contains('\u{2588}') && seen.contains('\r'), "{seen}");
    assert!(seen.contains("20,000 of 20,000 users verified"), "{seen}");
}

#[test]
fn a_line_is_printed_for_each_tenth_and_not_for_each_batch() {
    let users = some_users(110_001);
    let folder = Folder::new();
    let [source, target] = ["source.db", "target.db"].map(|name| folder.path(name));
    make_sqlite(&source, &users);
    let copied = folder.copy(&sqlite(&source), &sqlite(&target), &[]).expect_status(0);
    assert!(copied.output.contains(&sha256(&users)), "{}", copied.output);
    // Of 12 batches copied and 12 verified.
    assert_eq!(copied.error.lines().count(), 20, "{}", copied.error);
}

/// Where copies are made.
struct Folder(TempDir);

/// How a copy ended.
struct Copied {
    status: Option<i32>,
    output: String,
    error: String,
}

impl Folder {
    fn new() -> Folder {
        Folder(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Copies to the end. What is printed must hold no user and no password.
    fn copy(&self, from: &str, to: &str, flags: &[&str]) -> Copied {
        let mut command = Command::new(BINARY);
        command.arg("copy").args(flags);
        self.finish(command, from, to)
    }

    fn start_copy(&self, from: &str, to: &str, flags: &[&str]) -> Child {
        let mut command = Command::new(BINARY);
        command.arg("copy").args(flags);
        self.start(command, from, to)
    }

    fn finish(&self, command: Command, from: &str, to: &str) -> Copied {
        let status = wait(&mut self.start(command, from, to)).code();
        let [output, error] =
            ["output", "error"].map(|name| fs::read_to_string(self.path(name)).unwrap());
        for printed in [&output, &error] {
            assert!(!printed.contains(NAME), "a username is printed");
            assert!(!holds_a_date(printed), "a date is printed");
            for url in [from, to].iter().filter(|url| url.contains("@127.0.0.1")) {
                assert!(!printed.contains(password(url)), "the password is printed");
            }
        }
        Copied { status, output, error }
    }

    fn start(&self, mut command: Command, from: &str, to: &str) -> Child {
        clean_environment(&mut command)
            .env("HELLO_BIRTHDAY_FROM", from)
            .env("HELLO_BIRTHDAY_TO", to)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(File::create(self.path("output")).unwrap())
            .stderr(File::create(self.path("error")).unwrap())
            .spawn()
            .unwrap()
    }
}

impl Copied {
    #[track_caller]
    fn expect_status(self, status: i32) -> Copied {
        assert_eq!(self.status, Some(status), "{}{}", self.output, self.error);
        self
    }
}

fn holds_a_date(text: &str) -> bool {
    let is_date = |part: &[u8]| {
        part.iter().enumerate().all(|(place, byte)| match place {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
    };
    text.as_bytes().windows(10).any(is_date)
}

/// Users with the first and the last date there is, and with letters that differ
/// in length, in case and in their order elsewhere.
fn some_users(count: usize) -> Users {
    let beginnings = ["", "a", "Z", "\u{c9}", "\u{3c3}", "\u{3c2}", "\u{ffdc}", "\u{20bb7}"];
    let mut users: Users = (0..count)
        .map(|number| {
            let mut name = format!("{}{NAME}", beginnings[number % beginnings.len()]);
            let mut rest = number;
            while rest > 0 {
                name.push(char::from(b'a' + u8::try_from(rest % 26).unwrap()));
                rest /= 26;
            }
            let born =
                format!("{}-{:02}-{:02}", 1800 + number % 220, 1 + number % 12, 1 + number % 28);
            (name, born)
        })
        .collect();
    users.first_entry().unwrap().insert("0001-01-01".to_owned());
    users.last_entry().unwrap().insert("9999-12-31".to_owned());
    assert_eq!(users.len(), count, "two have one name");
    users
}

/// A line for each user, in the order of their names' bytes, as anyone can compute
/// it.
fn sha256(users: &Users) -> String {
    let mut hash = Sha256::new();
    for (name, born) in users {
        hash.update(format!("{name}\t{born}\n"));
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn sqlite(file: &Path) -> String {
    format!("sqlite:{}", file.display())
}

fn make_sqlite(file: &Path, users: &Users) {
    migrate(&sqlite(file));
    let mut database = Connection::open(file).unwrap();
    let transaction = database.transaction().unwrap();
    let mut insert = transaction.prepare("insert into users values (?1, ?2)").unwrap();
    for user in users {
        insert.execute(user).unwrap();
    }
    drop(insert);
    transaction.commit().unwrap();
}

fn make_postgres(url: &str, users: &Users) {
    migrate(url);
    for (name, born) in users {
        execute(url, &format!("insert into users values ('{name}', '{born}')"));
    }
}

fn read_sqlite(file: &Path) -> Users {
    let database = Connection::open(file).unwrap();
    let mut all = database.prepare("select username, date_of_birth from users").unwrap();
    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}
