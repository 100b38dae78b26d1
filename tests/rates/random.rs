//! Random trees, prices and questions, against a definition in a few lines of Rust.

use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::databases::{Database, Days, Question, expect};
use crate::dump::{Rows, date};

/// Each is loaded into both databases, and asked of a service that runs all the time.
const CASES: u32 = 24;

#[test]
fn random_rates_are_answered_as_defined() {
    let databases = Database::both();
    databases.iter().for_each(|database| database.load_rows(&Rows::default()));
    let services = databases.each_ref().map(|database| database.start(&[]));
    let mut runner = TestRunner::new(Config { cases: CASES, ..Config::default() });
    let answered = RefCell::new(HashMap::<bool, u32>::new());
    runner
        .run(&(rows(), proptest::collection::vec(questions(), 8)), |(rows, questions)| {
            for (database, service) in databases.iter().zip(&services) {
                database.load_rows(&rows);
                for (origin, destination, from, days) in &questions {
                    let (from, to) = (date(*from), date(from + days));
                    let question = Question { from: &from, to: &to, origin, destination };
                    let days = define(&rows, &question);
                    let has_prices = days.iter().any(|(_, count, _)| *count > 0);
                    *answered.borrow_mut().entry(has_prices).or_default() += 1;
                    expect(question.ask(service), &days, &question);
                }
            }
            Ok(())
        })
        .unwrap();
    let answered = answered.into_inner();
    assert!(answered[&true] > 20 && answered[&false] > 20, "{answered:?}");
}

/// What the days of a question are.
fn define(rows: &Rows, question: &Question<'_>) -> Days {
    let is_in = |port: &str, place: &str| {
        let parent_of = |list: &[[String; 3]], code: &str| {
            list.iter().find(|row| row[0] == code).map(|row| row[2].clone()).unwrap_or_default()
        };
        let first = parent_of(&rows.ports, port);
        let up = |slug: &String| Some(parent_of(&rows.regions, slug)).filter(|it| !it.is_empty());
        let mut regions = std::iter::successors(Some(first).filter(|it| !it.is_empty()), up);
        port == place || regions.any(|slug| slug == place)
    };
    let all = (0..366).map(date).filter(|day| (question.from..=question.to).contains(&&**day));
    all.map(|day| {
        let found = rows.prices.iter().filter(|(origin, destination, at, _)| {
            *at == day && is_in(origin, question.origin) && is_in(destination, question.destination)
        });
        let (count, sum) = found.fold((0, 0), |(count, sum), price| (count + 1, sum + price.3));
        (day, count, sum)
    })
    .collect()
}

/// Regions `0` to `5`, each of which is in an earlier one or in none; ports `3` to `9`, so that
/// some texts are both; and few days, so that many prices share one.
fn rows() -> impl Strategy<Value = Rows> {
    let parents = |count: usize| proptest::collection::vec(any::<prop::sample::Index>(), count);
    let price = (3..10_u8, 3..10_u8, 20..26_u64, -1000..100_000_i64, 1..4_usize);
    (parents(6), parents(7), proptest::collection::vec(price, 0..120)).prop_map(
        |(regions, ports, prices)| {
            // One more than there are is none.
            let parent = |index: prop::sample::Index, count: usize| match index.index(count + 1) {
                none if none == count => String::new(),
                region => region.to_string(),
            };
            let place = |code: usize, parent| [code.to_string(), format!("Place {code}"), parent];
            let regions = regions.into_iter().enumerate();
            let ports = ports.into_iter().enumerate();
            let price = |(origin, destination, day, price, times): (u8, u8, u64, i64, usize)| {
                let row = (origin.to_string(), destination.to_string(), date(day), price);
                std::iter::repeat_n(row, times)
            };
            Rows {
                regions: regions.map(|(at, index)| place(at, parent(index, at))).collect(),
                ports: ports.map(|(at, index)| place(at + 3, parent(index, 6))).collect(),
                prices: prices.into_iter().flat_map(price).collect(),
            }
        },
    )
}

/// Two places, the first day and how many follow.
fn questions() -> impl Strategy<Value = (String, String, u64, u64)> {
    let place = || (0..11_u8).prop_map(|place| place.to_string());
    (place(), place(), 15..27_u64, 0..12_u64)
}
