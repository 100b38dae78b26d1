//! SQLite on a real NFSv4.1 share, used by several machines at once.
//!
//! Each machine is a Linux kernel of its own, in user mode, so that the server and
//! every client keep their own caches, locks and leases. That needs root and Debian's
//! user-mode-linux. In reading order: [`network`] is what joins them, [`guest`] is
//! such a machine, [`share`] makes one the server and others its clients, and
//! [`load`] keeps the services on them busy.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../roll/balancer.rs"]
#[allow(dead_code, reason = "no test target needs all of it")]
mod balancer;
#[path = "../commands.rs"]
mod commands;
#[path = "../debian.rs"]
mod debian;
mod guest;
#[allow(dead_code, reason = "of what starts the service by itself, the client is used")]
#[path = "../service/harness.rs"]
mod harness;
mod load;
#[expect(dead_code, reason = "latencies are measured elsewhere")]
#[path = "../bench/load.rs"]
mod load_many;
mod network;
#[path = "../service/openapi.rs"]
mod openapi;
#[path = "../patience.rs"]
mod patience;
mod share;
#[path = "../static_binary.rs"]
mod static_binary;
#[allow(dead_code, reason = "here the writers go on while the service is away")]
#[path = "../service/writers.rs"]
mod writers;

mod crashes;
mod journal;
mod outages;
mod roll;
mod trips;
mod writing;

use std::path::Path;

use commands::{command, run};

/// The database of a service that is started without a guest: none is.
fn database_url(_folder: &Path) -> Option<String> {
    None
}
