//! Statements that conflict with concurrent ones are repeated, and no request fails.

use crate::cluster::{Cluster, execute, shared};
use crate::commits::Commits;
use crate::harness::{Service, wait_until};
use crate::load::{BUSY, Clients, Load};
use crate::outages::{count, sessions};
use crate::url::role;

#[test]
fn a_statement_that_conflicts_is_repeated_on_its_connection() {
    const CONFLICTS: u8 = 3;
    let url = shared().new_database();
    let service = Service::start(&["--database-url", &url]);
    service.save("John", "1990-05-20");
    let connection = || {
        let saving = format!("{} and query like 'insert into users%'", sessions(&url));
        shared().execute(&format!("select pid {saving}"))
    };
    let before = connection();
    execute(
        &url,
        &format!(
            "create sequence attempts;
             create function conflict() returns trigger language plpgsql as $$ begin
                 if nextval('attempts') <= {CONFLICTS} then
                     raise exception using errcode = tg_argv[0];
                 end if;
                 return new;
             end $$"
        ),
    );
    for (state, born) in [("40001", "1990-05-21"), ("40P01", "1990-05-22")] {
        execute(
            &url,
            &format!(
                "create or replace trigger conflict before insert on users
                 for each row execute function conflict('{state}');
                 alter sequence attempts restart"
            ),
        );
        let retries = count(&service, "retries", "write");
        service.save("John", born);
        assert_eq!(count(&service, "retries", "write") - retries, f64::from(CONFLICTS), "{state}");
        assert_eq!(execute(&url, "select date_of_birth from users"), format!("{born}\n"));
        assert_eq!(connection(), before, "{state}: another connection");
    }
    assert!(!service.log().contains("database connection failed"), "{}", service.log());
}

#[test]
fn instances_that_save_the_same_users_in_serializable_transactions_refuse_no_request() {
    // A commit takes a while to flush, so that statements of two instances meet.
    let server = Cluster::start(&[("commit_delay", "2000"), ("commit_siblings", "0")]);
    let url = server.new_database();
    let name = role(&url);
    server.execute(&format!(
        "alter database {name} set default_transaction_isolation = 'serializable'"
    ));
    let services = [(); 2].map(|()| Service::start(&["--database-url", &url]));
    let same_users = Clients { shared: true, ..BUSY };
    let commits = Commits::start(server.superuser());
    let loads = services.each_ref().map(|service| Load::start(service.address, same_users));
    for service in &services {
        wait_until("its saves conflict", || {
            (count(service, "retries", "write") >= 10.0).then_some(())
        });
    }
    for load in &loads {
        load.wait_for_round();
    }
    let seen = loads.map(Load::stop);
    let longest_away = commits.stop();
    for (seen, service) in seen.iter().zip(&services) {
        seen.expect_none_refused(service, longest_away);
    }
}
