//! A group of instances behind a load balancer, under load: rolled, broken and
//! restarted, and what its clients see of that.
//!
//! To learn how a roll works, read `group` first, then `balancer` and `load`. The cloud's
//! times are shorter here, its parts are real: HAProxy, the binary, a database, networks.
//! That needs root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod balancer;
#[path = "../postgres/cluster.rs"]
mod cluster;
mod group;
#[expect(dead_code, reason = "of what asks a service, the balancer asks most")]
#[path = "../service/harness.rs"]
mod harness;
mod load;
mod network;
#[path = "../service/openapi.rs"]
mod openapi;
#[path = "../patience.rs"]
mod patience;
mod releases;

mod bad_releases;
mod deaths;
mod restarts;
mod rolls;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The database of a service that is given none: none is.
fn database_url(_folder: &Path) -> Option<String> {
    None
}

/// Lets one test after the other have the machine, so that each has its load.
fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    // Who failed has left nothing behind.
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much longer than it should something may take on a busy machine.
const NOISE: Duration = Duration::from_secs(2);

/// The database that the instances share.
#[derive(Debug, Clone, Copy)]
enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    /// A new one, as instances reach it that work in one folder.
    fn create(self) -> String {
        match self {
            Database::Sqlite => "sqlite:birthdays.db".to_owned(),
            Database::Postgres => cluster::shared().new_database(),
        }
    }

    /// What the releases that have served it left there.
    fn schema_version(self, url: &str, folder: &Path) -> u32 {
        let version = "select max(version) from schema_versions";
        match self {
            Database::Sqlite => {
                let file = folder.join(url.strip_prefix("sqlite:").unwrap());
                let file = rusqlite::Connection::open(file).unwrap();
                file.query_row(version, [], |row| row.get(0)).unwrap()
            }
            Database::Postgres => cluster::execute(url, version).trim().parse().unwrap(),
        }
    }
}
