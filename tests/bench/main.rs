//! Measures the service beside what it is compared with, in one run on one
//! machine: `cargo bench`, or `cargo bench -- PART...` for some of it.
//!
//! Absolute times differ between machines and moments; ratios hold. `BESIDE=BINARY` measures another
//! build of the service in turn with this one. `CHART=FILE` draws the requests per second of the
//! parts `get` and `put`.

mod alone;
mod chart;
#[path = "../postgres/cluster.rs"]
mod cluster;
mod load;
#[path = "../patience.rs"]
mod patience;
mod process;
mod servers;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chart::Group;
use cluster::Cluster;
use load::{MakeRequest, Seen, Until};
use process::Server;
use servers::{Constant, OneByOne};
use tempfile::TempDir;

const SERVICE: &str = env!("CARGO_BIN_EXE_hello-birthday");
/// What this is a bench of, among the servers that it is measured beside.
const OURS: &str = "hello-birthday";
const CONNECTIONS: usize = 64;
/// Rounds in which the servers take turns; figures are medians over them.
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_secs(3);
const USERS: u64 = 10_000;
const MANY_USERS: u64 = 1_000_000;
const IDLE_CONNECTIONS: usize = 5_000;
const STARTS: usize = 21;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", "constant"] => servers::serve(Constant),
        ["serve", "one-by-one", path] => servers::serve(OneByOne::open(Path::new(path))),
        _ => {}
    }
    let wanted = |name: &str| args.is_empty() || args.iter().any(|arg| arg == name);
    let kinds = [("get", GET), ("put", PUT)].into_iter().filter(|(name, _)| wanted(name));
    let groups: Vec<Group> = kinds.map(|(_, kind)| on_sqlite(kind)).collect();
    if let Some(file) = std::env::var_os("CHART") {
        std::fs::write(file, chart::draw(&groups, OURS)).expect("the chart is written");
    }
    let parts: [(&str, fn()); 7] = [
        ("mixed", mixed),
        ("postgres", on_postgres),
        ("memory", memory),
        ("start", start),
        ("million", million),
        ("cold", cold),
        ("copy", copy),
    ];
    for (name, part) in parts {
        if wanted(name) {
            part();
        }
    }
}

/// A kind of request, and what it is answered with.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    status: &'static str,
    make: fn(u64, u64, &mut Vec<u8>),
}

const GET: Kind = Kind { name: "GET", status: "200", make: make_get };
const PUT: Kind = Kind { name: "PUT", status: "204", make: make_put };

/// What one server used and how long its clients waited, a round each.
#[derive(Default)]
struct Rounds {
    cpu_micros: Vec<f64>,
    per_second: Vec<f64>,
    p50_millis: Vec<f64>,
    p99_millis: Vec<f64>,
    slowest_millis: Vec<f64>,
    lone_micros: Vec<f64>,
}

impl Rounds {
    fn observe(&mut self, seen: &Seen) {
        self.per_second.push(seen.requests as f64 / seen.elapsed.as_secs_f64());
        self.p50_millis.push(seen.latency(0.5).as_secs_f64() * 1e3);
        self.p99_millis.push(seen.latency(0.99).as_secs_f64() * 1e3);
        self.slowest_millis.push(seen.latency(1.0).as_secs_f64() * 1e3);
    }
}

/// Returns the requests that each server answered in a second.
fn on_sqlite(kind: Kind) -> Group {
    let folder = TempDir::new().expect("a folder");
    let ours = start_service(folder.path(), "users.db", &[]);
    fill(ours.address, USERS);
    drop(ours);
    for copy in ["copy", "ones", "alone", "beside"] {
        for suffix in ["", "-wal"] {
            let [from, to] = ["users", copy].map(|name| format!("{name}.db{suffix}"));
            std::fs::copy(folder.path().join(from), folder.path().join(to)).expect("a copy");
        }
    }

    let mut servers = vec![
        ("constant answer", start_other(folder.path(), &["serve", "constant"])),
        ("one by one", start_other(folder.path(), &["serve", "one-by-one", "copy.db"])),
        ("batches of one", start_service(folder.path(), "ones.db", &["--store-batch-max=1"])),
        (OURS, start_service(folder.path(), "users.db", &[])),
    ];
    servers.extend(start_beside(folder.path(), "sqlite:beside.db", &[]));
    let per_second = side_by_side(kind, &servers);
    // Several for each user, so that saves change the date again in the next cycle.
    let requests: Vec<(String, String)> = (0..10 * USERS)
        .map(|number| {
            let mut name = Vec::new();
            push_name(random(number) % USERS, &mut name);
            (String::from_utf8(name).expect("letters"), date(number))
        })
        .collect();
    let saves = kind.name == PUT.name;
    let alone = (0..ROUNDS)
        .map(|_| alone::measure(&folder.path().join("alone.db"), saves, ROUND, &requests));
    println!(
        "SQLite alone, {} requests in a transaction: {:.2} µs of CPU for each",
        alone::BATCH,
        median(&alone.collect::<Vec<_>>())
    );
    let names = servers.iter().map(|(name, _)| name.to_string());
    Group { title: format!("{}s per second", kind.name), bars: names.zip(per_second).collect() }
}

/// Half of the connections find and half save, in every kind of database.
fn mixed() {
    let folder = TempDir::new().expect("a folder");
    let cluster = Cluster::start(&[]);
    for journal in ["wal", "truncate"] {
        let flag = format!("--sqlite-journal={journal}");
        let [url, beside] = ["users", "beside"].map(|name| format!("sqlite:{journal}-{name}.db"));
        mixed_on(journal, folder.path(), [&url, &beside], &[&flag]);
    }
    let urls = [cluster.new_database(), cluster.new_database()];
    mixed_on("PostgreSQL", folder.path(), [&urls[0], &urls[1]], &[]);
}

fn mixed_on(name: &str, folder: &Path, [url, beside_url]: [&str; 2], flags: &[&str]) {
    let mut servers = vec![(OURS, start_service_on(folder, url, flags))];
    servers.extend(start_beside(folder, beside_url, flags));
    for (_, server) in &servers {
        fill(server.address, USERS);
    }
    let mut rounds: Vec<[Rounds; 2]> = servers.iter().map(|_| Default::default()).collect();
    for number in 0..ROUNDS {
        for ((_, server), rounds) in servers.iter().zip(&mut rounds) {
            std::thread::scope(|scope| {
                for (kind, rounds) in [GET, PUT].into_iter().zip(rounds) {
                    scope.spawn(move || {
                        let make = requests(kind, USERS, number as u64 * 1_000_003);
                        let until = Until::Elapsed(ROUND);
                        let connections = CONNECTIONS / 2;
                        let seen = load::run(server.address, connections, until, kind.status, make);
                        rounds.observe(&seen);
                    });
                }
            });
        }
    }
    let half = CONNECTIONS / 2;
    println!("\nMixed, {name}: {half} connections find, {half} save");
    println!("| server | | requests/s | p50 ms | p99 ms | slowest ms |");
    println!("|---|---|---|---|---|---|");
    for ((server, _), rounds) in servers.iter().zip(&rounds) {
        for (kind, rounds) in [GET, PUT].iter().zip(rounds) {
            print_latencies(server, kind.name, rounds);
        }
    }
}

fn print_latencies(server: &str, requests: &str, rounds: &Rounds) {
    println!(
        "| {server} | {requests} | {:.0} | {:.2} | {:.2} | {:.1} |",
        median(&rounds.per_second),
        median(&rounds.p50_millis),
        median(&rounds.p99_millis),
        rounds.slowest_millis.iter().copied().fold(0.0, f64::max),
    );
}

/// The server and its database share the processors.
fn on_postgres() {
    let folder = TempDir::new().expect("a folder");
    let cluster = Cluster::start(&[]);
    let start = |flags: &[&str]| {
        let service = start_service_on(folder.path(), &cluster.new_database(), flags);
        fill(service.address, USERS);
        service
    };
    let servers = [
        ("constant answer", start_other(folder.path(), &["serve", "constant"])),
        ("batches of one", start(&["--store-batch-max=1"])),
        (OURS, start(&[])),
    ];
    for kind in [GET, PUT] {
        println!("\nOn PostgreSQL:");
        let per_second = side_by_side(kind, &servers);
        let times = per_second[2] / per_second[1];
        println!("{times:.1} times the {}s a second of batches of one", kind.name);
    }
}

/// Returns the requests that each of `servers` answered in a second.
fn side_by_side(kind: Kind, servers: &[(&str, Server)]) -> Vec<f64> {
    let mut rounds: Vec<Rounds> = servers.iter().map(|_| Rounds::default()).collect();
    for number in 0..ROUNDS {
        for ((_, server), rounds) in servers.iter().zip(&mut rounds) {
            measure(server, kind, number, rounds);
        }
    }
    println!(
        "\n{} at {CONNECTIONS} connections; medians of {ROUNDS} rounds of {} s in turn",
        kind.name,
        ROUND.as_secs()
    );
    println!(
        "| server | CPU µs/request | ratio | requests/s | p50 ms | p99 ms | lone request µs |"
    );
    println!("|---|---|---|---|---|---|---|");
    let base = median(&rounds[0].cpu_micros);
    for ((name, _), rounds) in servers.iter().zip(&rounds) {
        let cpu = median(&rounds.cpu_micros);
        println!(
            "| {name} | {cpu:.2} | {:.2} | {:.0} | {:.2} | {:.2} | {:.0} |",
            cpu / base,
            median(&rounds.per_second),
            median(&rounds.p50_millis),
            median(&rounds.p99_millis),
            median(&rounds.lone_micros),
        );
    }
    rounds.iter().map(|rounds| median(&rounds.per_second)).collect()
}

fn measure(server: &Server, kind: Kind, number: usize, rounds: &mut Rounds) {
    // Every round saves dates that the one before did not.
    let make = requests(kind, USERS, number as u64 * 1_000_003);
    let before = server.cpu_seconds();
    let until = Until::Elapsed(ROUND);
    let seen = load::run(server.address, CONNECTIONS, until, kind.status, make.clone());
    let cpu = server.cpu_seconds() - before;
    rounds.cpu_micros.push(cpu * 1e6 / seen.requests as f64);
    rounds.observe(&seen);
    let lone = load::run(server.address, 1, Until::Requests(3000), kind.status, make);
    rounds.lone_micros.push(lone.latency(0.5).as_secs_f64() * 1e6);
}

fn memory() {
    let folder = TempDir::new().expect("a folder");
    let service = start_service(folder.path(), "users.db", &[]);
    let started = service.resident_mib();
    fill(service.address, USERS);
    let half = Until::Requests(500_000);
    for kind in [PUT, GET] {
        load::run(service.address, CONNECTIONS, half, kind.status, requests(kind, USERS, 7));
    }
    println!("\nresident memory: {started:.1} MiB at start");
    println!("{:.1} MiB after 500,000 PUTs and 500,000 GETs", service.resident_mib());
    drop(service);

    let service = start_service(folder.path(), "users.db", &[]);
    let idle: Vec<TcpStream> =
        (0..IDLE_CONNECTIONS).map(|_| idle_after_one_get(service.address)).collect();
    println!("{:.1} MiB with {} idle connections", service.resident_mib(), idle.len());
}

fn start() {
    let folder = TempDir::new().expect("a folder");
    fill(start_service(folder.path(), "users.db", &[]).address, USERS);
    let starts: Vec<f64> = (0..STARTS)
        .map(|_| start_service(folder.path(), "users.db", &[]).ready_after.as_secs_f64() * 1e3)
        .collect();
    let slowest = starts.iter().copied().fold(0.0, f64::max);
    println!("\nready after exec: {:.1} ms median, {slowest:.1} ms at most", median(&starts));
}

fn million() {
    let folder = TempDir::new().expect("a folder");
    let few = start_service(folder.path(), "few.db", &[]);
    fill(few.address, USERS);
    let many = start_service(folder.path(), "many.db", &[]);
    fill(many.address, MANY_USERS);
    let mut rounds = [Rounds::default(), Rounds::default()];
    for number in 0..ROUNDS {
        for (at, (server, users)) in [(&few, USERS), (&many, MANY_USERS)].into_iter().enumerate() {
            let before = server.cpu_seconds();
            let make = requests(GET, users, number as u64 * 1_000_003);
            let seen = load::run(server.address, CONNECTIONS, Until::Elapsed(ROUND), "200", make);
            let cpu = server.cpu_seconds() - before;
            rounds[at].cpu_micros.push(cpu * 1e6 / seen.requests as f64);
        }
    }
    let [few, many] = rounds.map(|rounds| median(&rounds.cpu_micros));
    println!("\nGET of a random one of {USERS} users: {few:.2} µs CPU");
    println!("of {MANY_USERS} users: {many:.2} µs CPU, ratio {:.2}", many / few);
}

/// A million users of whom the kernel forgets every page again and again, as where memory is short.
/// `GET /` asks no database: its latency shows how long lookups hold up the event loop.
fn cold() {
    let folder = TempDir::new().expect("a folder");
    let mut servers = vec![(OURS, "users.db", start_service(folder.path(), "users.db", &[]))];
    if let Some((name, server)) = start_beside(folder.path(), "sqlite:beside.db", &[]) {
        servers.push((name, "beside.db", server));
    }
    for (_, _, server) in &servers {
        fill(server.address, MANY_USERS);
    }
    for forget_every in [Duration::from_millis(5), Duration::from_millis(50)] {
        let mut rounds: Vec<[Rounds; 2]> = servers.iter().map(|_| Default::default()).collect();
        for number in 0..ROUNDS {
            for ((_, file, server), [gets, roots]) in servers.iter().zip(&mut rounds) {
                let is_over = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        while !is_over.load(Ordering::Relaxed) {
                            forget(&folder.path().join(file));
                            forget(&folder.path().join(format!("{file}-wal")));
                            std::thread::sleep(forget_every);
                        }
                    });
                    let until = Until::Elapsed(ROUND);
                    let root = Arc::new(|_, request: &mut Vec<u8>| {
                        request.extend(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
                    });
                    scope.spawn(move || {
                        roots.observe(&load::run(server.address, 1, until, "200", root))
                    });
                    let make = requests(GET, MANY_USERS, number as u64 * 1_000_003);
                    gets.observe(&load::run(server.address, CONNECTIONS, until, "200", make));
                    is_over.store(true, Ordering::Relaxed);
                });
            }
        }
        println!("\n{MANY_USERS} users, their pages forgotten every {forget_every:?}");
        println!("| server | | requests/s | p50 ms | p99 ms | slowest ms |");
        println!("|---|---|---|---|---|---|");
        for ((server, _, _), [gets, roots]) in servers.iter().zip(&rounds) {
            print_latencies(server, "GET", gets);
            print_latencies(server, "GET /", roots);
        }
    }
}

/// Has the kernel drop the pages of a file that it need not write first (posix_fadvise(2)).
fn forget(path: &Path) {
    let file = std::fs::File::open(path).expect("a file of the database");
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
}

fn copy() {
    let folder = TempDir::new().expect("a folder");
    fill(start_service(folder.path(), "users.db", &[]).address, MANY_USERS);
    let cluster = Cluster::start(&[]);
    let mut copying = Command::new(SERVICE);
    copying.args(["copy", "--from=sqlite:users.db"]).current_dir(folder.path());
    copying.env("HELLO_BIRTHDAY_TO", cluster.new_database()).stderr(Stdio::null());
    let began = Instant::now();
    let status = copying.status().expect("the copy runs");
    let seconds = began.elapsed().as_secs_f64();
    assert!(status.success(), "the copy failed: {status}");
    let per_second = MANY_USERS as f64 / seconds;
    println!("copied from SQLite to PostgreSQL in {seconds:.1} s, {per_second:.0} users/s");
}

fn start_service(folder: &Path, database: &str, flags: &[&str]) -> Server {
    start_service_on(folder, &format!("sqlite:{database}"), flags)
}

fn start_service_on(folder: &Path, database_url: &str, flags: &[&str]) -> Server {
    start_binary(Path::new(SERVICE), folder, database_url, flags)
}

/// Another build of the service, if one was named.
fn start_beside(
    folder: &Path,
    database_url: &str,
    flags: &[&str],
) -> Option<(&'static str, Server)> {
    let binary = std::env::var_os("BESIDE")?;
    Some(("beside", start_binary(Path::new(&binary), folder, database_url, flags)))
}

fn start_binary(binary: &Path, folder: &Path, database_url: &str, flags: &[&str]) -> Server {
    let mut command = Command::new(binary);
    command.args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"]);
    command.args(["--database-url", database_url]).args(flags);
    Server::start(command, folder)
}

fn start_other(folder: &Path, args: &[&str]) -> Server {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(args);
    Server::start(command, folder)
}

/// Saves `users` users.
fn fill(address: SocketAddr, users: u64) {
    let make = Arc::new(move |number, request: &mut Vec<u8>| make_put(number, number, request));
    load::run(address, CONNECTIONS, Until::Requests(users), "204", make);
}

/// Requests for users in a random order, and with other dates for each `seed`.
fn requests(kind: Kind, users: u64, seed: u64) -> MakeRequest {
    Arc::new(move |number, request| {
        let number = number + seed;
        (kind.make)(random(number) % users, number, request);
    })
}

/// The finaliser of SplitMix64: every number is as likely.
fn random(number: u64) -> u64 {
    let mut random = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    random = (random ^ (random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    random = (random ^ (random >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    random ^ (random >> 31)
}

fn make_get(user: u64, _: u64, request: &mut Vec<u8>) {
    request.extend(b"GET /hello/");
    push_name(user, request);
    request.extend(b" HTTP/1.1\r\nhost: localhost\r\n\r\n");
}

fn make_put(user: u64, number: u64, request: &mut Vec<u8>) {
    request.extend(b"PUT /hello/");
    push_name(user, request);
    request.extend(b" HTTP/1.1\r\nhost: localhost\r\ncontent-length: 28\r\n\r\n");
    request.extend(format!(r#"{{"dateOfBirth":"{}"}}"#, date(number)).bytes());
}

fn date(number: u64) -> String {
    let (year, month, day) = (1920 + number % 97, 1 + number % 12, 1 + number % 28);
    format!("{year}-{month:02}-{day:02}")
}

fn push_name(user: u64, request: &mut Vec<u8>) {
    let mut rest = user;
    for _ in 0..8 {
        request.push(b'a' + (rest % 26) as u8);
        rest /= 26;
    }
}

fn idle_after_one_get(address: SocketAddr) -> TcpStream {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(address).expect("the service accepts");
    let mut request = Vec::new();
    make_get(1, 0, &mut request);
    stream.write_all(&request).expect("the service reads");
    let read = stream.read(&mut [0; 1024]).expect("the service answers");
    assert!(read > 0, "the service closed the connection");
    stream
}

fn median(figures: &[f64]) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
