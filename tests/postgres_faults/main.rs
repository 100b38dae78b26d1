//! What befalls a service and its PostgreSQL: the real binary, over sockets and
//! signals, on servers of the tests' own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../service/harness.rs"]
mod harness;
mod load;
#[path = "../service/openapi.rs"]
mod openapi;
#[path = "../postgres/mod.rs"]
mod postgres;
mod proxy;
mod refusal;
mod url;

mod black_hole;
mod copy;
mod migrate;
mod replica;
mod secrets;
mod tls;

use std::path::Path;

/// Every test names its database itself.
fn database_url(_folder: &Path) -> Option<String> {
    None
}
