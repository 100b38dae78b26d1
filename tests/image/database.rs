//! How a machine gets the URL of its database, and makes the tables there.

#[path = "../postgres/cluster.rs"]
mod cluster;

use std::fs;
use std::os::unix::fs::MetadataExt;

use cluster::{Cluster, execute};

use crate::harness::{Client, wait_until};
use crate::image::{Copy, UID};
use crate::machine::Machine;

const FETCH: &str = "hello-birthday-database-url.service";
const TIMER: &str = "hello-birthday-database-url.timer";
const MIGRATE: &str = "hello-birthday-migrate.service";
const SERVICE: &str = "hello-birthday.service";
const FOLDER: &str = "/run/hello-birthday";
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
    expect_readable(&machine, "database-url", true);

    let rotated = "postgres://hello:an0ther@db/hello\n";
    fs::write(&secret, rotated).unwrap();
    fetch(&machine);
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

/// Stands in for the signer: a token names its host and its user, and ends in what is in a file.
const SIGNER: &str = r#"#!/bin/sh
echo "$AWS_DEFAULT_REGION $HOME $*" >>/run/aws-was-asked
signature=$(cat /etc/signature) || exit 255
echo "$4:$6/?Action=connect&DBUser=$8&X-Amz-Security-Token=a%2Bb%2F&X-Amz-Signature=$signature"
"#;

/// Fetches the URL. In a container systemd sometimes finds no cgroup for a unit that has
/// just ended; it then tries again by itself, as the unit says.
fn fetch(machine: &Machine) {
    wait_until("the URL is fetched", || {
        machine.try_run(&["systemctl", "start", FETCH]).status.success().then_some(())
    });
}

#[test]
fn tokens_are_signed_for_each_user_and_host_and_seen_by_those_that_use_them() {
    let copy = Copy::of_image();
    copy.write("/usr/local/bin/aws", SIGNER, 0o755);
    copy.write("/etc/signature", "first", 0o600);
    // As cloud-init writes it.
    let settings = "AWS_REGION=eu-north-1\nDATABASE=hello\nHOST=writer.invalid\nOWNER=hello_owner\n\
         PORT=5432\nREAD_HOST=readers.invalid\nUSER=hello\n";
    copy.write("/etc/hello-birthday/rds", settings, 0o644);
    let signature = copy.path("/etc/signature");
    let machine = Machine::boot(copy);
    wait_until("the URLs are there", || {
        machine.root().join("run/hello-birthday/owner-database-url").exists().then_some(())
    });
    assert_eq!(machine.property(TIMER, "ActiveState"), "active");
    machine.run(&["systemctl", "stop", TIMER]);

    let signed = |user: &str, host: &str, signature: &str| {
        let query =
            format!("Action%3Dconnect%26DBUser%3D{user}%26X-Amz-Security-Token%3Da%252Bb%252F");
        let token = format!("{host}%3A5432%2F%3F{query}%26X-Amz-Signature%3D{signature}");
        format!("postgres://{user}:{token}@{host}:5432/hello\n")
    };
    let expect_signed = |signature: &str| {
        for (name, user, host) in [
            ("database-url", "hello", "writer.invalid"),
            ("read-database-url", "hello", "readers.invalid"),
            ("owner-database-url", "hello_owner", "writer.invalid"),
        ] {
            let url = machine.run(&["cat", &format!("{FOLDER}/{name}")]);
            assert_eq!(url, signed(user, host, signature), "{name}");
            expect_readable(&machine, name, user == "hello");
        }
    };
    expect_signed("first");
    let asked = machine.run(&["cat", "/run/aws-was-asked"]);
    assert!(
        asked.contains(
            "eu-north-1 /tmp rds generate-db-auth-token --hostname readers.invalid --port 5432 --username hello\n"
        ),
        "{asked}"
    );
    assert!(!asked.contains("secretsmanager"), "{asked}");

    fs::write(&signature, "second").unwrap();
    fetch(&machine);
    expect_signed("second");
    // Where nothing is signed, the last URLs stay.
    fs::remove_file(&signature).unwrap();
    assert!(!machine.try_run(&["systemctl", "start", FETCH]).status.success());
    let unable = "#!/bin/sh\necho 'Unable to locate credentials'\n";
    fs::write(machine.root().join("usr/local/bin/aws"), unable).unwrap();
    assert!(!machine.try_run(&["systemctl", "start", FETCH]).status.success());
    expect_signed("second");
    let names = machine.run(&["ls", FOLDER]);
    assert_eq!(names, "database-url\nowner-database-url\nread-database-url\n");
    let journal = machine.run(&["journalctl", "--output=export"]);
    assert!(!journal.contains("X-Amz-Signature"), "a token is in the journal");
}

#[test]
fn the_owner_of_the_tables_migrates_before_the_service_starts() {
    let copy = Copy::of_image();
    copy.write("/usr/local/bin/aws", SIGNER, 0o755);
    copy.write("/etc/signature", "valid", 0o600);
    let machine = Machine::boot(copy);
    // In the machine's network, where this thread is now.
    let cluster = Cluster::start(&[("fsync", "off")]);
    let port = cluster.port();
    cluster.execute(
        "create role rds_iam;
         create role hello_admin login createrole createdb password 'master';
         create database hello owner hello_admin",
    );
    let master = format!("postgres://hello_admin:master@127.0.0.1:{port}/hello");
    execute(&master, include_str!("../../terraform/postgres/roles.sql"));
    for user in ["hello", "hello_owner"] {
        cluster.execute(&format!(
            "alter role {user} password '127.0.0.1:{port}/?Action=connect&DBUser={user}\
             &X-Amz-Security-Token=a%2Bb%2F&X-Amz-Signature=valid'"
        ));
    }
    // What cloud-init writes is there before the units start.
    let start = || {
        machine.run(&["systemctl", "start", "multi-user.target"]);
        machine.run(&["systemctl", "start", "hello-birthday.timer"]);
    };
    let stop = || {
        let units =
            ["hello-birthday.socket", "hello-birthday.timer", SERVICE, MIGRATE, TIMER, FETCH];
        machine.run(&[&["systemctl", "stop"], &units[..]].concat());
    };
    stop();
    let settings = format!(
        "AWS_REGION=eu-north-1\nDATABASE=hello\nHOST=127.0.0.1\nOWNER=hello_owner\nPORT={port}\nUSER=hello\n"
    );
    fs::write(machine.root().join("etc/hello-birthday/rds"), settings).unwrap();
    let flags = format!("HELLO_BIRTHDAY_DATABASE_URL_FILE={URL}\nHELLO_BIRTHDAY_MIGRATE=check\n");
    fs::write(machine.root().join("etc/hello-birthday/host"), flags).unwrap();

    start();
    machine.wait_for(SERVICE, "ActiveState", "active");
    // The service did not have to start twice, as it would have without the tables.
    assert_eq!(machine.property(SERVICE, "NRestarts"), "0", "{}", machine.journal());
    assert_eq!(machine.property(MIGRATE, "ActiveState"), "active");
    machine.wait_until_healthy();
    let save = || {
        let body = r#"{"dateOfBirth":"1990-05-20"}"#;
        Client::new(machine.address).send("PUT", "/hello/John", body).unwrap().expect_status(204);
    };
    save();
    let mut database = cluster.session_in("hello");
    let owners = "select distinct tableowner from pg_tables where schemaname = 'public'";
    assert_eq!(database.execute(owners), "hello_owner\n");
    let users =
        "select distinct usename from pg_stat_activity where application_name = 'hello-birthday'";
    assert_eq!(database.execute(users), "hello\n");
    // What changes the schema does not lie around.
    fetch(&machine);
    assert_eq!(machine.run(&["ls", FOLDER]), "database-url\n");

    // A schema that is there already is served without its owner.
    stop();
    cluster.execute("alter role hello_owner nologin");
    start();
    machine.wait_until_healthy();
    save();
    assert_ne!(machine.property(MIGRATE, "ActiveState"), "active");
    machine.wait_for(SERVICE, "NRestarts", "0");

    // One that is not there is waited for.
    stop();
    database.execute("drop table users, schema_versions");
    start();
    wait_until("the service refuses an empty database", || {
        machine.journal().contains("hello-birthday migrate").then_some(())
    });
    assert!(!machine.is_healthy());
    cluster.execute("alter role hello_owner login");
    machine.wait_for(MIGRATE, "ActiveState", "active");
    machine.wait_until_healthy();
    save();
}

/// Expects that root has written a file of the folder, which the service can read or not, and
/// nobody else can.
#[track_caller]
fn expect_readable(machine: &Machine, name: &str, by_service: bool) {
    let file = fs::metadata(machine.root().join("run/hello-birthday").join(name)).unwrap();
    let mode = if by_service { 0o640 } else { 0o600 };
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (0, UID, mode), "{name}");
    for (user, can_read) in [(UID, by_service), (65534, false)] {
        let [user, group] = ["reuid", "regid"].map(|name| format!("--{name}={user}"));
        let read = ["setpriv", &user, &group, "--clear-groups", "cat", &format!("{FOLDER}/{name}")];
        assert_eq!(machine.try_run(&read).status.success(), can_read, "{name} by {user}");
    }
}

fn url(machine: &Machine) -> String {
    machine.run(&["cat", URL])
}
