//! Both databases, each with the definition of rates in its own plain SQL, on the rows as they are.

use std::process::{Command, Stdio};
use std::sync::Arc;

use rusqlite::Connection;
use serde::Deserialize;
use serde_json::value::RawValue;
use tempfile::TempDir;

use crate::cluster::{Session, programs, shared};
use crate::dump::Rows;
use crate::harness::{Answer, BINARY, Service, clean_environment, new_folder};

/// A database that the service uses.
pub struct Database {
    pub url: String,
    pub folder: Arc<TempDir>,
}

/// How a load ended.
pub struct Loaded {
    pub status: Option<i32>,
    pub output: String,
    pub error: String,
}

impl Database {
    pub fn sqlite(flags: &str) -> Database {
        let folder = new_folder();
        Database { url: format!("sqlite:{}/rates.db{flags}", folder.path().display()), folder }
    }

    pub fn postgres() -> Database {
        Database { url: shared().new_patient_database(), folder: new_folder() }
    }

    /// One of each kind.
    pub fn both() -> [Database; 2] {
        [Database::sqlite(""), Database::postgres()]
    }

    pub fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    pub fn start(&self, flags: &[&str]) -> Service {
        let mut command = Command::new(BINARY);
        command.args(["--database-url", &self.url]).args(flags);
        Service::spawn(&self.folder, command)
    }

    /// A load that reads stdin.
    pub fn load_command(&self) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["load-rates", "-"]);
        clean_environment(&mut command).env("HELLO_BIRTHDAY_DATABASE_URL", &self.url);
        command.current_dir(self.folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Loads a dump to the end.
    pub fn load(&self, dump: &[u8]) -> Loaded {
        let file = self.folder.path().join("dump.sql");
        std::fs::write(&file, dump).unwrap();
        let mut command = self.load_command();
        command.stdin(std::fs::File::open(file).unwrap());
        Loaded::of(command.output().unwrap())
    }

    /// Loads rows, which must work.
    #[track_caller]
    pub fn load_rows(&self, rows: &Rows) {
        let loaded = self.load(rows.to_dump().as_bytes());
        assert_eq!(loaded.status, Some(0), "{}", loaded.error);
    }
}

impl Loaded {
    pub fn of(output: std::process::Output) -> Loaded {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Loaded {
            status: output.status.code(),
            output: text(output.stdout),
            error: text(output.stderr),
        }
    }
}

/// A question.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub origin: &'a str,
    pub destination: &'a str,
}

impl Question<'_> {
    pub fn path(&self) -> String {
        let Question { from, to, origin, destination } = self;
        format!("/rates?date_from={from}&date_to={to}&orig_code={origin}&dest_code={destination}")
    }

    pub fn ask(&self, service: &Service) -> Answer {
        service.get(&self.path())
    }
}

/// A day, its number of prices and their sum.
pub type Days = Vec<(String, u32, i64)>;

#[derive(Deserialize)]
struct Body {
    rates: Vec<Rate>,
}

/// A day of an answer. As a number, serde_json would not read the nearest double.
#[derive(Deserialize)]
struct Rate {
    day: String,
    count: u32,
    price: Box<RawValue>,
}

/// Expects the answer that these days make, the last one first.
#[track_caller]
pub fn expect(answer: Answer, days: &Days, what: &impl std::fmt::Debug) {
    let answer = answer.expect_status(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let found: Body = serde_json::from_str(&answer.body).unwrap();
    let found: Vec<_> = found
        .rates
        .into_iter()
        .map(|Rate { day, count, price }| {
            let price = price.get();
            (day, count, (price != "null").then(|| price.parse::<f64>().unwrap()))
        })
        .collect();
    let expected: Vec<_> = days
        .iter()
        .rev()
        .map(|(day, count, sum)| {
            // Both are exact doubles here, so this is rounded once.
            let mean = (*count >= 3).then(|| *sum as f64 / f64::from(*count));
            (day.clone(), *count, mean)
        })
        .collect();
    assert_eq!(found, expected, "{what:?}");
}

/// The ports that a text stands for, for both ends; `{o}` and `{d}` are the texts.
const ENDS: &str = "orig_regions(slug) as (
        select slug from regions where slug = {o}
        union select regions.slug from regions join orig_regions
            on regions.parent_slug = orig_regions.slug),
    dest_regions(slug) as (
        select slug from regions where slug = {d}
        union select regions.slug from regions join dest_regions
            on regions.parent_slug = dest_regions.slug),
    orig(code) as (select code from ports where code = {o}
        or parent_slug in (select slug from orig_regions)),
    dest(code) as (select code from ports where code = {d}
        or parent_slug in (select slug from dest_regions)),
    found as (select * from prices where orig_code in (select code from orig)
        and dest_code in (select code from dest))";

/// The rows in tables of the test's own.
pub enum Reference {
    Sqlite(Connection),
    Postgres(Session),
}

impl Reference {
    /// Has the rows in a database of the same kind as `database`.
    pub fn beside(database: &Database, rows: &Rows) -> Reference {
        match database.is_sqlite() {
            true => Reference::in_sqlite(rows),
            false => Reference::Postgres(Session::open(&restore(rows))),
        }
    }

    pub fn in_sqlite(rows: &Rows) -> Reference {
        let database = Connection::open_in_memory().unwrap();
        database
            .execute_batch(
                "create table regions (slug, name, parent_slug);
                 create table ports (code, name, parent_slug);
                 create table prices (orig_code, dest_code, day, price); begin",
            )
            .unwrap();
        let null = |text: &String| (!text.is_empty()).then(|| text.clone());
        for (table, places) in [("regions", &rows.regions), ("ports", &rows.ports)] {
            let mut insert =
                database.prepare(&format!("insert into {table} values (?1, ?2, ?3)")).unwrap();
            for [code, name, parent] in places {
                insert.execute((code, name, null(parent))).unwrap();
            }
        }
        let mut insert = database.prepare("insert into prices values (?1, ?2, ?3, ?4)").unwrap();
        for price in &rows.prices {
            insert.execute(price.clone()).unwrap();
        }
        drop(insert);
        database.execute_batch("commit").unwrap();
        Reference::Sqlite(database)
    }

    /// Each day of the question, the first one first.
    pub fn days(&mut self, question: &Question<'_>) -> Days {
        let Question { from, to, origin, destination } = question;
        let quote = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let ends = ENDS.replace("{o}", &quote(origin)).replace("{d}", &quote(destination));
        match self {
            Reference::Sqlite(database) => {
                let sql = format!(
                    "with recursive {ends}, days(day) as (select '{from}'
                         union all select date(day, '+1 day') from days where day < '{to}')
                     select days.day, count(price), coalesce(sum(price), 0) from days
                     left join found on found.day = days.day group by days.day order by 1"
                );
                let mut days = database.prepare(&sql).unwrap();
                let rows = days.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
                rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
            }
            Reference::Postgres(session) => {
                let sql = format!(
                    "set search_path to public; with recursive {ends}
                     select days.day::date, count(price), coalesce(sum(price), 0)
                     from generate_series(date '{from}', date '{to}', '1 day') as days(day)
                     left join found on found.day = days.day::date group by days.day order by 1"
                );
                let rows = session.execute(&sql);
                rows.lines()
                    .map(|row| {
                        let parts: Vec<&str> = row.split('|').collect();
                        (parts[0].into(), parts[1].parse().unwrap(), parts[2].parse().unwrap())
                    })
                    .collect()
            }
        }
    }
}

/// A new database in which psql has restored the dump, and so agrees that it is one.
pub fn restore(rows: &Rows) -> String {
    let url = shared().new_database();
    let folder = new_folder();
    let file = folder.path().join("dump.sql");
    // Older versions of psql do not know these commands.
    let dump = rows.to_dump();
    let dump = dump.lines().filter(|line| !line.contains("restrict 3kXbT0"));
    std::fs::write(&file, dump.collect::<Vec<_>>().join("\n")).unwrap();
    let mut psql = Command::new(programs().join("psql"));
    psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", &url, "--file"]);
    let output = psql.arg(file).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    url
}
