//! Requests that wait together share a statement.

use std::thread;

use crate::cluster::{Session, shared};
use crate::harness::{Service, wait_until};
use crate::outages::waiting_for_locks;
use crate::url::role;

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

/// Requests that wait behind those in flight.
const WAITING: u8 = 20;

#[test]
fn saves_that_wait_together_are_one_statement() {
    expect_one_statement("write", 1, "insert into users", ("PUT", BORN, 204));
}

#[test]
fn finds_that_wait_together_are_one_statement() {
    expect_one_statement("read", 2, "select username, date_of_birth", ("GET", "", 200));
}

/// Keeps all `connections` for batches of `kind` busy while requests arrive, and counts
/// what the server executes.
fn expect_one_statement(
    kind: &str,
    connections: usize,
    statement: &str,
    (method, body, success): (&str, &str, u16),
) {
    let url = shared().new_database();
    shared().execute(&format!("alter role {} set log_statement = 'all'", role(&url)));
    let service = Service::start(&["--database-url", &url]);
    let users: Vec<String> =
        (0..WAITING).map(|number| format!("User{}", char::from(b'a' + number))).collect();
    for user in &users {
        service.save(user, "1990-05-21");
    }
    let executed = || {
        let log = shared().log();
        let mut lines: Vec<&str> =
            log.lines().filter(|line| line.starts_with(role(&url))).collect();
        lines.retain(|line| line.contains("execute") && line.contains(statement));
        lines.len()
    };
    let batches =
        || service.metric(&format!("hello_birthday_store_batch_requests_count{{kind=\"{kind}\"}}"));
    let queued =
        || service.metric(&format!("hello_birthday_store_queue_length{{kind=\"{kind}\"}}"));
    let before = (executed(), batches());

    let mut locking = Session::open(&url);
    locking.execute("begin; lock table users in access exclusive mode");
    let send = |user: &str| {
        service.request(method, &format!("/hello/{user}"), body).expect_status(success);
    };
    thread::scope(|scope| {
        for in_flight in 1..=connections {
            scope.spawn(|| send(&users[0]));
            wait_until("a statement waits for the lock", || {
                (waiting_for_locks(shared(), &url) == in_flight).then_some(())
            });
        }
        for user in &users {
            scope.spawn(|| send(user));
        }
        wait_until("the others are queued", || (queued() == f64::from(WAITING)).then_some(()));
        drop(locking);
    });
    let statements = connections + 1;
    assert_eq!(executed() - before.0, statements, "statements");
    assert_eq!(batches() - before.1, statements as f64, "batches");
}
