//! How an overloaded service answers, and how large it gets: `cargo bench --bench overload`.

#[allow(dead_code, unused_imports, reason = "tests need more of it")]
#[path = "main.rs"]
mod suite;

use std::thread::sleep;
use std::time::Duration;

use load::{BUSY, Clients};
use overload::{Overload, start, withstand};
use suite::*;

/// Saves in a batch, and what it takes where the database is slow.
const BATCH_MAX: u32 = 512;
const BATCH_TAKES: Duration = Duration::from_millis(500);

/// Times what it can take that the clients try to send. Those that wait send nothing.
const TIMES: u32 = 15;

const OVERLOAD: Duration = Duration::from_secs(15);

fn main() {
    let database = cluster::shared().new_database();
    let service =
        start(&["--database-url", &database, "--store-batch-max", &BATCH_MAX.to_string()]);
    let seconds = BATCH_TAKES.as_secs_f64();
    cluster::execute(
        &database,
        &format!(
            "create function dawdle() returns trigger language plpgsql as
             $$ begin perform pg_sleep({seconds}); return null; end $$;
             create trigger dawdle before insert on users
             for each statement execute function dawdle()"
        ),
    );
    let can_take = f64::from(BATCH_MAX) / seconds;
    println!("a database that takes {can_take:.0} saves a second:");
    let per_second = TIMES * can_take as u32;
    let saving = Clients { per_second, finds: false, patient: false, ..BUSY };
    print(withstand(&service, saving, |_| sleep(OVERLOAD)));

    println!("as many requests as are answered:");
    let tireless = Clients { patient: false, ..BUSY };
    print(withstand(&start(&[]), tireless, |_| sleep(OVERLOAD)));
}

fn print(overload: Overload) {
    let Overload { seen, peak_mib, normal_after } = overload;
    println!("  {seen}; {peak_mib:.0} MiB; normal after {normal_after:.1?}");
    let failed = seen.failed.iter().map(|failure| failure.took).collect();
    for (what, mut latencies) in [("served", seen.latencies), ("failed", failed)] {
        latencies.sort_unstable();
        let quantile = |share: f64| {
            let last = latencies.len().saturating_sub(1) as f64;
            latencies.get((last * share) as usize).copied().unwrap_or_default()
        };
        println!(
            "  {what}: {:.0}/s, median {:.1?}, p99 {:.1?}",
            latencies.len() as f64 / seen.elapsed.as_secs_f64(),
            quantile(0.5),
            quantile(0.99),
        );
    }
}
