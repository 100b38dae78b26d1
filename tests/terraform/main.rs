//! The cloud: what linters say of it, what holds of every plan, and what happens when
//! it is applied, rolled and destroyed, in an AWS that is emulated on this machine.
//!
//! Terraform and its real provider do what they would do in an account.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../commands.rs"]
mod commands;
mod emulator;
#[path = "../patience.rs"]
mod patience;
mod plans;
mod providers;
mod stack;
mod tree;

mod applied;
mod aurora;
mod bootstrap;
mod costs;
mod dashboard;
mod deploy;
mod diagrams;
mod documentation;
mod errors;
mod lints;
mod permissions;
mod properties;
mod restore;
mod retire;
mod roll;

use commands::{command, run, said};
