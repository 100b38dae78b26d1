//! The pipeline: the workflows of .github/ walked from a merge to production, as GitHub would
//! run them, against an emulated AWS; and the scripts that they call.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../commands.rs"]
mod commands;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../terraform/emulator.rs"]
mod emulator;
mod github;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../service/harness.rs"]
mod harness;
#[path = "../service/openapi.rs"]
mod openapi;
#[path = "../patience.rs"]
mod patience;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../terraform/providers.rs"]
mod providers;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../terraform/tree.rs"]
mod tree;

mod account;
mod expressions;
mod guard;
mod lints;
mod notify;
mod plan_summary;
mod release;
mod runbook;
mod runner;
mod walk;
mod window;

use std::path::Path;

use commands::{command, run, said};

/// The database of processes in `folder`: by default a file there.
fn database_url(_folder: &Path) -> Option<String> {
    None
}
