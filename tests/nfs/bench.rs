//! Measures the service on a share: `cargo bench --bench nfs`, as root.
//!
//! The scenarios are those of the tests, which print what they saw and how long it took.

#[path = "../bench/load.rs"]
mod load_many;
#[allow(dead_code, reason = "what needs no measuring is left to the tests")]
#[path = "main.rs"]
mod suite;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use load_many::{MakeRequest, Until};
use share::{Server, ShareClients, on_share};
use suite::*;
use writing::ROUND_TRIP;

const CONNECTIONS: usize = 64;
const USERS: u64 = 1_000;

/// Rounds in which the services take turns; figures are medians over them.
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(5);

fn main() {
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if !parts.is_empty() && !parts.iter().any(|part| part == "nfs") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("nothing is measured on a share: only root can boot its machines");
        return;
    }
    for scenario in [
        throughput,
        batches::count_requests,
        roll::roll,
        writing::write_at_once,
        writing::write_beside_readers,
        crashes::kill_again_and_again,
        outages::cut_off,
        outages::restart_and_cut_power,
    ] {
        println!();
        on_share(scenario);
    }
}

/// Requests a second, where each message takes its time.
fn throughput(server: &mut Server, [client, ..]: &ShareClients) {
    let services = ["--store-batch-max 1", ""].map(|flags| client.start(flags));
    let [alone, together] = services.each_ref().map(|service| service.address);
    load_many::run(together, CONNECTIONS, Until::Requests(USERS), "204", Arc::new(put));
    server.set_round_trip(ROUND_TRIP);
    println!("{CONNECTIONS} connections, {ROUND_TRIP:?} a round trip, medians of {ROUNDS} rounds:");
    println!("| | batches of one | hello-birthday | ratio |\n|---|---|---|---|");
    let kinds: [(&str, &str, MakeRequest); 2] =
        [("GET", "200", Arc::new(get)), ("PUT", "204", Arc::new(put))];
    for (method, status, make) in kinds {
        let rounds: [[f64; 3]; ROUNDS] = std::array::from_fn(|_| {
            let [alone, together] = [alone, together].map(|address| {
                let until = Until::Elapsed(ROUND);
                let seen = load_many::run(address, CONNECTIONS, until, status, make.clone());
                seen.requests as f64 / seen.elapsed.as_secs_f64()
            });
            [alone, together, together / alone]
        });
        let [alone, together, ratio] = [0, 1, 2].map(|figure| {
            let mut figures = rounds.map(|round| round[figure]);
            figures.sort_by(f64::total_cmp);
            figures[ROUNDS / 2]
        });
        println!("| {method}s/s | {alone:.0} | {together:.0} | {ratio:.0} |");
    }
    mixed(together);
    server.set_round_trip(Duration::ZERO);
    services.into_iter().for_each(share::Service::stop);
}

/// Half of the connections find and half save.
fn mixed(service: SocketAddr) {
    let half = CONNECTIONS / 2;
    println!("mixed, {half} connections find, {half} save:");
    println!("| | requests/s | p50 ms | p99 ms | slowest ms |\n|---|---|---|---|---|");
    let run = move |status, make: MakeRequest| {
        move || load_many::run(service, half, Until::Elapsed(ROUND * 3), status, make)
    };
    let finding = thread::spawn(run("200", Arc::new(get)));
    let saving = thread::spawn(run("204", Arc::new(put)));
    for (method, client) in [("GET", finding), ("PUT", saving)] {
        let seen = client.join().expect("the load runs");
        let per_second = seen.requests as f64 / seen.elapsed.as_secs_f64();
        let [p50, p99, slowest] =
            [0.5, 0.99, 1.0].map(|share| seen.latency(share).as_secs_f64() * 1e3);
        println!("| {method} | {per_second:.0} | {p50:.0} | {p99:.0} | {slowest:.0} |");
    }
}

fn get(number: u64, request: &mut Vec<u8>) {
    request.extend(harness::request("GET", &path(number), "", "").bytes());
}

/// Saves dates that change, as SQLite does not write one that stays the same.
fn put(number: u64, request: &mut Vec<u8>) {
    let (year, month, day) = (1920 + number % 97, 1 + number % 12, 1 + number % 28);
    let body = format!(r#"{{"dateOfBirth":"{year}-{month:02}-{day:02}"}}"#);
    request.extend(harness::request("PUT", &path(number), "", &body).bytes());
}

/// One user after the other, so that saves are spread over the file.
fn path(number: u64) -> String {
    // Odd, so that every user has a turn.
    let user = number.wrapping_mul(617) % USERS;
    format!("/hello/{}", harness::letters(user as usize))
}
