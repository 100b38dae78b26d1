//! Erasing people's data at their request.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use rusqlite::Connection;

use crate::harness::{BINARY, Client, Service, clean_environment, letters, new_folder, run};

fn erase(service: &Service, usernames: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(BINARY);
    command.arg("erase").args(usernames).current_dir(service.folder().path());
    let (status, output, error) = run(command);
    (status.code(), output, error)
}

fn erase_lines(service: &Service, lines: &[u8]) -> (Option<i32>, String, String) {
    let mut command = Command::new(BINARY);
    clean_environment(&mut command).args(["erase", "-"]).current_dir(service.folder().path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn users_are_erased_while_the_service_runs_and_once_more_is_no_error() {
    for journal in ["wal", "truncate"] {
        let service = Service::start(&["--sqlite-journal", journal]);
        for name in ["Rumpelstiltskin", "Jos%C3%A9", "Schneewittchen"] {
            service.save(name, "1990-05-20");
        }
        // Typed in another way, and once more.
        let usernames = ["Rumpelstiltskin", "Jose\u{301}", "Nobody", "Rumpelstiltskin"];
        let (status, output, error) = erase(&service, &usernames);
        assert_eq!((status, &*error), (Some(0), ""));
        assert_eq!(output, "erased 2 users; 1 were not there\n", "{journal}");
        for name in ["Rumpelstiltskin", "Jos%C3%A9"] {
            service.get(&format!("/hello/{name}")).expect_status(404);
        }
        service.get("/hello/Schneewittchen").expect_status(200);
        let (_, output, _) = erase(&service, &usernames);
        assert_eq!(output, "erased 0 users; 3 were not there\n", "{journal}");
        service.save("Rumpelstiltskin", "1991-06-21");
        service.get("/hello/Rumpelstiltskin").expect_status(200);
    }
}

#[test]
fn what_is_erased_is_in_no_file_of_the_database() {
    let service = Service::start(&[]);
    service.save("Rumpelstiltskin", "1990-05-20");
    erase(&service, &["Rumpelstiltskin"]);
    service.stop_in_place();
    let mut files = 0;
    for entry in fs::read_dir(service.folder().path()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains(".db") {
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(6).any(|bytes| bytes == b"Rumpel"), "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 0);
}

#[test]
fn usernames_are_read_from_stdin_and_a_wrong_one_erases_nobody() {
    let service = Service::start(&[]);
    let mut client = Client::new(service.address);
    let body = r#"{"dateOfBirth":"1990-05-20"}"#;
    let names: Vec<String> = (0..1500).map(letters).collect();
    for name in &names {
        client.send("PUT", &format!("/hello/{name}"), body).unwrap().expect_status(204);
    }
    let erase_lines = |lines: &str| erase_lines(&service, lines.as_bytes());
    let lines = names.join("\n");
    let (status, output, error) = erase_lines(&format!("{lines}\nHunter2\n"));
    assert_eq!((status, &*output), (Some(1), ""));
    assert!(error.contains("line 1501: ") && error.contains("nobody was erased"), "{error}");
    assert!(!error.contains("Hunter2"), "{error}");
    service.get(&format!("/hello/{}", names[0])).expect_status(200);
    // Somebody reads an older state meanwhile: all are erased, and it is said that the log is not.
    let reader = Connection::open(service.folder().path().join("hello-birthday.db")).unwrap();
    reader.execute_batch("begin; select count(*) from users").unwrap();
    let (status, output, error) = erase_lines(&lines);
    assert_eq!((status, &*output), (Some(1), ""));
    assert!(error.contains("still holds them"), "{error}");
    drop(reader);
    for name in &names {
        let path = format!("/hello/{name}");
        client.send("GET", &path, "").unwrap().expect_status(404);
        client.send("PUT", &path, body).unwrap().expect_status(204);
    }
    // As other systems end lines, and with an empty one.
    let (status, output, error) = erase_lines(&format!("{}\r\n\r\n", lines.replace('\n', "\r\n")));
    assert_eq!((status, &*error), (Some(0), ""));
    assert_eq!(output, "erased 1,500 users; 0 were not there\n");
    for name in [&names[0], &names[1499]] {
        service.get(&format!("/hello/{name}")).expect_status(404);
    }
}

#[test]
fn to_name_nobody_is_an_error() {
    let service = Service::start(&[]);
    service.save("John", "1990-05-20");
    for (arguments, told) in [
        (&[""][..], "argument 1: the username is empty; nobody was erased"),
        (&["   "], "argument 1: the username is empty"),
        (&["John", ""], "argument 2: the username is empty"),
    ] {
        let (status, output, error) = erase(&service, arguments);
        assert_eq!((status, &*output), (Some(1), ""), "{arguments:?}");
        assert!(error.contains(told), "{arguments:?}: {error}");
    }
    for (lines, told) in [
        (&b""[..], "there is no username on stdin; nobody was erased"),
        (b"\n \r\n", "there is no username on stdin; nobody was erased"),
        (b"John\n\nJos\xe9\n", "line 3: not UTF-8: convert it; nobody was erased"),
    ] {
        let (status, output, error) = erase_lines(&service, lines);
        assert_eq!((status, &*output), (Some(1), ""), "{lines:?}");
        assert!(error.contains(told), "{lines:?}: {error}");
    }
    service.get("/hello/John").expect_status(200);
}

#[test]
fn nobody_is_erased_from_a_file_that_is_not_there() {
    let folder = new_folder();
    let mut command = Command::new(BINARY);
    command.args(["erase", "John"]).current_dir(folder.path());
    let (status, _, error) = run(command);
    assert_eq!(status.code(), Some(1));
    assert!(error.contains("there is no file"), "{error}");
    assert!(!error.contains("John"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_reader_of_the_log_is_told_of_and_no_privilege() {
    let service = Service::start(&["--sqlite-journal", "wal"]);
    service.save("John", "1990-05-20");
    let reader = Connection::open(service.folder().path().join("hello-birthday.db")).unwrap();
    reader.execute_batch("begin; select count(*) from users").unwrap();
    let (status, _, error) = erase(&service, &["John"]);
    assert_eq!(status, Some(1), "{error}");
    let told = "the erasure is not complete: the users are erased, but the write-ahead log";
    assert!(error.contains(told) && !error.contains("privilege"), "{error}");
    service.get("/hello/John").expect_status(404);
}
