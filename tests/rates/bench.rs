//! Measures loads of rates and queries for them, and what these cost requests for birthdays:
//! `cargo bench --bench rates`, or with the names of some parts. `BINARY=FILE` measures another build
//! of the service. Nothing is asserted.

#[path = "../postgres/cluster.rs"]
mod cluster;
mod dump;
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../bench/load.rs"]
mod load;
#[path = "../patience.rs"]
mod patience;
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../bench/process.rs"]
mod process;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, programs};
use load::{Seen, Until};
use process::Server;
use rusqlite::Connection;
use tempfile::TempDir;

const SERVICE: &str = env!("CARGO_BIN_EXE_hello-birthday");
const CONNECTIONS: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const SIZES: [u64; 2] = [60_000, 1_000_000];
/// Plain statements that are sent one after the other.
const STATEMENTS: usize = 11;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let is_asked = |part| args.is_empty() || args.iter().any(|arg| arg == part);
    let folder = TempDir::new().expect("a folder");
    for size in SIZES {
        let mut dump = BufWriter::new(File::create(dump_of(folder.path(), size)).expect("a file"));
        dump::write_many(size, &mut dump).and_then(|()| dump.flush()).expect("a dump");
    }
    let cluster = Cluster::start(&[]);
    let databases: Vec<(String, u64, String)> = SIZES
        .into_iter()
        .flat_map(|size| {
            let sqlite = format!("sqlite:{}/{size}.db", folder.path().display());
            [("SQLite", size, sqlite), ("PostgreSQL", size, cluster.new_database())]
        })
        .map(|(name, size, url)| (name.to_owned(), size, url))
        .collect();
    println!("\n| load | prices | s | prices/s | peak MiB |\n|---|---|---|---|---|");
    for (name, size, url) in &databases {
        load_dump(name, *size, url, folder.path());
    }
    if is_asked("meanwhile") {
        meanwhile(&cluster, folder.path());
    }
    if is_asked("queries") {
        queries(&databases, folder.path());
    }
    if is_asked("plain") {
        plain(&cluster, folder.path());
    }
    if is_asked("beside") {
        for (name, size, url) in &databases {
            beside(name, *size, url, &[], folder.path());
            if name == "SQLite" {
                let flags = ["--sqlite-journal=truncate"];
                beside("SQLite, rollback journal", *size, url, &flags, folder.path());
            }
        }
    }
}

fn dump_of(folder: &Path, size: u64) -> std::path::PathBuf {
    folder.join(format!("{size}.sql"))
}

/// What saves take while a million prices replace as many.
fn meanwhile(cluster: &Cluster, folder: &Path) {
    println!("\nSaves at 8 connections, alone and while a million prices replace as many");
    println!(
        "| database | load s | saves/s alone | meanwhile | p99 ms alone | meanwhile | slowest |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, url, flag) in [
        ("SQLite, WAL", format!("sqlite:{}/wal.db", folder.display()), "wal"),
        (
            "SQLite, rollback journal",
            format!("sqlite:{}/truncate.db", folder.display()),
            "truncate",
        ),
        ("PostgreSQL", cluster.new_database(), "auto"),
    ] {
        let server = start_with(folder, &url, &["--sqlite-journal", flag]);
        let address = server.address;
        run_load(SIZES[1], &url, folder);
        let (seconds, seen) = thread::scope(|scope| {
            let loading = scope.spawn(|| run_load(SIZES[1], &url, folder).0);
            // Shorter than any load of a million.
            let seen = saves(address, ROUND);
            (loading.join().expect("a load"), seen)
        });
        let alone = saves(address, ROUND);
        let rate = |seen: &Seen| seen.requests as f64 / seen.elapsed.as_secs_f64();
        println!(
            "| {name} | {seconds:.1} | {:.0} | {:.0} | {:.1} | {:.1} | {:.0} |",
            rate(&alone),
            rate(&seen),
            millis(&alone, 0.99),
            millis(&seen, 0.99),
            millis(&seen, 1.0)
        );
    }
}

/// A client that is refused comes again after a second, which shows as a slow save.
fn saves(address: SocketAddr, time: Duration) -> Seen {
    let make = |number: u64, request: &mut Vec<u8>| birthday(number, request);
    load::run(address, 8, Until::Elapsed(time), "204", Arc::new(make))
}

fn load_dump(name: &str, size: u64, url: &str, folder: &Path) {
    let (seconds, peak_kib) = run_load(size, url, folder);
    let per_second = size as f64 / seconds;
    println!("| {name} | {size} | {seconds:.2} | {per_second:.0} | {:.1} |", peak_kib / 1024.0);
}

/// Returns the seconds that a load took, and the KiB of memory that it had at most.
fn run_load(size: u64, url: &str, folder: &Path) -> (f64, f64) {
    let mut command = Command::new(SERVICE);
    command.arg("load-rates").arg(dump_of(folder, size)).env("HELLO_BIRTHDAY_DATABASE_URL", url);
    let began = Instant::now();
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the load starts");
    let mut peak_kib = 0.0_f64;
    let status = loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak_kib = peak_kib.max(kib.unwrap_or(0.0));
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let seconds = began.elapsed().as_secs_f64();
    assert!(status.success(), "the load failed: {status}");
    (seconds, peak_kib)
}

/// A month of one pair of ports, and of all ports to all ports.
fn paths() -> [(&'static str, String); 2] {
    let (origin, destination) = dump::pair(5);
    let [origin, destination] = [origin, destination].map(dump::port);
    let days = "date_from=2016-01-01&date_to=2016-01-31";
    [
        ("pair", format!("/rates?{days}&orig_code={origin}&dest_code={destination}")),
        ("regions", format!("/rates?{days}&orig_code=world&dest_code=world")),
    ]
}

fn queries(databases: &[(String, u64, String)], folder: &Path) {
    println!("\nA month of rates at {CONNECTIONS} connections; medians of {ROUNDS} rounds");
    println!("| database | prices | query | lone ms | requests/s | p50 ms | p99 ms |");
    println!("|---|---|---|---|---|---|---|");
    for (name, size, url) in databases {
        let server = start(folder, url);
        for (what, path) in paths() {
            let mut figures: [Vec<f64>; 4] = Default::default();
            for _ in 0..ROUNDS {
                let lone = ask(server.address, 1, Until::Requests(20), &path);
                let seen = ask(server.address, CONNECTIONS, Until::Elapsed(ROUND), &path);
                figures[0].push(millis(&lone, 0.5));
                figures[1].push(seen.requests as f64 / seen.elapsed.as_secs_f64());
                figures[2].push(millis(&seen, 0.5));
                figures[3].push(millis(&seen, 0.99));
            }
            let [lone, rate, p50, p99] = figures.map(|figures| median(&figures));
            println!("| {name} | {size} | {what} | {lone:.2} | {rate:.0} | {p50:.1} | {p99:.1} |");
        }
    }
}

/// The definition in one statement, with a recursive query for each end.
fn statement(origin: &str, destination: &str) -> String {
    format!(
        "with recursive o(slug) as (select slug from regions where slug = '{origin}'
             union select regions.slug from regions join o on parent_slug = o.slug),
         d(slug) as (select slug from regions where slug = '{destination}'
             union select regions.slug from regions join d on parent_slug = d.slug),
         origins as (select code from ports where code = '{origin}'
             or parent_slug in (select slug from o)),
         destinations as (select code from ports where code = '{destination}'
             or parent_slug in (select slug from d))
         select day, count(*), avg(price) from prices
         where orig_code in (select code from origins)
             and dest_code in (select code from destinations)
             and day between '2016-01-01' and '2016-01-31'
         group by day order by day desc"
    )
}

/// Plain SQL over single prices, in tables of their own with the same index.
fn plain(cluster: &Cluster, folder: &Path) {
    println!("\nThe same in plain SQL over single prices, one statement after the other");
    println!("| database | prices | query | ms |\n|---|---|---|---|");
    let (origin, destination) = dump::pair(5);
    let [origin, destination] = [origin, destination].map(dump::port);
    let statements =
        [("pair", statement(&origin, &destination)), ("regions", statement("world", "world"))];
    for size in SIZES {
        let sqlite = plain_sqlite(&dump_of(folder, size));
        for (what, sql) in &statements {
            let mut select = sqlite.prepare(sql).expect("SQL");
            let millis = times(|| {
                let rows = select.query_map([], |row| row.get::<_, String>(0)).expect("rows");
                assert!(rows.count() > 0, "no rows");
            });
            println!("| SQLite | {size} | {what} | {millis:.2} |");
        }
        let url = cluster.new_database();
        restore(&url, &dump_of(folder, size));
        for (what, sql) in &statements {
            let mut session = cluster::Session::open(&url);
            let millis = times(|| assert!(session.execute(sql).lines().count() > 0, "no rows"));
            println!("| PostgreSQL, psql | {size} | {what} | {millis:.2} |");
        }
    }
}

fn plain_sqlite(dump: &Path) -> Connection {
    let database = Connection::open_in_memory().expect("a database");
    database
        .execute_batch(
            "create table regions (slug primary key, name, parent_slug);
             create table ports (code primary key, name, parent_slug);
             create table prices (orig_code, dest_code, day, price); begin",
        )
        .expect("tables");
    let mut insert = None;
    for line in fs::read_to_string(dump).expect("a dump").lines() {
        if let Some(table) = line.strip_prefix("COPY public.") {
            let (table, columns) = table.split_once(' ').expect("columns");
            let values = vec!["?"; columns.matches(',').count() + 1].join(", ");
            let sql = format!("insert into {table} values ({values})");
            insert = Some(database.prepare(&sql).expect("SQL"));
        } else if line == "\\." {
            insert = None;
        } else if let Some(insert) = &mut insert {
            let values = line.split('\t').map(|value| (value != "\\N").then_some(value));
            insert.execute(rusqlite::params_from_iter(values)).expect("a row");
        }
    }
    drop(insert);
    database
        .execute_batch("commit; create index prices_pair on prices (orig_code, dest_code, day, price); analyze")
        .expect("an index");
    database
}

fn restore(url: &str, dump: &Path) {
    let text = fs::read_to_string(dump).expect("a dump");
    let lines = text.lines().filter(|line| !line.contains("restrict 3kXbT0"));
    let file = dump.with_extension("plain");
    fs::write(&file, lines.collect::<Vec<_>>().join("\n")).expect("a file");
    let mut psql = Command::new(programs().join("psql"));
    psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", url, "--file"]);
    let output = psql.arg(file).stdin(Stdio::null()).output().expect("psql");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cluster::execute(url, "create index on prices (orig_code, dest_code, day); vacuum analyze");
}

/// What birthdays take beside 64 connections that ask for regions all the time.
fn beside(name: &str, size: u64, url: &str, flags: &[&str], folder: &Path) {
    let server = start_with(folder, url, flags);
    let address = server.address;
    let put = |number: u64, request: &mut Vec<u8>| birthday(number, request);
    load::run(address, 8, Until::Requests(1000), "204", Arc::new(put));
    let get = |number: u64, request: &mut Vec<u8>| {
        write!(request, "GET /hello/{} HTTP/1.1\r\nhost: localhost\r\n\r\n", name_of(number))
            .expect("a vector grows");
    };
    let (_, path) = &paths()[1];
    let mut figures: [Vec<f64>; 12] = Default::default();
    let mut observe = |at: usize| {
        let finds = load::run(address, 1, Until::Elapsed(ROUND), "200", Arc::new(get));
        let saves = load::run(address, 1, Until::Elapsed(ROUND), "204", Arc::new(put));
        for (at, seen, share) in [
            (at, &finds, 0.5),
            (at + 1, &saves, 0.5),
            (at + 2, &finds, 0.99),
            (at + 3, &saves, 0.99),
        ] {
            figures[at].push(millis(seen, share));
        }
    };
    for _ in 0..ROUNDS {
        observe(0);
        thread::scope(|scope| {
            // Until both rounds are over, and a little longer.
            let until = Until::Elapsed(ROUND * 2 + ROUND / 4);
            scope.spawn(move || ask(address, CONNECTIONS, until, path));
            thread::sleep(ROUND / 8);
            observe(6);
        });
    }
    let figures = figures.map(|figures| median(&figures));
    let (alone, beside) = figures.split_at(6);
    println!("\n{name}, {size} prices, {CONNECTIONS} connections that ask for regions");
    println!("| birthdays | alone ms | beside ms | ratio |\n|---|---|---|---|");
    for (at, what) in ["GET p50", "PUT p50", "GET p99", "PUT p99", "slowest GET", "slowest PUT"]
        .iter()
        .enumerate()
    {
        let (alone, beside) = (alone[at], beside[at]);
        println!("| {what} | {alone:.3} | {beside:.3} | {:.2} |", beside / alone);
    }
}

fn birthday(number: u64, request: &mut Vec<u8>) {
    let body = format!(r#"{{"dateOfBirth":"19{:02}-05-20"}}"#, number / 1000 % 100);
    write!(
        request,
        "PUT /hello/{} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        name_of(number),
        body.len()
    )
    .expect("a vector grows");
}

fn name_of(number: u64) -> String {
    [100, 10, 1].map(|place| char::from(b'a' + (number / place % 10) as u8)).iter().collect()
}

fn start(folder: &Path, url: &str) -> Server {
    start_with(folder, url, &[])
}

fn start_with(folder: &Path, url: &str, flags: &[&str]) -> Server {
    let mut command = Command::new(std::env::var_os("BINARY").unwrap_or_else(|| SERVICE.into()));
    command.args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--database-url", url]);
    command.args(flags);
    Server::start(command, folder)
}

fn ask(address: SocketAddr, connections: usize, until: Until, path: &str) -> Seen {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let make = Arc::new(move |_, bytes: &mut Vec<u8>| bytes.extend(request.as_bytes()));
    load::run(address, connections, until, "200", make)
}

/// The median of the milliseconds that `work` takes.
fn times(mut work: impl FnMut()) -> f64 {
    let times = (0..STATEMENTS).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed().as_secs_f64() * 1e3
    });
    median(&times.collect::<Vec<_>>())
}

fn millis(seen: &Seen, share: f64) -> f64 {
    seen.latency(share).as_secs_f64() * 1e3
}

fn median(figures: &[f64]) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
