//! The journal follows the file system: on a share, nothing is written in WAL mode.

use crate::harness::{Client, wait_until};
use crate::share::{Server, Service, ShareClients};

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

/// Finds which journal a file has.
const MODE: &str = "pragma journal_mode";

pub fn choose(_: &mut Server, [client, other, _]: &ShareClients) {
    let database = &client.database;
    let service = client.start("");
    Client::new(service.address).send("PUT", "/hello/Johannes", BORN).unwrap().expect_status(204);
    wait_until("the journal is logged", || {
        service.log().contains(r#""journal":"truncate""#).then_some(())
    });
    let journal = format!("stat --format=%s {database}-journal");
    assert_eq!(other.guest.run(&journal), "0", "truncated at each commit");
    service.stop();

    let serve =
        format!("timeout 20 /usr/local/bin/hello-birthday --database-url sqlite:{database} 2>&1");
    let (status, said) = client.guest.try_run(&format!("{serve} --sqlite-journal wal"));
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("is on a network file system, where WAL loses data"), "{said}");
    println!("on a share: TRUNCATE is chosen, WAL refused with exit 1");
}

pub fn convert(_: &mut Server, [client, other, _]: &ShareClients) {
    let database = &client.database;
    // Made on a disk of the client's own, and copied with a log that is not empty.
    let made = "/tmp/users.db";
    client.guest.run(&format!(
        "hello-birthday migrate --database-url sqlite:{made} 2>&1 && \
         printf '%s\\n' 'insert into users values (\"Johannes\", \"1990-05-20\");' \
         '.shell cp {made} {database}; cp {made}-wal {database}-wal' | sqlite3 {made}"
    ));
    let bytes = format!("stat --format=%s {database}-wal");
    assert_ne!(client.guest.run(&bytes), "0", "the user is in the log");

    let services = [client, other].map(|client| client.start(""));
    for service in &services {
        let mut client = Client::new(service.address);
        client.send("GET", "/hello/Johannes", "").unwrap().expect_status(200);
        client.send("PUT", "/hello/Johanna", BORN).unwrap().expect_status(204);
    }
    assert_eq!(other.guest.run(&format!("sqlite3 {database} '{MODE}'")), "delete");
    let (_, left) = other.guest.try_run(&format!("ls {database}*"));
    assert!(!left.contains("-wal") && !left.contains("-shm"), "{left}");
    client.expect_sound();
    println!("a WAL file is converted, with what was in its log");
    services.into_iter().for_each(Service::stop);
}
