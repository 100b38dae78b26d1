//! A local file is read on the event loop.

use std::fs;

use crate::harness::{Service, wait_until};

#[test]
fn a_find_in_a_local_file_wakes_no_thread_that_reads() {
    // The connection for it is opened while the service starts, and not waited for.
    wait_until("the event loop has its connection before a find", || {
        let service = Service::start(&[]);
        service.save("John", "1990-05-20");
        let before = waits_of_readers(&service);
        service.get("/hello/John").expect_status(200);
        (waits_of_readers(&service) == before).then_some(())
    });
}

/// How often the threads that read have begun to wait, once both do.
fn waits_of_readers(service: &Service) -> u64 {
    wait_until("the threads that read wait", || {
        let threads = fs::read_dir(format!("/proc/{}/task", service.pid().as_raw_pid())).unwrap();
        // Others may end meanwhile, and a new one names itself.
        let statuses: Vec<String> = threads
            .filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).ok())
            .filter(|status| field(status, "Name") == "reader")
            .collect();
        let waits = |status: &String| field(status, "voluntary_ctxt_switches").parse::<u64>();
        let waiting = statuses.iter().filter(|status| field(status, "State").starts_with('S'));
        (waiting.count() == 2).then(|| statuses.iter().map(|status| waits(status).unwrap()).sum())
    })
}

/// A field of a thread's status (proc(5)).
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let fields = || status.lines().filter_map(|line| line.split_once(":\t"));
    fields().find(|field| field.0 == name).unwrap().1
}
