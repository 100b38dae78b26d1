//! Logs that nobody reads, that cannot be written, and that must be complete.

use std::io::Read;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{BINARY, Client, Service, new_folder, wait_until};

const DROPPED: &str = "hello_birthday_log_lines_dropped_total";

#[test]
fn a_stderr_that_nobody_reads_holds_up_no_request_and_no_stop() {
    /// More lines than a pipe, a queue and what is taken from it hold.
    const REQUESTS_MAX: usize = 50_000;
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec 2>&0 0</dev/null; exec {BINARY} --access-log"));
    command.stdin(writer);
    let mut service = Service::spawn(&new_folder(), command);
    let mut client = Client::new(service.address);
    let mut requests = 0;
    while service.metric(DROPPED) == 0.0 {
        assert!(requests < REQUESTS_MAX, "no line is dropped");
        for _ in 0..1000 {
            client.send("GET", "/", "").unwrap().expect_status(200);
        }
        requests += 1000;
    }
    service.ask_admin("/livez").expect_status(200);
    service.signal(Signal::TERM);
    assert!(service.wait().success());
    println!("{requests} requests answered");

    // The first lines are whole, one after the other.
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let [first, whole @ .., _] = &lines[..] else { panic!("{log}") };
    assert!(first.contains("serving on"), "{first}");
    assert!(whole.iter().all(|line| line.starts_with('{') && line.ends_with('}')));
}

#[test]
fn a_log_that_cannot_be_written_harms_no_request_and_is_counted() {
    for stderr in ["2>/dev/full", "2> >(:)"] {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("exec {BINARY} --access-log {stderr}"));
        let service = Service::spawn(&new_folder(), command);
        for _ in 0..3 {
            service.get("/").expect_status(200);
        }
        wait_until("lost lines are counted", || (service.metric(DROPPED) > 0.0).then_some(()));
        service.stop();
    }
}

#[test]
fn all_that_was_logged_before_the_end_is_written() {
    const REQUESTS: usize = 1000;
    let mut service = Service::start(&["--access-log"]);
    let mut client = Client::new(service.address);
    for _ in 0..REQUESTS {
        client.send("GET", "/", "").unwrap().expect_status(200);
    }
    service.signal(Signal::TERM);
    assert!(service.wait().success());
    let log = service.log();
    assert_eq!(log.matches("\"answered\"").count(), REQUESTS);
    assert!(log.lines().last().unwrap().contains("\"stopped\""), "{log}");
}

#[test]
fn lines_have_a_priority_where_stderr_is_the_journal_and_only_there() {
    let start = |stream: &str| {
        let mut command = Command::new("bash");
        // The file that the harness has for stderr stands for the journal.
        let script = format!("JOURNAL_STREAM={stream} exec {BINARY} --today 2025-05-20");
        command.args(["-c", &script]);
        let service = Service::spawn(&new_folder(), command);
        service.wait_for_log("--today")
    };
    let log = start("$(stat -Lc %d:%i /proc/self/fd/2)");
    let levels = log.lines().map(|line| {
        let (priority, rest) = line.split_at(3);
        let line: serde_json::Value = serde_json::from_str(rest).unwrap();
        (priority, line["level"].as_str().unwrap().to_owned())
    });
    let levels: Vec<_> = levels.collect();
    assert!(levels.contains(&("<6>", "INFO".to_owned())), "{levels:?}");
    assert!(levels.contains(&("<4>", "WARN".to_owned())), "{levels:?}");
    for other in ["8:1", "''", "$(stat -Lc %d:%i /)"] {
        let log = start(other);
        assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
    }
}
