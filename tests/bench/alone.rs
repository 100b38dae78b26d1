//! SQLite without a service: what the database itself takes of a request.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::process::cpu_seconds;

/// Requests in a transaction: half of the connections, as in the service, where one half waits
/// while the batch of the other runs.
pub const BATCH: usize = 32;

/// Finds or saves users, one transaction after the other, for as long as `time`. Returns the
/// microseconds of processor time that each took.
pub fn measure(
    path: &Path,
    saves: bool,
    time: Duration,
    mut next: impl FnMut() -> (String, String),
) -> f64 {
    let connection = Connection::open(path).expect("a database");
    // As the service sets them.
    for (pragma, value) in [("synchronous", "full"), ("wal_autocheckpoint", "16384")] {
        connection.pragma_update(None, pragma, value).expect("a setting");
    }
    let began = (Instant::now(), cpu_seconds(std::process::id()));
    let mut requests = 0;
    while began.0.elapsed() < time {
        let execute = |sql| connection.prepare_cached(sql).and_then(|mut sql| sql.execute([]));
        execute(if saves { "begin immediate" } else { "begin" }).expect("a transaction");
        for _ in 0..BATCH {
            let (username, born) = next();
            if saves {
                let save = "insert into users (username, date_of_birth) values (?1, ?2)
                    on conflict (username) do update set date_of_birth = excluded.date_of_birth
                    where date_of_birth <> excluded.date_of_birth";
                connection
                    .prepare_cached(save)
                    .and_then(|mut save| save.execute((username, born)))
                    .expect("a save");
            } else {
                let find = "select date_of_birth from users where username = ?1";
                connection
                    .prepare_cached(find)
                    .and_then(|mut find| find.query_row([username], |row| row.get::<_, String>(0)))
                    .expect("a look-up");
            }
        }
        execute("commit").expect("a commit");
        requests += BATCH;
    }
    (cpu_seconds(std::process::id()) - began.1) * 1e6 / requests as f64
}
