//! The roles that Terraform makes in Aurora, where they sign in with a token for a password,
//! which the server asks for in clear text over TLS.

use std::fs;
use std::iter;

use crate::cluster::{Cluster, execute};
use crate::harness::{Failed, Service, new_folder};
use crate::migrate::migrate;
use crate::refusal::failed;
use crate::tls::Authority;

/// What terraform/postgres/make-roles has the master user execute.
const ROLES: &str = include_str!("../../terraform/postgres/roles.sql");

/// The master user, with the rights that RDS gives it, and what else RDS makes.
const MASTER: &str = "create role rds_iam;
    create role hello_admin login createrole createdb password 'master';
    create database hello owner hello_admin";

const OWNERS: &str = "select tablename, tableowner from pg_tables where schemaname = 'public'
    union select datname, pg_get_userbyid(datdba) from pg_database where datname = 'hello'
    order by 1";

#[test]
fn the_owner_migrates_and_the_service_serves_with_tokens() {
    let authority = Authority::new("RDS");
    let cluster = authority.start_server(&["127.0.0.1"], 4000);
    cluster.execute(MASTER);
    cluster.configure(&[("log_connections", "on")]);
    // As RDS has it, where the method is pam, which asks for a password in the same way.
    cluster.configure_hosts(
        "hostssl all +rds_iam all password\nhostssl all all all scram-sha-256\nhost all all all reject",
    );
    cluster.stop_immediate();
    cluster.start_again();

    let trusted = authority.file();
    let url = |user: &str, password: &str| {
        let password = percent_encoded(password);
        format!("postgres://{user}:{password}@127.0.0.1:{}/hello?sslmode=", cluster.port())
    };
    let master = url("hello_admin", "master") + "require";
    execute(&master, ROLES);
    // The second time it changes nothing.
    let before = cluster.execute(CATALOG);
    execute(&master, ROLES);
    assert_eq!(cluster.execute(CATALOG), before);

    let [owner, serving] = ["hello_owner", "hello"].map(|user| {
        let token = token(user, cluster.port());
        cluster.execute(&format!("alter role {user} password '{token}'"));
        url(user, &token)
    });
    let folder = new_folder();
    let flags = |name: &str, url: &str| {
        let file = folder.path().join(name);
        fs::write(&file, format!("{url}verify-full\n")).unwrap();
        let [file, authorities] =
            [file, trusted.path().to_owned()].map(|path| path.display().to_string());
        ["--database-url-file".to_owned(), file, "--postgres-ca-file".to_owned(), authorities]
    };
    let owner = flags("owner", &owner);
    let Failed { status, log } =
        failed(&iter::once("migrate").chain(owner.iter().map(String::as_str)).collect::<Vec<_>>());
    assert!(status.success(), "{log}");
    let serving_flags = flags("serving", &serving);
    let serving_flags = serving_flags.iter().map(String::as_str);
    let service = Service::start(&serving_flags.chain(["--migrate=check"]).collect::<Vec<_>>());
    let use_it = || {
        service.save("John", "1990-05-20");
        service.save("John", "1990-05-21");
        service.get("/hello/John").expect_status(200);
        service.get("/rates").expect_problem(404, "hello-birthday load-rates");
    };
    use_it();
    // A new cluster is not the only one that it is executed in.
    execute(&master, ROLES);
    use_it();
    // Users are copied out of a restored cluster as the master user.
    assert_eq!(execute(&master, "select count(*) from users"), "1\n");
    let inserted = "insert into users values ('Mary', '1990-05-20')";
    expect_refused(&master, inserted, "insufficient_privilege");

    let log = cluster.log();
    for (user, method) in
        [("hello_owner", "password"), ("hello", "password"), ("hello_admin", "scram-sha-256")]
    {
        let authenticated = format!("identity=\"{user}\" method={method}");
        assert!(log.contains(&authenticated), "{authenticated}: {log}");
    }
    for refused in [
        "create table mine (id integer)",
        "drop table users",
        "alter table users add column mine integer",
        "truncate users",
        "delete from users",
        "delete from prices",
        "create schema mine",
        "create role mine",
        "set role hello_owner",
    ] {
        expect_refused(&(serving.clone() + "require"), refused, "insufficient_privilege");
    }
    assert_eq!(cluster.execute("select rolname from pg_roles where rolsuper"), "postgres\n");
}

#[test]
fn the_master_user_is_left_with_its_password() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.execute(MASTER);
    for _ in 0..2 {
        execute(&master_of(&cluster), ROLES);
        // A member of rds_iam, also by another role, signs in with tokens alone.
        let member = "select pg_has_role('hello_admin', 'rds_iam', 'member')";
        assert_eq!(cluster.execute(member), "f\n");
    }
}

#[test]
fn tables_of_whatever_owner_become_the_owners() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.execute(MASTER);
    // Made by a release that served as the master user, and by one that served as another.
    let master = master_of(&cluster);
    migrate(&master);
    execute(&master, "insert into users values ('John', '1990-05-20')");
    cluster.execute("create role hello login; create role stranger");
    let mut session = cluster.session_in("hello");
    session.execute(
        "create table served (id integer); alter table served owner to hello;
         create table strange (id integer); alter table strange owner to stranger;
         alter database hello owner to stranger",
    );
    drop(session);

    execute(&master, ROLES);
    let owners = cluster.session_in("hello").execute(OWNERS);
    assert_eq!(owners.lines().count(), 9, "{owners}");
    assert!(owners.lines().all(|line| line.ends_with("|hello_owner")), "{owners}");
    let [owner, serving] = ["hello_owner", "hello"].map(|user| {
        cluster.execute(&format!("alter role {user} password 'token'"));
        format!("postgres://{user}:token@127.0.0.1:{}/hello", cluster.port())
    });
    migrate(&owner);
    let service = Service::start(&["--database-url", &serving, "--migrate=check"]);
    service.get("/hello/John").expect_status(200);
    service.save("John", "1990-05-21");
}

#[test]
fn a_master_user_that_has_the_name_of_a_role_is_refused() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.execute(&MASTER.replace("hello_admin", "hello_owner"));
    let before = cluster.execute(CATALOG);
    let master = format!("postgres://hello_owner:master@127.0.0.1:{}/hello", cluster.port());
    expect_refused(&master, &format!("execute $roles${ROLES}$roles$"), "raise_exception");
    assert_eq!(cluster.execute(CATALOG), before);
}

/// Who there is, who is a member of whom, and who owns what.
const CATALOG: &str =
    "select rolname, rolcanlogin, rolcreaterole, rolcreatedb from pg_roles order by 1;
    select roleid, member, admin_option from pg_auth_members order by 1, 2;
    select datname, datdba, datacl from pg_database order by 1";

/// Expects that PL/pgSQL's `statement` fails with `condition`.
#[track_caller]
fn expect_refused(url: &str, statement: &str, condition: &str) {
    execute(
        url,
        &format!(
            "do $refused$ begin
                 begin {statement}; exception when {condition} then return; end;
                 raise assert_failure using message = $what$not refused: {statement}$what$;
             end $refused$"
        ),
    );
}

fn master_of(cluster: &Cluster) -> String {
    format!("postgres://hello_admin:master@127.0.0.1:{}/hello", cluster.port())
}

/// A token as `aws rds generate-db-auth-token` prints it, for credentials of a role.
fn token(user: &str, port: u16) -> String {
    let session = "IQoJb3JpZ2luX2VjE%2B%2F%3D".repeat(40);
    format!(
        "127.0.0.1:{port}/?Action=connect&DBUser={user}&X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential=ASIAIOSFODNN7EXAMPLE%2F20261127%2Feu-central-1%2Frds-db%2Faws4_request\
         &X-Amz-Date=20261127T120000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host\
         &X-Amz-Security-Token={session}&X-Amz-Signature={}",
        "0123456789abcdef".repeat(4)
    )
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
