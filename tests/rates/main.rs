//! Rates on both databases, through the real binary: what `/rates` answers, which dumps are loaded
//! and which are refused, and what readers and savers see meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../postgres/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../service/harness.rs"]
mod harness;
#[path = "../service/openapi.rs"]
mod openapi;
#[path = "../patience.rs"]
mod patience;
#[path = "../threads.rs"]
mod threads;

mod databases;
mod dump;

mod answers;
mod dumps;
mod meanwhile;
mod random;
mod roles;

use std::path::Path;

/// The database of processes in `folder`, unless a flag names one.
fn database_url(_folder: &Path) -> Option<String> {
    None
}
