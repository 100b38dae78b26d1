//! From the binary to a machine that serves: the units, the role, and an image made
//! with them that is booted and tested.
//!
//! Packer makes the image of a Debian with its own systemd, which boots in a container.
//! That needs root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../cargo.rs"]
mod cargo;
#[path = "../commands.rs"]
mod commands;
mod control_group;
#[path = "../debian.rs"]
mod debian;
#[expect(dead_code, reason = "of what starts the service by itself, the client is used")]
#[path = "../service/harness.rs"]
mod harness;
mod image;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../load.rs"]
mod load;
mod machine;
#[path = "../service/openapi.rs"]
mod openapi;
#[path = "../patience.rs"]
mod patience;
#[path = "../static_binary.rs"]
mod static_binary;
#[path = "../threads.rs"]
mod threads;

mod agent;
mod authorities;
mod backup;
mod bake;
mod database;
mod lints;
mod packages;
mod packer;
mod role;
mod serving;
mod setbacks;
mod units;
mod verify;

use std::path::Path;

use commands::{command, run, said};

/// The database of a service that is started without a machine: none is.
fn database_url(_folder: &Path) -> Option<String> {
    None
}
