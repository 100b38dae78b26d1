//! The real binary on PostgreSQL servers of the tests' own: the public API and the life
//! of the process as on SQLite, and what happens when the server fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cluster;
mod commits;
#[allow(dead_code, reason = "files and flags are tested elsewhere")]
#[path = "../service/harness.rs"]
mod harness;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../load.rs"]
mod load;
#[path = "../service/openapi.rs"]
mod openapi;
#[path = "../patience.rs"]
mod patience;
mod proxy;
mod refusal;
mod url;
mod waits;

#[path = "../service/api.rs"]
mod api;
#[path = "../service/lifecycle.rs"]
mod lifecycle;

mod batches;
mod conflicts;
mod copy;
mod crashes;
mod erase;
mod failover;
mod migrate;
mod outages;
mod replica;
mod roles;
mod secrets;
mod tls;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

/// The database of the services that work in `folder`, unless a flag names another.
fn database_url(folder: &Path) -> Option<String> {
    static URLS: LazyLock<Mutex<HashMap<PathBuf, String>>> = LazyLock::new(Mutex::default);
    let mut urls = URLS.lock().unwrap();
    let url =
        urls.entry(folder.to_owned()).or_insert_with(|| cluster::shared().new_patient_database());
    Some(url.clone())
}
