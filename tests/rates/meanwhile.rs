//! What readers and savers see while rates are loaded, and while a query for rates waits for a lock
//! of PostgreSQL. With SQLite, which threads have a low priority.

use std::fs;
use std::io::Write;
use std::process::Child;
use std::thread;

use rusqlite::Connection;
use rustix::process::Pid;
use serde_json::Value;

use crate::cluster::{Session, execute};
use crate::databases::{Database, Loaded, Question, Reference, expect};
use crate::dump::{PREAMBLE, date, port, sample, write_many};
use crate::harness::{Service, request, wait, wait_until};
use crate::threads::{SCHED_IDLE, SCHED_OTHER, is_asleep, policy_of};

const MONTH: Question<'static> =
    Question { from: "2016-01-01", to: "2016-01-31", origin: "china", destination: "europe" };

/// More than are summed in memory before some are written: each is of another day or pair.
const PRICES: u64 = 540_000;

/// A load whose dump has not ended.
struct HalfLoad {
    child: Child,
}

impl HalfLoad {
    /// Sends prices until some of them are written to the database.
    fn start(database: &Database) -> HalfLoad {
        let child = database.load_command().spawn().unwrap();
        let mut prices = String::new();
        for number in 0..PRICES {
            let [from, to] = [number / 60 % 600, number / 36_000].map(port);
            prices += &format!("{from}\t{to}\t{}\t1\n", date(number % 60));
        }
        let mut input = child.stdin.as_ref().unwrap();
        let block = "COPY prices (orig_code, dest_code, day, price) FROM stdin;\n";
        input.write_all(format!("{PREAMBLE}{block}{prices}").as_bytes()).unwrap();
        wait_until("some prices are written", || is_half_loaded(database).then_some(()));
        HalfLoad { child }
    }

    /// Ends the dump with these lines.
    fn finish(self, rest: &str) -> Loaded {
        let mut child = self.child;
        let _ = child.stdin.take().unwrap().write_all(rest.as_bytes());
        Loaded::of(child.wait_with_output().unwrap())
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        wait(&mut self.child);
    }
}

fn is_half_loaded(database: &Database) -> bool {
    if database.is_sqlite() {
        let newest =
            "select exists (select 1 from prices where load > (select current from rates_loads))";
        open(database).query_row(newest, [], |row| row.get(0)).unwrap()
    } else {
        let writes = "select count(*) from pg_locks join pg_stat_activity using (pid)
            where relation = 'prices'::regclass and mode = 'RowExclusiveLock'
            and state = 'idle in transaction'";
        execute(&database.url, writes).trim() != "0"
    }
}

fn open(database: &Database) -> Connection {
    Connection::open(database.folder.path().join("rates.db")).unwrap()
}

/// The rest of the dump, with ports of all prices.
fn rest() -> String {
    let ports: String = (0..600).map(|number| format!("{}\tA port\t\\N\n", port(number))).collect();
    format!(
        "\\.\nCOPY ports (code, name, parent_slug) FROM stdin;\n{ports}\\.\n\
         COPY regions (slug, name, parent_slug) FROM stdin;\n\\.\n"
    )
}

/// The total of a pair in the dump above: one price on each of 60 days.
const PAIR: Question<'static> =
    Question { from: "2016-01-01", to: "2016-02-29", origin: "P0007", destination: "P0003" };

fn count_of(service: &Service, question: &Question<'_>) -> u64 {
    total(&question.ask(service).expect_status(200).body)
}

/// The prices of all days of an answer.
fn total(answer: &str) -> u64 {
    let answer: Value = serde_json::from_str(answer).unwrap();
    answer["rates"].as_array().unwrap().iter().map(|day| day["count"].as_u64().unwrap()).sum()
}

#[test]
fn a_load_under_way_is_not_seen_and_keeps_nobody_from_saving() {
    for database in Database::both() {
        database.load_rows(&sample());
        let service = database.start(&[]);
        let days = Reference::in_sqlite(&sample()).days(&MONTH);
        let load = HalfLoad::start(&database);
        expect(MONTH.ask(&service), &days, &MONTH);
        assert_eq!(count_of(&service, &PAIR), 0);
        service.save("John", "1990-05-20");
        service.get("/hello/John").expect_status(200);
        // Nor does an instance that starts now see it.
        expect(MONTH.ask(&database.start(&[])), &days, &MONTH);

        let loaded = load.finish(&rest());
        assert_eq!(loaded.status, Some(0), "{}", loaded.error);
        assert_eq!(count_of(&service, &PAIR), 60);
        assert_eq!(count_of(&service, &MONTH), 0);
    }
}

#[test]
fn a_load_that_fails_late_or_is_killed_changes_nothing_and_leaves_nothing() {
    for database in Database::both() {
        database.load_rows(&sample());
        let service = database.start(&[]);
        let days = Reference::in_sqlite(&sample()).days(&MONTH);

        let failed = HalfLoad::start(&database).finish("P0001\tP0002\tnever\t1\n");
        assert_eq!(failed.status, Some(1));
        let line = PREAMBLE.lines().count() as u64 + 1 + PRICES + 1;
        let told = format!("the rates were not changed: line {line}: day is not written");
        assert!(failed.error.contains(&told), "{}", failed.error);
        expect(MONTH.ask(&service), &days, &MONTH);
        if database.is_sqlite() {
            assert_eq!(loads(&database), 1);
        }

        HalfLoad::start(&database).kill();
        expect(MONTH.ask(&service), &days, &MONTH);
        database.load_rows(&sample());
        expect(MONTH.ask(&service), &days, &MONTH);
        if database.is_sqlite() {
            assert_eq!(loads(&database), 1);
        }
    }
}

/// How many loads have rows in the file.
fn loads(database: &Database) -> u32 {
    let loads = "select count(distinct load) from (select load from prices
        union all select load from ports union all select load from regions)";
    open(database).query_row(loads, [], |row| row.get(0)).unwrap()
}

#[test]
fn of_two_loads_into_a_file_the_later_one_counts() {
    let database = Database::sqlite("");
    database.load_rows(&sample());
    let service = database.start(&[]);
    let first = HalfLoad::start(&database);
    database.load_rows(&sample());
    let overtaken = first.finish(&rest());
    assert_eq!(overtaken.status, Some(1));
    assert!(overtaken.error.contains("another load of rates"), "{}", overtaken.error);
    assert_eq!(loads(&database), 1);
    let days = Reference::in_sqlite(&sample()).days(&MONTH);
    expect(MONTH.ask(&service), &days, &MONTH);
}

#[test]
fn of_two_loads_into_postgres_the_second_waits_for_the_first() {
    let database = Database::postgres();
    database.load_rows(&sample());
    let service = database.start(&[]);
    let first = HalfLoad::start(&database);
    let loaded = thread::scope(|scope| {
        let second = scope.spawn(|| database.load(sample().to_dump().as_bytes()));
        wait_until("the second waits", || {
            let waits = "select count(*) from pg_locks where not granted";
            (execute(&database.url, waits).trim() != "0").then_some(())
        });
        let first = first.finish(&rest());
        assert_eq!(first.status, Some(0), "{}", first.error);
        second.join().unwrap()
    });
    assert_eq!(loaded.status, Some(0), "{}", loaded.error);
    let days = Reference::in_sqlite(&sample()).days(&MONTH);
    expect(MONTH.ask(&service), &days, &MONTH);
}

#[test]
fn saves_and_finds_go_on_through_whole_loads_with_either_journal() {
    let mut many = Vec::new();
    write_many(60_000, &mut many).unwrap();
    let journal = ["--sqlite-journal", "truncate"];
    for (database, flags) in [
        (Database::sqlite(""), &[][..]),
        (Database::sqlite(""), &journal),
        (Database::postgres(), &[]),
    ] {
        let service = database.start(flags);
        assert_eq!(database.load(&many).status, Some(0));
        let question = Question { origin: "west", destination: "east", ..MONTH };
        let before = question.ask(&service).expect_status(200).body;
        thread::scope(|scope| {
            let load = scope.spawn(|| {
                let loads = [database.load(&many), database.load(sample().to_dump().as_bytes())];
                loads.map(|load| load.status)
            });
            let mut has_changed = false;
            let mut number = 0_u32;
            loop {
                // Also true if it has panicked.
                let is_over = load.is_finished();
                let born = format!("19{:02}-{:02}-01", number / 12 % 100, 1 + number % 12);
                service.save("John", &born);
                service.get("/hello/John").expect_status(200);
                // All of the earlier load, or all of a later one.
                let answer = question.ask(&service).expect_status(200).body;
                let is_earlier = answer == before;
                assert!(is_earlier || total(&answer) == 0, "half of a load");
                assert!(!is_earlier || !has_changed, "the earlier rates came back");
                has_changed |= !is_earlier;
                number += 1;
                if is_over {
                    break;
                }
            }
            assert_eq!(load.join().unwrap(), [Some(0); 2]);
            assert!(has_changed);
        });
        assert_eq!(count_of(&service, &question), 0);
    }
}

#[test]
fn a_query_for_rates_that_waits_keeps_nobody_else_waiting() {
    let database = Database::postgres();
    database.load_rows(&sample());
    let service = database.start(&[]);
    MONTH.ask(&service).expect_status(200);
    let mut locked = Session::open(&database.url);
    locked.execute("begin; lock table prices in access exclusive mode");
    let ask = || {
        let mut stream = service.connect();
        stream
            .write_all(request("GET", &MONTH.path(), "Connection: close\r\n", "").as_bytes())
            .unwrap();
        stream
    };
    // More than may wait, so that some are told to come again at once.
    let streams: Vec<_> = (0..300).map(|_| ask()).collect();
    let rejected = r#"hello_birthday_store_rejected_total{kind="rates",reason="overloaded"}"#;
    wait_until("some are rejected", || (service.metric(rejected) > 0.0).then_some(()));
    for number in 0..10 {
        service.save("John", &format!("199{number}-05-20"));
        service.get("/hello/John").expect_status(200);
    }
    let is_waiting = r#"hello_birthday_store_queue_length{kind="rates"}"#;
    assert!(service.metric(is_waiting) > 0.0);
    for mut stream in streams {
        let answer = crate::harness::Answer::parse(crate::harness::read_to_end(&mut stream));
        assert_eq!(answer.header("retry-after"), Some("1"));
        answer.expect_problem(503, "try again in a moment");
    }
    drop(locked);
    let days = Reference::in_sqlite(&sample()).days(&MONTH);
    expect(MONTH.ask(&service), &days, &MONTH);
    service.get("/health").expect_status(200);
}

#[test]
fn one_thread_has_a_low_priority_and_none_where_a_commit_waits_for_queries() {
    for (journal, idle) in [("wal", &[SCHED_IDLE][..]), ("truncate", &[])] {
        let service = Database::sqlite("").start(&["--sqlite-journal", journal]);
        // Another one of low priority could hold a lock that the event loop waits for.
        wait_until("all threads have their policies", || {
            let stats = stats_of_threads(service.pid());
            let of = |name| -> Vec<u32> {
                stats.iter().filter_map(|stat| policy_of(stat, name)).collect()
            };
            let others = ["rates", "reader", "writer"].map(of);
            let is_other = |policies: &Vec<u32>| {
                !policies.is_empty() && policies.iter().all(|policy| *policy == SCHED_OTHER)
            };
            // Each thread names itself and sets its policy before it waits for anything. Where one of
            // low priority is expected, it may not get so far on a busy machine.
            let have_started = !idle.is_empty() || stats.iter().all(|stat| is_asleep(stat));
            (have_started && of("rates-idle") == idle && others.iter().all(is_other)).then_some(())
        });
    }
}

/// The `stat` of each thread.
fn stats_of_threads(process: Pid) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{}/task", process.as_raw_pid())).unwrap();
    // One may end meanwhile.
    threads
        .filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).ok())
        .collect()
}
