//! Keeps dates of birth and greets people.
//!
//! In reading order: [`domain`] knows names, dates and birthdays; [`store`]
//! keeps them, many requests to a trip; [`http`] serves both over HTTP; [`app`]
//! is the life of the process. The rest is at its edges: [`cli`], [`clock`],
//! [`logging`], [`metrics`], [`shutdown`], [`systemd`], and the commands
//! [`copy`] and [`health`].

pub mod app;
pub mod cli;
pub mod clock;
pub mod copy;
pub mod domain;
pub mod health;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod shutdown;
pub mod store;
pub mod systemd;
