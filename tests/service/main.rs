//! The real binary, over sockets and signals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;
mod openapi;

mod api;
mod cli;
mod connections;
mod durability;
mod files;
mod lifecycle;
mod malformed;
mod slow;
