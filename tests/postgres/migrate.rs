//! The schema: which service makes it, when, and with which rights.

use std::process::{Command, Stdio};
use std::thread;

use crate::cluster::{Session, execute, shared};
use crate::harness::{BINARY, Service, clean_environment, new_folder, wait, wait_until};
use crate::outages::{sessions, waiting_for_locks};
use crate::refusal::{failed, refusal};
use crate::url::{password, role};

/// The tables in a database.
const TABLES: &str = "select string_agg(relname, ',' order by relname) from pg_class
    where relnamespace = 'public'::regnamespace and relkind = 'r'";

const VERSIONS: &str = "select * from schema_versions order by version";

/// What they are in this release.
const OURS: &str = "0|0\n1|1\n2|1\n3|1\n4|1\n5|1\n";

#[test]
fn ten_services_that_start_at_once_migrate_once() {
    start_ten_at_once(&shared().new_database());
}

#[test]
fn an_engine_with_one_schema_change_in_a_transaction_and_no_advisory_locks_is_migrated() {
    let url = shared().new_database();
    let refuse_more = "
        do $$ declare lock record; begin
            for lock in select oid::regprocedure as function from pg_proc
                where proname like 'pg%advisory%lock%'
            loop
                execute format('revoke execute on function %s from public', lock.function);
            end loop;
        end $$;
        create function refuse_more() returns event_trigger language plpgsql as $$ begin
            -- It has one as soon as something is written.
            if pg_current_xact_id_if_assigned() is not null then
                raise exception 'one schema change in a transaction, and no data'
                    using errcode = '0A000';
            end if;
        end $$;
        create event trigger refuse_more on ddl_command_start execute function refuse_more()";
    shared().session_in(role(&url)).execute(refuse_more);
    start_ten_at_once(&url);
}

#[test]
fn a_step_that_conflicts_with_another_instance_s_in_serializable_transactions_is_repeated() {
    let url = shared().new_database();
    let serializable = "set default_transaction_isolation = 'serializable'";
    shared().execute(&format!("alter database {} {serializable}", role(&url)));
    let mut other = Session::open(&url);
    other.execute(
        "create table schema_versions (version integer primary key, works_with integer not null);
         begin;
         insert into schema_versions values (0, 0)",
    );
    thread::scope(|scope| {
        let starting = scope.spawn(|| Service::start(&["--database-url", &url]));
        wait_until("its row waits for the other one", || {
            (waiting_for_locks(shared(), &url) == 1).then_some(())
        });
        other.execute("commit");
        starting.join().unwrap().save("John", "1990-05-20");
    });
    assert_eq!(execute(&url, VERSIONS), OURS);
}

fn start_ten_at_once(url: &str) {
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
    assert_eq!(execute(url, VERSIONS), OURS);
}

#[test]
fn an_instance_killed_while_it_migrates_keeps_no_other_from_it() {
    const OTHERS: usize = 4;
    let url = &shared().new_database();
    let mut gate = shared().session_in(role(url));
    // A transaction that creates the table of users waits at the gate before it commits.
    gate.execute(
        "create function wait_at_gate() returns event_trigger language plpgsql as $$ begin
             if exists (select from pg_event_trigger_ddl_commands()
                 where object_identity = 'public.users')
             then
                 perform pg_advisory_xact_lock_shared(1);
             end if;
         end $$;
         create event trigger wait_at_gate on ddl_command_end execute function wait_at_gate();
         select pg_advisory_lock(1)",
    );
    let are_waiting = |count: usize| {
        wait_until("so many wait", || (waiting_for_locks(shared(), url) == count).then_some(()));
    };
    let mut first = Command::new(BINARY);
    clean_environment(&mut first).args(["--migrate=only", "--database-url", url]);
    let mut first = first.stderr(Stdio::null()).spawn().unwrap();
    are_waiting(1);
    thread::scope(|scope| {
        let others: Vec<_> =
            (0..OTHERS).map(|_| scope.spawn(|| Service::start(&["--database-url", url]))).collect();
        are_waiting(1 + OTHERS);
        first.kill().unwrap();
        wait(&mut first);
        // Its statement still waits at the gate, since the server has not noticed. But the lock
        // is free, and the next instance creates the same table.
        wait_until("the lock's connection is closed", || {
            let count = shared().execute(&format!("select count(*) {}", sessions(url)));
            (count.trim() == (1 + 2 * OTHERS).to_string()).then_some(())
        });
        are_waiting(1 + OTHERS);
        drop(gate);
        for other in others {
            other.join().unwrap().save("John", "1990-05-20");
        }
    });
    assert_eq!(execute(url, VERSIONS), OURS);
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
    let readme = include_str!("../../systemd/README.md");
    let roles = readme.split("```sql").nth(1).unwrap().split("```").next().unwrap();
    shared().execute(roles);
    let url = |credentials| format!("postgres://{credentials}@127.0.0.1:{}/hello", shared().port());
    let [owner, serving] = [url("hello_owner:one"), url("hello:another")];
    for migrate in ["auto", "only"] {
        let refused = refusal(&["--database-url", &serving, "--migrate", migrate]);
        assert!(refused.contains("this role may not create the schema"), "{refused}");
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
        ("prices", "create table prices (orig_code text, dest_code text, day date, price integer)"),
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
    execute(&url, "insert into schema_versions values (6, 1)");
    for migrate in ["auto", "check"] {
        let service = Service::start(&["--database-url", &url, "--migrate", migrate]);
        service.save("John", "1990-05-20");
    }
    migrate(&url);

    execute(&url, "update schema_versions set works_with = 6 where version = 6");
    for migrate in ["auto", "check", "only"] {
        let refused = refusal(&["--database-url", &url, "--migrate", migrate]);
        assert!(refused.contains("migrated by a newer release"), "{refused}");
    }
    assert_eq!(execute(&url, VERSIONS), format!("{OURS}6|6\n"));
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
