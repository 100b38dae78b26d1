//! The real binary, over sockets and signals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../commands.rs"]
mod commands;
mod harness;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../load.rs"]
mod load;
mod openapi;
#[path = "../patience.rs"]
mod patience;

mod access_log;
mod api;
mod backup;
mod caching;
mod cli;
mod connections;
mod documents;
mod durability;
mod erase;
mod event_loop;
mod files;
mod hostile;
mod lifecycle;
mod logs;
mod malformed;
mod panics;
mod reports;
mod shells;
mod slow;
mod smoke;
mod version;

use std::path::Path;

/// The database of processes in `folder`: by default a file there.
fn database_url(_folder: &Path) -> Option<String> {
    None
}
