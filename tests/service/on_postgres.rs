//! The real binary on a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "files and flags are tested elsewhere")]
mod harness;
mod openapi;
#[path = "../postgres/mod.rs"]
mod postgres;
mod writers;

mod api;
mod crashes;
mod failover;
mod lifecycle;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

/// The database of those who work in `folder`.
fn database_url(folder: &Path) -> Option<String> {
    static URLS: LazyLock<Mutex<HashMap<PathBuf, String>>> = LazyLock::new(Mutex::default);
    let mut urls = URLS.lock().unwrap();
    let url = urls.entry(folder.to_owned()).or_insert_with(|| postgres::shared().new_database());
    Some(url.clone())
}

/// All users in a database with their dates of birth.
fn read_all(url: &str) -> HashMap<String, String> {
    let rows = postgres::execute(url, "select username, date_of_birth from users");
    let user =
        |row: &str| row.split_once('|').map(|(name, born)| (name.to_owned(), born.to_owned()));
    rows.lines().map(|row| user(row).unwrap()).collect()
}
