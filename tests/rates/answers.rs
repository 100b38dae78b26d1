//! What `/rates` answers.

use std::process::Command;

use crate::cluster::shared;
use crate::databases::{Database, Question, Reference, expect};
use crate::dump::{Rows, sample};
use crate::harness::{BINARY, Service, clean_environment, new_folder};

const MONTH: Question<'static> =
    Question { from: "2016-01-01", to: "2016-01-31", origin: "CNGGZ", destination: "EETLL" };

#[test]
fn every_answer_is_what_plain_sql_says_of_the_rows() {
    let rows = sample();
    let places = [
        "CNGGZ",
        "cngGZ",
        "EETLL",
        "ZZZZZ",
        "TWICE",
        "pearl_river",
        "china",
        "asia",
        "fjords",
        "scandinavia",
        "north_europe",
        "europe",
        "empty",
        "nowhere",
        "ASIA",
    ];
    let ranges = [
        ("2016-01-01", "2016-01-31"),
        ("2016-02-27", "2016-03-02"),
        ("2016-01-15", "2016-01-15"),
        ("2015-12-30", "2016-01-02"),
        ("0001-01-01", "0001-01-03"),
        ("9999-12-30", "9999-12-31"),
    ];
    for database in Database::both() {
        database.load_rows(&rows);
        let mut reference = Reference::beside(&database, &rows);
        let service = database.start(&[]);
        let mut counts = [0; 5];
        for (at, origin) in places.into_iter().enumerate() {
            for (to, destination) in places.into_iter().enumerate() {
                let (from, to) = ranges[(at * 7 + to) % ranges.len()];
                let question = Question { from, to, origin, destination };
                let days = reference.days(&question);
                expect(question.ask(&service), &days, &question);
                days.iter().for_each(|(_, count, _)| counts[(*count).min(4) as usize] += 1);
            }
        }
        // Days with no price, with one, two, three and more were among them.
        assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
    }
}

#[test]
fn a_long_range_has_every_day_newest_first() {
    let rows = sample();
    for database in Database::both() {
        database.load_rows(&rows);
        let service = database.start(&[]);
        // Ten years with three leap days.
        let question = Question { from: "2008-02-29", to: "2018-02-28", ..MONTH };
        let days = Reference::in_sqlite(&rows).days(&question);
        assert_eq!(days.len(), 3653);
        expect(question.ask(&service), &days, &question);
    }
}

#[test]
fn until_something_is_loaded_it_is_404_that_says_how_to_load() {
    for database in Database::both() {
        let service = database.start(&[]);
        for path in [MONTH.path(), "/rates".to_owned(), "/rates?date_from=x".to_owned()] {
            service.get(&path).expect_problem(404, "hello-birthday load-rates FILE");
        }
        // A load needs no restart.
        database.load_rows(&sample());
        MONTH.ask(&service).expect_status(200);
        service.get("/rates").expect_problem(400, "date_from is missing");
        // Nor does another instance.
        database.start(&[]).get("/rates").expect_problem(400, "date_from is missing");
    }
}

#[test]
fn a_bad_query_is_400_and_says_what_to_change() {
    let database = Database::sqlite("");
    database.load_rows(&sample());
    let service = database.start(&[]);
    let good = MONTH.path();
    for (old, new, told) in [
        ("date_from=2016-01-01&", "", "date_from is missing"),
        ("2016-01-01", "2016-01-1", "date_from is not written as YYYY-MM-DD"),
        ("2016-01-31", "2016-02-30", "date_to is not a day of the calendar"),
        ("2016-01-31", "2015-12-31", "date_from is after date_to"),
        ("2016-01-01", "0001-01-01", "more than 3653 days"),
        ("CNGGZ", "", "orig_code is empty"),
        ("EETLL", "EE+TLL", "dest_code has a character that no code has"),
        ("EETLL", "EETLL&dest_code=EETLL", "dest_code is given twice"),
        ("EETLL", "%C3", "not UTF-8"),
        ("EETLL", "EE%00LL", "not UTF-8 or holds NUL"),
    ] {
        service.get(&good.replace(old, new)).expect_problem(400, told);
    }
    let same = service.get(&(good.replace("CNGGZ", "CNG%47Z") + "&utm=1&a&=&&"));
    assert_eq!(same.expect_status(200).body, service.get(&good).body);
}

#[test]
fn options_head_and_405_work_as_for_other_paths() {
    let database = Database::sqlite("");
    database.load_rows(&sample());
    let service = database.start(&[]);
    let answer = service.request("OPTIONS", "/rates", "").expect_status(204);
    assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
    let head = service.request("HEAD", &MONTH.path(), "").expect_status(200);
    let get = service.get(&MONTH.path());
    assert_eq!(
        (head.body.as_str(), head.header("content-length")),
        ("", get.header("content-length"))
    );
    service.put("/rates", "{}").expect_problem(405, "GET, HEAD, OPTIONS");
    service.get("/rates/").expect_problem(404, "/openapi.json");
    let requests =
        r#"hello_birthday_http_requests_total{method="GET",route="/rates",status="200"}"#;
    assert_eq!(service.metric(requests), 1.0);
    let batches = r#"hello_birthday_store_batch_requests_count{kind="rates"}"#;
    assert_eq!(service.metric(batches), 2.0);
}

#[test]
fn prices_that_no_double_holds_are_summed_exactly() {
    let mut rows = Rows::default();
    for code in ["A", "B"] {
        rows.ports.push([code.into(), code.into(), "r".into()]);
    }
    rows.regions.push(["r".into(), "R".into(), String::new()]);
    let big = i64::MAX / 4;
    let day = |day: u32| format!("2016-01-{day:02}");
    let price = |at, price| ("A".to_owned(), "B".to_owned(), day(at), price);
    rows.prices = vec![price(1, big), price(1, big), price(1, big)];
    rows.prices.extend([price(2, big), price(2, big), price(2, big - 1)]);
    rows.prices.extend([price(3, -1), price(3, 0), price(3, 0)]);
    // Of several pairs, which add up to more than 64 bits.
    for (origin, destination) in [("A", "A"), ("B", "A"), ("B", "B")] {
        for _ in 0..3 {
            rows.prices.push((origin.into(), destination.into(), day(4), i64::MAX / 3));
        }
    }
    for database in Database::both() {
        database.load_rows(&rows);
        let service = database.start(&[]);
        let question = Question { to: "2016-01-04", origin: "r", destination: "r", ..MONTH };
        let body = question.ask(&service).expect_status(200).body;
        // 3 × ⌊(2⁶³-1)/4⌋ - 1 is not a multiple of 3, and the mean is next to 2⁶¹.
        let mean = (1_u64 << 61) as f64;
        let expected = format!(
            r#"{{"rates":[{{"day":"2016-01-04","count":9,"price":{}}},{{"day":"2016-01-03","count":3,"price":-0.3333333333333333}},{{"day":"2016-01-02","count":3,"price":{mean}}},{{"day":"2016-01-01","count":3,"price":{big}}}]}}"#,
            i64::MAX / 3
        );
        assert_eq!(body, expected);
    }
}

#[test]
fn a_port_that_moved_is_found_where_it_is_now() {
    let mut rows = sample();
    for database in Database::both() {
        database.load_rows(&rows);
        let service = database.start(&[]);
        let question = Question { origin: "asia", destination: "europe", ..MONTH };
        let ask = |rows: &Rows| {
            database.load_rows(rows);
            let days = Reference::in_sqlite(rows).days(&question);
            expect(question.ask(&service), &days, &question);
        };
        ask(&rows);
        // Another tree over the same prices, and then no region at all.
        rows.ports
            .iter_mut()
            .filter(|port| port[0] == "EETLL")
            .for_each(|port| port[2] = "china".into());
        ask(&rows);
        let mut bare = rows.clone();
        bare.ports.iter_mut().for_each(|port| port[2].clear());
        bare.regions.clear();
        ask(&bare);
        // Nothing at all is loaded too.
        ask(&Rows::default());
    }
}

/// The steps of the README.
#[test]
fn rates_are_served_from_an_empty_folder_in_three_steps() {
    let folder = new_folder();
    std::fs::write(folder.path().join("rates.sql"), sample().to_dump()).unwrap();
    let postgres = shared().new_patient_database();
    for url in [None, Some(&postgres)] {
        let mut start = Command::new(BINARY);
        let mut load = Command::new(BINARY);
        load.args(["load-rates", "rates.sql"]);
        clean_environment(&mut load).current_dir(folder.path());
        if let Some(url) = url {
            start.args(["--database-url", url]);
            // As everywhere.
            load.env("DATABASE_URL", url);
        }
        let service = Service::spawn(&folder, start);
        let output = load.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let prices = sample().prices.len();
        let told = format!(
            "loaded {},{:03} prices between 13 ports in 11 regions\n",
            prices / 1000,
            prices % 1000
        );
        assert_eq!(said, told);
        let days = Reference::in_sqlite(&sample()).days(&MONTH);
        expect(MONTH.ask(&service), &days, &MONTH);
    }
}
