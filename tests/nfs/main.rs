//! SQLite on a real NFSv4.1 share, used by several machines at once.
//!
//! Each machine is a Linux kernel of its own, in user mode, so that the server and
//! every client keep their own caches, locks and leases. That needs root and Debian's
//! user-mode-linux. In reading order: [`network`] is what joins them, [`guest`] is
//! such a machine, [`share`] makes one the server and others its clients, and
//! [`load`] keeps the services on them busy. The machines boot once, and the scenarios
//! take turns.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../cargo.rs"]
pub(crate) mod cargo;
#[path = "../commands.rs"]
pub(crate) mod commands;
#[path = "../debian.rs"]
pub(crate) mod debian;
pub(crate) mod guest;
#[allow(dead_code, reason = "of what starts the service by itself, the client is used")]
#[path = "../service/harness.rs"]
pub(crate) mod harness;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../load.rs"]
pub(crate) mod load;
pub(crate) mod network;
#[path = "../service/openapi.rs"]
pub(crate) mod openapi;
#[path = "../patience.rs"]
pub(crate) mod patience;
pub(crate) mod share;
#[path = "../static_binary.rs"]
pub(crate) mod static_binary;

pub(crate) mod batches;
pub(crate) mod crashes;
pub(crate) mod journal;
pub(crate) mod outages;
pub(crate) mod roll;
pub(crate) mod writing;

use std::path::Path;

pub(crate) use commands::{command, run};

#[test]
fn a_file_on_a_share_has_a_rollback_journal() {
    share::on_share(journal::choose);
}

#[test]
fn a_wal_file_that_came_to_a_share_is_converted() {
    share::on_share(journal::convert);
}

#[test]
fn requests_that_wait_together_cost_the_share_little_more_than_one() {
    share::on_share(batches::count_requests);
}

#[test]
fn two_and_three_clients_that_write_at_once_lose_nothing() {
    share::on_share(writing::write_at_once);
}

#[test]
fn many_that_read_on_one_client_keep_no_other_from_writing() {
    share::on_share(writing::write_beside_readers);
}

#[test]
fn a_roll_over_clients_of_one_share_fails_no_request() {
    share::on_share(roll::roll);
}

#[test]
fn kill_nine_of_a_writer_loses_nothing_and_the_other_client_goes_on() {
    share::on_share(crashes::kill_again_and_again);
}

#[test]
fn a_client_cut_off_with_the_lock_stops_the_others_for_the_lease_alone() {
    share::on_share(outages::cut_off);
}

#[test]
fn a_share_that_hangs_on_one_client_takes_only_that_one_out_of_traffic() {
    share::on_share(outages::hang);
}

#[test]
fn a_server_that_is_restarted_or_loses_power_loses_nothing() {
    share::on_share(outages::restart_and_cut_power);
}

/// The database of a service that is started without a guest: none is.
pub(crate) fn database_url(_folder: &Path) -> Option<String> {
    None
}
