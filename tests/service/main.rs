//! The real binary, over sockets and signals.

mod harness;
mod openapi;

mod api;
mod cli;
mod durability;
mod files;
mod lifecycle;
