//! Database files that are not as they should be, or that others hold: one clear
//! sentence, and nothing in them is damaged.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::harness::{BINARY, Service, letters, new_folder, request, run, wait_until};

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

/// A user without privileges.
const NOBODY: u32 = 65534;

/// Starts the service on `database`, which must fail with a sentence that holds
/// `complaint`.
#[track_caller]
fn expect_refusal(folder: &Arc<TempDir>, command: Command, complaint: &str) {
    let Err(failed) = Service::try_spawn(folder, command) else { panic!("the service started") };
    assert_eq!(failed.status.code(), Some(1), "{}", failed.log);
    assert!(failed.log.contains(complaint), "{:?} does not say {complaint:?}", failed.log);
    assert!(failed.log.starts_with("hello-birthday: cannot open the store: "), "{}", failed.log);
    assert_eq!(failed.log.lines().count(), 1, "{}", failed.log);
}

fn serve(database: &str) -> Command {
    let mut command = Command::new(BINARY);
    command.arg(format!("--database-url=sqlite:{database}"));
    command
}

/// The same as a user that is not root, since root may write everything.
fn serve_unprivileged(folder: &TempDir, database: &str) -> Command {
    let mut command = serve(database);
    if rustix::process::getuid().is_root() {
        // The folder of the build may be root's alone.
        let binary = folder.path().join("hello-birthday");
        // By another process: one that this one forks meanwhile would keep the copy open for
        // writing, and what is open for writing cannot be executed.
        let copied = Command::new("cp").arg(BINARY).arg(&binary).status().unwrap();
        assert!(copied.success());
        command = Command::new(binary);
        command.arg(format!("--database-url=sqlite:{database}")).uid(NOBODY).gid(NOBODY);
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    command
}

#[test]
fn a_missing_file_is_created_but_not_its_folder() {
    let folder = new_folder();
    Service::spawn(&folder, serve("new.db")).stop();
    assert!(folder.path().join("new.db").exists());
    expect_refusal(&folder, serve("missing/new.db"), "cannot reach the folder missing: create it");
    assert!(!folder.path().join("missing").exists());
}

#[test]
fn a_folder_is_refused() {
    let folder = new_folder();
    fs::create_dir(folder.path().join("folder")).unwrap();
    for (database, complaint) in [
        ("folder", "folder is a folder: name a file in it, as in sqlite:folder/hello-birthday.db"),
        ("/", "/ is a folder: name a file in it, as in sqlite:/hello-birthday.db"),
    ] {
        expect_refusal(&folder, serve(database), complaint);
    }
}

#[test]
fn a_read_only_file_is_refused() {
    let folder = new_folder();
    Service::spawn(&folder, serve("users.db")).stop();
    let file = folder.path().join("users.db");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    let before = fs::read(&file).unwrap();
    let command = serve_unprivileged(&folder, "users.db");
    expect_refusal(&folder, command, "/users.db: allow this user");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_read_only_folder_is_refused() {
    let folder = new_folder();
    fs::create_dir(folder.path().join("data")).unwrap();
    let data = folder.path().join("data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o555)).unwrap();
    let command = serve_unprivileged(&folder, "data/users.db");
    expect_refusal(&folder, command, "allow this user");
    // A file that may be written in a folder that may not: no journal fits in.
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    Service::spawn(&folder, serve("data/users.db")).stop();
    if rustix::process::getuid().is_root() {
        chown(data.join("users.db"), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::set_permissions(&data, fs::Permissions::from_mode(0o555)).unwrap();
    let command = serve_unprivileged(&folder, "data/users.db");
    expect_refusal(&folder, command, "allow this user");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_file_that_is_not_its_database_is_left_as_it_is() {
    type Prepare = fn(&Path);
    let cases: [(&str, Prepare, &str); 3] = [
        (
            "notes.txt",
            |file| fs::write(file, "Dear diary, ".repeat(1000)).unwrap(),
            "notes.txt is not a SQLite database",
        ),
        (
            "other.db",
            |file| {
                let other = Connection::open(file).unwrap();
                other.execute_batch("create table users (id integer)").unwrap();
            },
            "other.db is the database of another program",
        ),
        ("users.db", |file| prepare_newer(file, 9), "users.db was migrated by a newer release"),
    ];
    for (name, prepare, complaint) in cases {
        let folder = new_folder();
        let file = folder.path().join(name);
        prepare(&file);
        let before = fs::read(&file).unwrap();
        expect_refusal(&folder, serve(name), complaint);
        assert!(fs::read(&file).unwrap() == before, "{name} has changed");
        assert!(!folder.path().join(format!("{name}-journal")).exists());
    }
}

#[test]
fn a_database_that_a_newer_release_expanded_is_used() {
    let folder = new_folder();
    prepare_newer(&folder.path().join("users.db"), 1);
    let service = Service::spawn(&folder, serve("users.db"));
    service.get("/hello/John").expect_status(200);
    service.save("Jane", "1990-05-20");
}

/// Makes a database with a user and a schema of version 9, which works with
/// releases from `works_with` on.
fn prepare_newer(file: &Path, works_with: u32) {
    let service = Service::spawn(&new_folder(), serve(file.to_str().unwrap()));
    service.save("John", "1990-05-20");
    service.stop();
    let database = Connection::open(file).unwrap();
    database.execute("alter table users add column greeted text", []).unwrap();
    database.execute("insert into schema_versions values (9, ?1)", [works_with]).unwrap();
}

#[test]
fn a_file_changes_its_journal_when_nobody_else_uses_it() {
    let folder = new_folder();
    let start = |journal: &str| {
        let mut command = serve("users.db");
        command.args(["--sqlite-journal", journal]);
        command
    };
    let service = Service::spawn(&folder, start("wal"));
    service.save("John", "1990-05-20");
    expect_refusal(&folder, start("truncate"), "/users.db stayed locked");
    // Its log is left behind, and holds what was saved.
    service.kill();
    assert!(folder.path().join("users.db-wal").exists());

    let service = Service::spawn(&folder, start("truncate"));
    assert!(!folder.path().join("users.db-wal").exists());
    service.wait_for_log(r#""journal":"truncate""#);
    service.get("/hello/John").expect_status(200);
    service.save("Jane", "1990-05-20");
    // A second one may share it.
    let second = Service::spawn(&folder, start("truncate"));
    second.get("/hello/Jane").expect_status(200);
    second.stop();
    service.stop();

    let service = Service::spawn(&folder, start("auto"));
    service.wait_for_log(r#""journal":"wal""#);
    service.get("/hello/John").expect_status(200);
    service.get("/hello/Jane").expect_status(200);
}

#[test]
fn a_file_in_use_with_another_journal_is_refused() {
    let folder = new_folder();
    let mut command = serve("users.db");
    command.args(["--sqlite-journal", "truncate"]);
    let service = Service::spawn(&folder, command);
    service.save("John", "1990-05-20");
    // Held by a reader, as by an instance that reads at this moment.
    let reader = Connection::open(folder.path().join("users.db")).unwrap();
    reader.execute_batch("begin; select * from users").unwrap();
    expect_refusal(&folder, serve("users.db"), "with another journal than wal");
    service.get("/hello/John").expect_status(200);
}

/// Bytes of a page of a database file (<https://www.sqlite.org/fileformat.html>, section 1.3.2).
pub fn page_bytes(file: &[u8]) -> usize {
    u16::from_be_bytes([file[16], file[17]]).into()
}

#[test]
fn a_damaged_file_is_refused() {
    let damages: [fn(&mut Vec<u8>, usize); 2] = [
        |bytes, page| bytes.truncate(bytes.len() - page - 100),
        |bytes, page| bytes[2 * page..].fill(0xFF),
    ];
    for damage in damages {
        let folder = new_folder();
        Service::spawn(&folder, serve("users.db")).stop();
        let file = folder.path().join("users.db");
        let mut bytes = fs::read(&file).unwrap();
        let page = page_bytes(&bytes);
        damage(&mut bytes, page);
        fs::write(&file, bytes).unwrap();
        expect_refusal(&folder, serve("users.db"), "users.db is damaged: restore it from a backup");
    }
}

#[test]
fn a_new_file_is_its_users_alone() {
    let folder = new_folder();
    let service = Service::spawn(&folder, serve("users.db"));
    service.save("John", "1990-05-20");
    for name in ["users.db", "users.db-wal"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_link_stands_for_its_file() {
    let folder = new_folder();
    fs::create_dir(folder.path().join("real")).unwrap();
    Service::spawn(&folder, serve("real/users.db")).stop();
    symlink("real/users.db", folder.path().join("link.db")).unwrap();
    let service = Service::spawn(&folder, serve("link.db"));
    service.save("John", "1990-05-20");
    assert!(folder.path().join("real/users.db-wal").exists());
    assert!(!folder.path().join("link.db-wal").exists());
}

#[test]
fn a_missing_file_is_created_where_a_link_leads() {
    let folder = new_folder();
    symlink("disk/users.db", folder.path().join("link.db")).unwrap();
    expect_refusal(&folder, serve("link.db"), "cannot reach the folder disk: create it, or mount");
    fs::create_dir(folder.path().join("disk")).unwrap();
    Service::spawn(&folder, serve("link.db")).stop();
    assert!(folder.path().join("disk/users.db").is_file());
    assert!(folder.path().join("link.db").is_symlink());
}

#[test]
fn a_file_that_is_replaced_is_not_touched() {
    let folder = new_folder();
    let file = folder.path().join("users.db");
    let backup = folder.path().join("backup.db");
    let service = Service::spawn(&folder, serve("users.db"));
    service.save("John", "1990-05-20");
    let database = Connection::open(&file).unwrap();
    database.execute("vacuum into ?1", [backup.to_str().unwrap()]).unwrap();
    drop(database);
    service.save("Jane", "1990-05-20");
    let before = fs::read(&backup).unwrap();
    fs::rename(&backup, &file).unwrap();
    for _ in 0..3 {
        let body = r#"{"dateOfBirth":"1991-06-21"}"#;
        service.put("/hello/John", body).expect_status(503);
        service.get("/hello/John").expect_status(503);
    }
    let log = service.wait_for_log("was moved, replaced or deleted");
    for ending in ["wal", "shm", "journal"] {
        assert!(log.contains(&format!("users.db-{ending}")), "{log}");
    }
    service.stop();
    assert!(fs::read(&file).unwrap() == before, "the file that replaced it was written");

    // As the log says: the log of the old file would be taken for the new one's.
    fs::remove_file(folder.path().join("users.db-wal")).unwrap();
    fs::remove_file(folder.path().join("users.db-shm")).unwrap();
    let service = Service::spawn(&folder, serve("users.db"));
    service.get("/hello/John").expect_status(200);
    service.get("/hello/Jane").expect_status(404);
    service.save("Jane", "1990-05-20");
}

/// Starts a service with a rollback journal, as a user without privileges whose folder this is.
fn start_unprivileged(folder: &Arc<TempDir>) -> Service {
    if rustix::process::getuid().is_root() {
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut command = serve_unprivileged(folder, "users.db");
    command.args(["--sqlite-journal", "truncate"]);
    Service::spawn(folder, command)
}

#[test]
fn a_journal_that_root_creates_can_be_written_by_the_user_of_the_service() {
    let folder = new_folder();
    let service = start_unprivileged(&folder);
    let journal = folder.path().join("users.db-journal");
    // Created with the schema.
    fs::remove_file(&journal).unwrap();
    let mut erase = Command::new(BINARY);
    erase.args(["erase", "--database-url=sqlite:users.db", "Nobody"]).current_dir(folder.path());
    let (status, _, error) = run(erase);
    assert!(status.success(), "{error}");
    let owner = |path| fs::metadata(path).map(|file| (file.uid(), file.gid())).unwrap();
    assert_eq!(owner(journal), owner(folder.path().join("users.db")));
    service.save("John", "1990-05-20");
}

#[test]
fn a_file_that_is_lost_is_not_created_while_its_log_or_journal_is_left() {
    let folder = new_folder();
    let file = folder.path().join("users.db");
    let service = Service::spawn(&folder, serve("users.db"));
    service.save("John", "1990-05-20");
    service.kill();
    let aside = folder.path().join("aside.db");
    fs::rename(&file, &aside).unwrap();
    let log = folder.path().join("users.db-wal");
    let before = fs::read(&log).unwrap();
    expect_refusal(&folder, serve("users.db"), "users.db-wal is left of it: put the file back");
    assert!(!file.exists());
    assert!(fs::read(&log).unwrap() == before, "the log has changed");

    fs::rename(&aside, &file).unwrap();
    let service = Service::spawn(&folder, serve("users.db"));
    service.get("/hello/John").expect_status(200);
    service.stop();

    fs::remove_file(&file).unwrap();
    let journal = folder.path().join("users.db-journal");
    fs::write(&journal, "pages").unwrap();
    expect_refusal(&folder, serve("users.db"), "users.db-journal is left of it");
    // As SQLite truncates it when a transaction has ended.
    fs::write(&journal, "").unwrap();
    Service::spawn(&folder, serve("users.db")).get("/hello/John").expect_status(404);
}

fn connect_to_file_of(service: &Service) -> Connection {
    Connection::open(service.folder().path().join("hello-birthday.db")).unwrap()
}

#[test]
fn an_outage_of_the_store_shows_in_health_but_keeps_the_instance_in_traffic() {
    let service = Service::start(&[]);
    service.save("John", "1990-05-20");
    let outside = connect_to_file_of(&service);
    outside.execute_batch("alter table users rename to gone").unwrap();
    service.get("/health").expect_status(503);
    let answer = service.get("/hello/John").expect_problem(503, "try again");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let answer = service.put("/hello/John", BORN).expect_problem(503, "try again");
    assert_eq!(answer.header("retry-after"), Some("1"));
    service.ask_admin("/readyz").expect_status(200);
    assert!(service.metric(r#"hello_birthday_store_errors_total{kind="read"}"#) >= 2.0);

    outside.execute_batch("alter table gone rename to users").unwrap();
    wait_for_health(&service);
    service.get("/hello/John").expect_status(200);
    service.save("John", "1991-06-21");
    let count = |what: &str| service.log().matches(what).count();
    // Reads and writes.
    wait_until("both are logged", || (count("the store answers again") == 2).then_some(()));
    assert_eq!(count("the store fails"), 2, "{}", service.log());
}

#[test]
fn an_instance_that_the_store_does_not_answer_for_long_leaves_traffic_until_it_does() {
    let service = Service::start(&["--sqlite-journal", "truncate", "--store-outage-max", "1s"]);
    let outage = || service.metric("hello_birthday_store_outage_seconds");
    service.ask_admin("/readyz").expect_status(200);
    let outside = connect_to_file_of(&service);
    outside.execute_batch("begin exclusive").unwrap();
    // Its batch waits 4 s for the lock.
    service.get("/hello/John").expect_status(503);
    service.ask_admin("/readyz").expect_problem(503, "another one");
    service.ask_admin("/livez").expect_status(200);
    assert!(outage() >= 4.0);
    service.wait_for_log("not ready: the store does not answer this instance");

    outside.execute_batch("rollback").unwrap();
    // No request comes any more.
    wait_until("it is back", || (service.ask_admin("/readyz").status == 200).then_some(()));
    service.wait_for_log("ready again: the store answers");
    assert_eq!(outage(), 0.0);
}

#[test]
fn a_store_that_hangs_keeps_no_request_waiting() {
    let service = Service::start(&["--sqlite-journal", "truncate"]);
    service.save("John", "1990-05-20");
    let outside = connect_to_file_of(&service);
    outside.execute_batch("begin exclusive").unwrap();
    // All of it while the lock is held: nothing waits for its end.
    service.get("/health").expect_status(503);
    for answer in [service.get("/hello/John"), service.put("/hello/John", BORN)] {
        let answer = answer.expect_status(503);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    outside.execute_batch("rollback").unwrap();
    wait_until("the store answers", || (service.get("/health").status == 200).then_some(()));
    service.save("John", "1990-05-20");
}

#[test]
fn the_save_of_a_client_that_closes_its_connection_is_carried_out() {
    let service = Service::start(&[]);
    let outside = connect_to_file_of(&service);
    outside.execute_batch("begin immediate").unwrap();
    let mut stream = service.connect();
    stream.write_all(request("PUT", "/hello/John", "", BORN).as_bytes()).unwrap();
    let in_flight = || service.metric("hello_birthday_http_requests_in_flight");
    wait_until("the save waits", || (in_flight() == 1.0).then_some(()));
    drop(stream);
    outside.execute_batch("rollback").unwrap();
    wait_until("John is saved", || (service.get("/hello/John").status == 200).then_some(()));
}

#[test]
fn health_needs_no_write_lock() {
    let service = Service::start(&[]);
    let outside = connect_to_file_of(&service);
    outside.execute_batch("begin immediate").unwrap();
    service.get("/health").expect_status(200);
    service.ask_admin("/readyz").expect_status(200);
}

fn wait_for_health(service: &Service) {
    wait_until("saves work again", || (service.get("/health").status == 200).then_some(()));
}

#[test]
fn health_is_503_while_another_process_keeps_the_write_lock_once_a_save_failed_for_it() {
    for journal in ["wal", "truncate"] {
        let service = Service::start(&["--sqlite-journal", journal]);
        service.save("John", "1990-05-20");
        let outside = connect_to_file_of(&service);
        let version = |watcher: &Connection| {
            watcher.query_row("pragma data_version", [], |row| row.get::<_, i64>(0)).unwrap()
        };
        let watcher = connect_to_file_of(&service);
        let before = version(&watcher);
        outside.execute_batch("begin immediate").unwrap();
        service.get("/health").expect_status(200);
        service.put("/hello/John", r#"{"dateOfBirth":"1991-06-21"}"#).expect_status(503);
        service.get("/health").expect_problem(503, "saves fail");
        service.get("/hello/John").expect_status(200);
        service.ask_admin("/readyz").expect_status(200);

        outside.execute_batch("rollback").unwrap();
        wait_for_health(&service);
        assert_eq!(version(&watcher), before, "{journal}: the file was written");
        service.save("John", "1991-06-21");
    }
}

#[test]
fn health_is_503_while_the_file_is_read_only_once_a_save_failed() {
    let folder = new_folder();
    // Here a connection that is closed leaves no open file behind for the next one.
    let service = start_unprivileged(&folder);
    service.save("John", "1990-05-20");
    let file = folder.path().join("users.db");
    let outside = Connection::open(&file).unwrap();
    outside.execute_batch("alter table users rename to gone").unwrap();
    service.put("/hello/John", BORN).expect_status(503);
    // A connection that is open may go on writing; the next one may not.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    outside.execute_batch("alter table gone rename to users").unwrap();
    service.put("/hello/John", BORN).expect_status(503);
    service.get("/health").expect_status(503);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    wait_for_health(&service);
    service.save("John", "1990-05-20");
}

#[test]
fn a_clean_stop_leaves_one_file() {
    let folder = new_folder();
    let service = Service::start_in(&folder, &[]);
    service.save("John", "1990-05-20");
    service.stop();
    let mut files: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".db"))
        .collect();
    files.sort();
    assert_eq!(files, ["hello-birthday.db"]);
}

#[test]
fn a_full_disk_at_the_start_is_one_sentence() {
    let folder = new_folder();
    let command = on_small_disk("dd if=/dev/zero of=disk/fill bs=4k 2>dd || true; exec");
    expect_refusal(&folder, command, "no space is left on the disk of");
}

#[test]
fn a_disk_that_fills_up_is_503_until_there_is_room_again() {
    let folder = new_folder();
    let filled = folder.path().join("filled");
    // The shell that fills the disk lives in the service's mount namespace.
    let script = "wait_for() { until \"$@\"; do sleep 0.01; done; }
        (wait_for [ -e filled ]
         dd if=/dev/zero of=disk/fill bs=4k 2>dd || true
         touch full
         wait_for [ ! -e filled ]
         rm disk/fill
         touch freed) &
        exec";
    let service = Service::spawn(&folder, on_small_disk(script));
    service.save("John", "1990-05-20");
    fs::write(&filled, "").unwrap();
    wait_until("the disk is full", || folder.path().join("full").exists().then_some(()));
    let refused = (0..2000).find(|number| {
        let body = r#"{"dateOfBirth":"1991-06-21"}"#;
        let answer = service.put(&format!("/hello/{}", letters(*number)), body);
        assert!([204, 503].contains(&answer.status), "{}", answer.status);
        answer.status == 503
    });
    let refused = refused.expect("the disk is full");
    service.wait_for_log("no space is left on the disk");
    service.get("/health").expect_problem(503, "saves fail");
    service.get("/hello/John").expect_status(200);
    service.get(&format!("/hello/{}", letters(refused))).expect_status(404);
    fs::remove_file(&filled).unwrap();
    wait_until("the disk is freed", || folder.path().join("freed").exists().then_some(()));
    // Nobody saves meanwhile.
    wait_for_health(&service);
    service.save("Jane", "1990-05-20");
    for number in 0..refused {
        service.get(&format!("/hello/{}", letters(number))).expect_status(200);
    }
    service.wait_for_log("the store answers again");
}

/// Serves from a file system of 256 KiB in a mount namespace of its own, after
/// `before`.
fn on_small_disk(before: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "bash", "-ec"]).arg(format!(
        "mkdir disk; mount -t tmpfs -o size=256k none disk; \
         {before} {BINARY} --database-url=sqlite:disk/users.db"
    ));
    command
}
