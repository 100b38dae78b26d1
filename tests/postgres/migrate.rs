//! The schema: which service makes it, when, and with which rights.

use std::thread;

use crate::cluster::{execute, shared};
use crate::harness::{Service, new_folder};
use crate::refusal::{failed, refusal};
use crate::url::{password, role};

/// The tables in a database.
const TABLES: &str = "select string_agg(relname, ',' order by relname) from pg_class
    where relnamespace = 'public'::regnamespace and relkind = 'r'";

#[test]
fn ten_services_that_start_at_once_migrate_once() {
    let url = &shared().new_database();
    let services: Vec<Service> = thread::scope(|scope| {
        let starts: Vec<_> = (0..10)
            .map(|_| scope.spawn(move || Service::start(&["--database-url", url])))
            .collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    services[0].save("John", "1990-05-20");
    for service in &services {
        service.get("/hello/John").expect_status(200);
    }
    assert_eq!(execute(url, "select * from schema_versions"), "1|1\n");
}

#[test]
fn check_refuses_an_empty_database_and_leaves_it_empty() {
    let url = shared().new_database();
    let refused = refusal(&["--database-url", &url, "--migrate=check"]);
    assert!(refused.contains("hello-birthday migrate"), "{refused}");
    assert_eq!(execute(&url, TABLES), "\n");

    let folder = new_folder();
    let file = folder.path().join("users.db");
    let refused =
        refusal(&["--database-url", &format!("sqlite:{}", file.display()), "--migrate=check"]);
    assert!(refused.contains("hello-birthday migrate"), "{refused}");
    assert!(!file.exists());
}

#[test]
fn the_command_migrates_and_check_serves_from_then_on() {
    let folder = new_folder();
    let sqlite = format!("sqlite:{}", folder.path().join("users.db").display());
    for url in [shared().new_database(), sqlite] {
        migrate(&url);
        // Nothing is left to do the second time, whichever way it is asked for.
        expect_migrated(&["--database-url", &url, "--migrate=only"]);
        let service = Service::start(&["--database-url", &url, "--migrate=check"]);
        service.save("John", "1990-05-20");
        service.get("/hello/John").expect_status(200);
    }
}

#[test]
fn the_roles_of_the_readme_migrate_and_serve() {
    let readme = include_str!("../../README.md");
    let roles = readme.split("```sql").nth(1).unwrap().split("```").next().unwrap();
    shared().execute(roles);
    let url = |credentials| format!("postgres://{credentials}@127.0.0.1:{}/hello", shared().port());
    let [owner, serving] = [url("hello_owner:one"), url("hello:another")];
    for migrate in ["auto", "only"] {
        let refused = refusal(&["--database-url", &serving, "--migrate", migrate]);
        assert!(refused.contains("this role may not make the schema"), "{refused}");
        assert!(refused.contains("hello-birthday migrate"), "{refused}");
        assert_eq!(execute(&owner, TABLES), "\n");
    }

    migrate(&owner);
    for migrate in ["check", "auto"] {
        let service = Service::start(&["--database-url", &serving, "--migrate", migrate]);
        service.save("John", "1990-05-20");
        service.save("John", "1990-05-21");
        service.get("/hello/John").expect_status(200);
        service.get("/health").expect_status(200);
    }
    let special = "select count(*) from pg_roles where rolsuper and rolname like 'hello%'";
    assert_eq!(execute(&owner, special), "0\n");
}

#[test]
fn a_role_without_its_grants_learns_which_table_it_may_not_read() {
    let owner = shared().new_database();
    migrate(&owner);
    let serving = new_role(&owner);
    let refused = refusal(&["--database-url", &serving]);
    assert!(refused.contains("schema_versions"), "{refused}");
    // The schema is there already, so making it is not the advice.
    assert!(!refused.contains("hello-birthday migrate"), "{refused}");
}

#[test]
fn tables_of_another_program_are_left_alone() {
    for (name, table) in [
        ("users", "create table users (id integer); insert into users values (7)"),
        ("schema_versions", "create table schema_versions (id integer)"),
    ] {
        let url = shared().new_database();
        execute(&url, table);
        for migrate in ["auto", "only"] {
            let refused = refusal(&["--database-url", &url, "--migrate", migrate]);
            assert!(refused.contains("tables of another program"), "{name}: {refused}");
        }
        assert_eq!(execute(&url, TABLES), format!("{name}\n"));
    }
}

#[test]
fn a_newer_release_is_served_beside_where_that_works() {
    let url = shared().new_database();
    migrate(&url);
    execute(&url, "insert into schema_versions values (2, 1)");
    for migrate in ["auto", "check"] {
        let service = Service::start(&["--database-url", &url, "--migrate", migrate]);
        service.save("John", "1990-05-20");
    }
    migrate(&url);

    execute(&url, "update schema_versions set works_with = 2 where version = 2");
    for migrate in ["auto", "check", "only"] {
        let refused = refusal(&["--database-url", &url, "--migrate", migrate]);
        assert!(refused.contains("made by a newer release"), "{refused}");
    }
    assert_eq!(execute(&url, "select * from schema_versions order by version"), "1|1\n2|2\n");
}

/// Makes the schema, and does not serve.
pub fn migrate(url: &str) {
    expect_migrated(&["migrate", "--database-url", url]);
}

fn expect_migrated(arguments: &[&str]) {
    let ended = failed(arguments);
    assert!(ended.status.success(), "{}", ended.log);
    assert!(ended.log.contains("the database has this release's schema"), "{}", ended.log);
}

/// Another role in the database of `url`, which owns nothing there.
fn new_role(url: &str) -> String {
    let name = format!("serves_{}", role(url));
    shared().execute(&format!("create role {name} login password '{}'", password(url)));
    url.replacen(role(url), &name, 1)
}
