//! Copies of the SQLite file that are made while it is served.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;

use crate::files::page_bytes;
use crate::harness::{BINARY, Service, new_folder, run};
use crate::load::{BUSY, Clients, Load};

fn backup(folder: &Path, arguments: &[&str]) -> (ExitStatus, String, String) {
    let mut command = Command::new(BINARY);
    command.arg("backup").args(arguments).current_dir(folder);
    run(command)
}

/// The users in `file`, which must be whole.
fn users(file: &Path, journal: &str) -> u32 {
    let database = Connection::open(file).unwrap();
    let get = |sql: &str| database.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(get("pragma integrity_check"), "ok");
    assert_eq!(get("pragma journal_mode"), journal);
    get("select cast(count(*) as text) from users").parse().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_whole_while_somebody_saves_and_takes_the_place_of_the_last_one() {
    for journal in ["wal", "truncate"] {
        let service = Service::start(&["--sqlite-journal", journal]);
        service.save("John", "1990-05-20");
        let folder = service.folder().path().join("backup");
        fs::create_dir(&folder).unwrap();
        // Left by one that was cut off.
        fs::write(folder.join("copy.db.new"), "half of it").unwrap();
        fs::write(folder.join("copy.db.new-journal"), "half of it").unwrap();
        let load = Load::start(service.address, Clients { finds: false, ..BUSY });
        load.wait_for_round();
        let mut last = 0;
        for _ in 0..5 {
            let (status, output, error) = backup(service.folder().path(), &["backup/copy.db"]);
            assert!(status.success(), "{journal}: {error}");
            assert!(output.starts_with("backed up "), "{output}");
            let now = users(&folder.join("copy.db"), "delete");
            assert!(now >= last && now > 0, "{journal}: {now} users after {last}");
            last = now;
            assert_eq!(names(&folder), ["copy.db", "copy.db.lock"], "{journal}");
        }
        load.stop().expect_no_failure();
        assert_eq!(fs::metadata(folder.join("copy.db")).unwrap().mode() & 0o777, 0o600);
        // The service serves it, which is how it is restored.
        let url = format!("--database-url=sqlite:{}", folder.join("copy.db").display());
        Service::start(&[&url]).get("/hello/John").expect_status(200);
    }
}

#[test]
fn a_backup_never_writes_a_file_of_the_database() {
    let service = Service::start(&[]);
    let path = service.folder().path();
    fs::hard_link(path.join("hello-birthday.db"), path.join("hard.db")).unwrap();
    symlink("hello-birthday.db", path.join("link.db")).unwrap();
    symlink(".", path.join("here")).unwrap();
    service.save("John", "1990-05-20");
    let refuse = |database: &str, file: &str| {
        let before = names(path);
        let url = format!("--database-url=sqlite:{database}");
        let (status, _, error) = backup(path, &[&url, file]);
        assert_eq!(status.code(), Some(1), "{database} to {file}");
        assert!(error.contains("belongs to the database: name another FILE"), "{file}: {error}");
        assert_eq!(names(path), before, "{database} to {file}");
    };
    let refuse_all = || {
        for database in ["hello-birthday.db", "link.db"] {
            for file in ["", "-wal", "-shm", "-journal"] {
                refuse(database, &format!("hello-birthday.db{file}"));
                refuse(database, &format!("here/hello-birthday.db{file}"));
            }
            refuse(database, "hard.db");
            refuse(database, "link.db");
        }
    };
    refuse_all();
    service.save("Jane", "1990-05-20");
    service.stop_in_place();
    // Now there is no log.
    refuse_all();
    assert_eq!(users(&path.join("hello-birthday.db"), "wal"), 2);
    // The name of the copy while it is incomplete, and that of the lock.
    for database in ["copy.db.new", "copy.db.new-wal", "copy.db.lock"] {
        fs::copy(path.join("hello-birthday.db"), path.join(database)).unwrap();
        refuse(database, "copy.db");
        assert_eq!(users(&path.join(database), "wal"), 2);
    }
}

#[test]
fn a_backup_replaces_nothing_but_a_regular_file() {
    let folder = new_folder();
    let path = folder.path();
    Service::start_in(&folder, &[]).stop();
    let _socket = UnixListener::bind(path.join("socket")).unwrap();
    let made = Command::new("mkfifo").arg(path.join("pipe")).status().unwrap();
    assert!(made.success());
    symlink("pipe", path.join("link")).unwrap();
    symlink("loop", path.join("loop")).unwrap();
    for folder in ["folder", "locked.db.lock", "begun.db.new"] {
        fs::create_dir(path.join(folder)).unwrap();
    }
    let before = names(path);
    let links = ["link", "loop"];
    let files = ["socket", "pipe", "folder", "folder/", ".", "locked.db", "begun.db"];
    for file in links.iter().chain(&files) {
        let (status, _, error) = backup(path, &[file]);
        assert_eq!(status.code(), Some(1), "{file}");
        assert!(error.contains("is not a regular file: name another FILE"), "{file}: {error}");
        assert_eq!(names(path), before, "{file}");
    }
    assert_eq!(names(&path.join("folder")), [""; 0]);
    assert!(fs::metadata(path.join("pipe")).unwrap().file_type().is_fifo());
}

#[test]
fn a_backup_is_written_where_a_link_leads() {
    let service = Service::start(&[]);
    let path = service.folder().path();
    service.save("John", "1990-05-20");
    fs::create_dir(path.join("disk")).unwrap();
    symlink("disk/link.db", path.join("copy.db")).unwrap();
    symlink("copy.db", path.join("disk/link.db")).unwrap();
    for saved in 1..=2 {
        let (status, _, error) = backup(path, &["copy.db"]);
        assert!(status.success(), "{error}");
        assert!(path.join("copy.db").is_symlink());
        assert_eq!(names(&path.join("disk")), ["copy.db", "copy.db.lock", "link.db"]);
        assert_eq!(users(&path.join("disk/copy.db"), "delete"), saved);
        service.save("Jane", "1990-05-20");
    }
}

#[test]
fn of_several_processes_one_makes_the_backup_of_the_night() {
    let service = Service::start(&[]);
    service.save("John", "1990-05-20");
    let folder = service.folder().path();
    let made = || {
        let runs = thread::scope(|scope| {
            let run = || backup(folder, &["--unless-newer=12h", "copy.db"]);
            let runs = [(); 4].map(|()| scope.spawn(run));
            runs.map(|run| run.join().unwrap())
        });
        runs.iter().for_each(|(status, _, error)| assert!(status.success(), "{error}"));
        runs.iter().filter(|(_, output, _)| output.starts_with("backed up ")).count()
    };
    // A file that is no copy does not count, however new it is.
    fs::write(folder.join("copy.db"), "").unwrap();
    assert_eq!(made(), 1);
    assert_eq!(made(), 0);
    let (_, output, _) = backup(folder, &["--unless-newer=12h", "copy.db"]);
    assert_eq!(output, "copy.db is newer than 12h: nothing to do\n");
    let yesterday = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options()
        .write(true)
        .open(folder.join("copy.db"))
        .unwrap()
        .set_modified(yesterday)
        .unwrap();
    assert_eq!(made(), 1);
}

#[test]
fn a_backup_that_fails_leaves_the_last_one_and_says_why() {
    let folder = new_folder();
    let path = folder.path();
    fs::write(path.join("copy.db"), "the last one").unwrap();
    fs::write(path.join("notes.txt"), "Dear diary, ".repeat(1000)).unwrap();
    for (arguments, complaint) in [
        (&["copy.db"][..], "there is no file"),
        (&["--database-url=sqlite:notes.txt", "copy.db"], "is not a SQLite database"),
        (&["--database-url=postgres://localhost/db", "copy.db"], "use pg_dump"),
        (&["missing/copy.db"], "create its folder, and allow this user to write in it"),
    ] {
        let (status, output, error) = backup(path, arguments);
        assert_eq!((status.code(), &*output), (Some(1), ""), "{arguments:?}");
        assert!(error.contains(complaint), "{arguments:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert_eq!(fs::read_to_string(path.join("copy.db")).unwrap(), "the last one");
        assert_eq!(names(path), ["copy.db", "copy.db.lock", "notes.txt"].as_slice());
    }
    // Damage that reading alone does not notice.
    let service = Service::start_in(&folder, &[]);
    service.save("John", "1990-05-20");
    service.stop();
    let file = path.join("hello-birthday.db");
    let mut bytes = fs::read(&file).unwrap();
    let last_page = bytes.len() - page_bytes(&bytes);
    bytes[last_page..].fill(0xFF);
    fs::write(&file, bytes).unwrap();
    let (status, _, error) = backup(path, &["copy.db"]);
    assert_eq!(status.code(), Some(1), "{error}");
    assert!(error.contains("damaged"), "{error}");
    assert_eq!(fs::read_to_string(path.join("copy.db")).unwrap(), "the last one");
}

#[test]
fn a_full_disk_is_named_where_the_copy_is_and_not_the_database() {
    let service = Service::start(&[]);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "bash", "-ec"]);
    command.arg(format!(
        "mkdir disk; mount -t tmpfs -o size=8k none disk; exec {BINARY} backup disk/copy.db"
    ));
    command.current_dir(service.folder().path());
    let (status, _, error) = run(command);
    assert_eq!(status.code(), Some(1), "{error}");
    assert!(error.contains("no space is left on the disk of disk/copy.db"), "{error}");
}
