//! Rolls of a group: nobody notices.

use crate::balancer::Balancer;
use crate::group::{Group, Release};
use crate::harness::new_folder;
use crate::load::{Load, Manner, Seen};
use crate::{Database, alone, releases};

/// Each round begins with a new database, so that each has its schema changed.
const ROUNDS: usize = 10;

#[test]
fn twenty_rolls_on_sqlite_fail_no_request() {
    roll_again_and_again(Database::Sqlite);
}

#[test]
fn twenty_rolls_on_postgres_fail_no_request() {
    roll_again_and_again(Database::Postgres);
}

/// Rolls a group to the next release, and that in every other round back, else to the
/// same one again.
fn roll_again_and_again(database: Database) {
    let _alone = alone();
    let previous = Release::good(releases::previous());
    let next = Release::good(releases::next());
    let mut all = Seen::default();
    for round in 0..ROUNDS {
        let balancer = Balancer::start();
        let (url, folder) = (database.create(), new_folder());
        let mut group = Group::start(&balancer, url.clone(), folder.clone(), None, previous);
        let load = Load::start(balancer.address, Manner::Strict);
        assert_eq!(database.schema_version(&url, folder.path()), 1);
        group.roll(next).unwrap();
        assert_eq!(database.schema_version(&url, folder.path()), 2);
        group.roll(if round % 2 == 0 { previous } else { next }).unwrap();
        let seen = load.stop();
        seen.expect_no_failure();
        seen.expect_nothing_lost(group.addresses());
        all.add(seen);
    }
    all.expect_enough_requests();
    let (rolls, back) = (2 * ROUNDS, ROUNDS / 2);
    println!(
        "{rolls} rolls on {database:?}, {ROUNDS} of them to the next release and {back} back: {all}"
    );
}
