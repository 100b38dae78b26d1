//! Keeps dates of birth and greets people; averages freight rates.
//!
//! In reading order: `domain` knows names, dates, birthdays and rates; `store` keeps them, many
//! requests to a batch; `http` serves both over HTTP; `commands` is what the binary does, with
//! the life of the service in `serve`. Imports go from the last to the first of these. The
//! rest is at their edges: `authorities`, `cli`, `clock`, `files`, `lifecycle`, `listener`,
//! `logging`, `metrics`, `reporting` and `systemd`.
//!
//! What is public is for the binary, the tests and the benches.

mod authorities;
mod cli;
mod clock;
mod commands;
pub mod domain;
mod files;
pub mod http;
mod lifecycle;
mod listener;
mod logging;
pub mod metrics;
mod reporting;
pub mod store;
mod systemd;

pub use commands::{build_runtime, main};
