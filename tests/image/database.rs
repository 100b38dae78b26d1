//! How a machine fetches where its database is.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::harness::wait_until;
use crate::image::{Copy, UID};
use crate::machine::Machine;

const FETCH: &str = "hello-birthday-database-url.service";
const TIMER: &str = "hello-birthday-database-url.timer";
const URL: &str = "/run/hello-birthday/database-url";

/// Stands in for AWS's command: the secret is in a file, and so is how it was asked.
const AWS: &str =
    "#!/bin/sh\necho \"$AWS_DEFAULT_REGION $*\" >/run/aws-was-asked\nexec cat /etc/secret\n";

#[test]
fn a_rotated_secret_is_fetched_and_seen_by_the_service_alone() {
    let copy = Copy::of_image();
    copy.write("/usr/local/bin/aws", AWS, 0o755);
    let secret = copy.path("/etc/secret");
    fs::write(&secret, r#"{"username":"hello","password":"a/b c%"}"#).unwrap();
    let settings = "AWS_REGION=eu-north-1\nSECRET_ID=the-secret\n\
         DATABASE_URL=postgres://db:5432/hello?sslmode=require\n";
    copy.write("/etc/hello-birthday/secret", settings, 0o600);
    let machine = Machine::boot(copy);
    wait_until("the URL is there", || {
        machine.root().join("run/hello-birthday/database-url").exists().then_some(())
    });
    assert_eq!(machine.property(TIMER, "ActiveState"), "active");
    let after = machine.property(TIMER, "TimersMonotonic");
    assert!(after.contains("OnUnitInactiveUSec=1min "), "{after}");
    // Only the test fetches now.
    machine.run(&["systemctl", "stop", TIMER]);

    assert_eq!(url(&machine), "postgres://hello:a%2Fb%20c%25@db:5432/hello?sslmode=require\n");
    let asked = machine.run(&["cat", "/run/aws-was-asked"]);
    assert!(asked.starts_with("eu-north-1 secretsmanager get-secret-value"), "{asked}");
    assert!(asked.contains("--secret-id the-secret") && !asked.contains("a/b"), "{asked}");
    let file = fs::metadata(machine.root().join("run/hello-birthday/database-url")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (0, UID, 0o640));
    let somebody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", URL];
    assert!(!machine.try_run(&somebody).status.success());
    let service = ["setpriv", "--reuid=590", "--regid=590", "--clear-groups", "cat", URL];
    machine.run(&service);

    let rotated = "postgres://hello:an0ther@db/hello\n";
    fs::write(&secret, rotated).unwrap();
    machine.run(&["systemctl", "start", FETCH]);
    assert_eq!(url(&machine), rotated);
    // What is no secret of ours leaves the last one in place.
    for nonsense in [r#"{"username":"hello"}"#, "", "null", "mysql://hello:first@db/hello", "{"] {
        fs::write(&secret, nonsense).unwrap();
        assert!(!machine.try_run(&["systemctl", "start", FETCH]).status.success(), "{nonsense}");
        assert_eq!(url(&machine), rotated);
    }
    fs::remove_file(&secret).unwrap();
    assert!(!machine.try_run(&["systemctl", "start", FETCH]).status.success());
    assert_eq!(url(&machine), rotated);
    assert_eq!(machine.run(&["ls", "/run/hello-birthday"]), "database-url\n");
    let journal = machine.run(&["journalctl", "--output=export"]);
    for secret in ["an0ther", "a/b c", "a%2Fb"] {
        assert!(!journal.contains(secret), "{secret}");
    }

    // By itself it is fetched again and again; here that is sooner than after a minute.
    let drop_in = "/etc/systemd/system/hello-birthday-database-url.timer.d/sooner.conf";
    let sooner = "[Timer]\nOnActiveSec=\nOnActiveSec=1s\nOnUnitInactiveSec=1s\n";
    machine.copy.write(drop_in, sooner, 0o644);
    machine.run(&["systemctl", "daemon-reload"]);
    machine.run(&["systemctl", "stop", FETCH]);
    machine.run(&["systemctl", "start", TIMER]);
    for rotated in ["postgres://hello:third@db/hello\n", "postgres://hello:fourth@db/hello\n"] {
        fs::write(&secret, rotated).unwrap();
        wait_until("the next fetch", || (url(&machine) == rotated).then_some(()));
    }
}

fn url(machine: &Machine) -> String {
    machine.run(&["cat", URL])
}
