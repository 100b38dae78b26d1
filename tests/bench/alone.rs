//! SQLite without a service: what the database itself takes of a request.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::process::cpu_seconds;

/// Requests in a transaction: half of the connections, as in the service, where one half waits
/// while the batch of the other runs.
pub const BATCH: usize = 32;

/// Finds users, or saves them if `saves`, one transaction after the other, for as long as `time`.
/// `requests` are their names and dates. Returns the microseconds of processor time of each.
pub fn measure(path: &Path, saves: bool, time: Duration, requests: &[(String, String)]) -> f64 {
    let connection = Connection::open(path).expect("a database");
    // As the service sets them.
    for (pragma, value) in [("synchronous", "full"), ("wal_autocheckpoint", "16384")] {
        connection.pragma_update(None, pragma, value).expect("a setting");
    }
    let prepare = |sql| connection.prepare(sql).expect("SQL");
    let mut begin = prepare(if saves { "begin immediate" } else { "begin" });
    let mut commit = prepare("commit");
    let mut find = prepare("select date_of_birth from users where username = ?1");
    let mut save = prepare(
        "insert into users (username, date_of_birth) values (?1, ?2)
         on conflict (username) do update set date_of_birth = excluded.date_of_birth
         where date_of_birth <> excluded.date_of_birth",
    );
    let began = (Instant::now(), cpu_seconds(std::process::id()));
    let mut done = 0;
    let mut requests = requests.iter().cycle();
    while began.0.elapsed() < time {
        begin.execute([]).expect("a transaction");
        for (username, born) in requests.by_ref().take(BATCH) {
            if saves {
                save.execute((username, born)).expect("a save");
            } else {
                let length = find.query_row([username], |row| Ok(row.get_ref(0)?.as_str()?.len()));
                length.expect("a look-up");
            }
        }
        commit.execute([]).expect("a commit");
        done += BATCH;
    }
    (cpu_seconds(std::process::id()) - began.1) * 1e6 / done as f64
}
