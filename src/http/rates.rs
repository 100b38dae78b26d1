//! `/rates`: mean prices by day, from the query string to JSON.

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use percent_encoding::percent_decode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::handlers::with_body;
use super::{Problem, Response};
use crate::domain::calendar::parse_date;
use crate::domain::rates::{Code, DailyTotals, Days, Mean, RatesQuery};
use crate::store::Store;

/// Days in all answers that are being made or sent: about 16 MiB of JSON. A client may take ten
/// seconds to read an answer, and there may be thousands of clients.
pub(super) const DAYS_UNSENT_MAX: usize = 200_000;

/// Bytes of a day in an answer, unless its price has more digits than any real one.
const DAY_BYTES: usize = 64;

/// Answers requests for rates.
pub struct RatesApi {
    /// A permit for each day of an answer.
    unsent: Arc<Semaphore>,
    /// Whether rates were found once. They are replaced, but never removed.
    is_loaded: AtomicBool,
}

impl Default for RatesApi {
    fn default() -> RatesApi {
        RatesApi {
            unsent: Arc::new(Semaphore::new(DAYS_UNSENT_MAX)),
            is_loaded: AtomicBool::default(),
        }
    }
}

/// The bytes of an answer, which count as unsent until they are dropped.
struct Answer {
    json: Vec<u8>,
    _unsent: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

impl RatesApi {
    /// Answers a request with this query string.
    pub(super) async fn answer(
        &self,
        store: &Store,
        query: Option<&str>,
    ) -> Result<Response, Problem> {
        let query = match parse_query(query.unwrap_or_default()) {
            Ok(query) => query,
            // To correct the query would not help before anything is loaded.
            Err(problem) if self.is_loaded.load(Ordering::Relaxed) => return Err(problem),
            Err(problem) => {
                self.find(store, RatesQuery::probe()).await?;
                return Err(problem);
            }
        };
        let days = u32::try_from(query.days.count()).expect("the days are few");
        let unsent = self.unsent.clone().try_acquire_many_owned(days).map_err(|_| {
            Problem::unavailable(
                "too many days of rates wait to be read by clients: ask for fewer, or try again",
            )
        })?;
        let json = to_json(&self.find(store, query).await?);
        let answer = Answer { json, _unsent: unsent };
        Ok(with_body("application/json", Bytes::from_owner(answer)))
    }

    async fn find(&self, store: &Store, query: RatesQuery) -> Result<DailyTotals, Problem> {
        let found = store.find_rates(query).await?.ok_or_else(Problem::no_rates)?;
        self.is_loaded.store(true, Ordering::Relaxed);
        Ok(found)
    }
}

/// The parameters of a query, each of which is needed once.
const PARAMETERS: [&str; 4] = ["date_from", "date_to", "orig_code", "dest_code"];

fn parse_query(query: &str) -> Result<RatesQuery, Problem> {
    let mut values: [Option<Cow<'_, str>>; 4] = Default::default();
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let [name, value] = [decode(name)?, decode(value)?];
        let Some(at) = PARAMETERS.iter().position(|known| *known == name) else { continue };
        if values[at].replace(value).is_some() {
            return Err(Problem::bad_request(format!("{name} is given twice: send it once")));
        }
    }
    let value = |at: usize| {
        values[at].as_deref().ok_or_else(|| {
            let form = if at < 2 { "YYYY-MM-DD" } else { "CODE" };
            let name = PARAMETERS[at];
            Problem::bad_request(format!("{name} is missing: add {name}={form}"))
        })
    };
    let date = |at| {
        let date = parse_date(value(at)?);
        date.map_err(|error| Problem::bad_request(format!("{} is {error}", PARAMETERS[at])))
    };
    let code = |at| {
        let code = Code::parse(value(at)?);
        code.map_err(|error| Problem::bad_request(format!("{} {error}", PARAMETERS[at])))
    };
    let days = Days::new(date(0)?, date(1)?);
    let days = days.map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(RatesQuery { days, origin: code(2)?, destination: code(3)? })
}

/// Decodes a part of a query as forms encode it
/// (<https://url.spec.whatwg.org/#urlencoded-parsing>): a `%` that encodes nothing is itself.
fn decode(part: &str) -> Result<Cow<'_, str>, Problem> {
    let decoded = if part.contains(['%', '+']) {
        let spaced = part.replace('+', " ");
        let bytes = percent_decode(spaced.as_bytes()).collect::<Vec<u8>>();
        String::from_utf8(bytes).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(part))
    };
    decoded.filter(|text| !text.contains('\0')).ok_or_else(|| {
        Problem::bad_request("the query is not UTF-8 or holds NUL: percent-encode it as UTF-8")
    })
}

fn to_json(totals: &DailyTotals) -> Vec<u8> {
    let mut json = Vec::with_capacity(totals.days().count() * DAY_BYTES);
    json.extend(b"{\"rates\":[");
    for (at, (day, total)) in totals.newest_first().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let count = total.count;
        write!(json, r#"{comma}{{"day":"{day}","count":{count},"price":"#)
            .and_then(|()| match total.mean() {
                None => json.write_all(b"null}"),
                Some(Mean::Integer(mean)) => write!(json, "{mean}}}"),
                // It is finite, and so many digits are written that it reads back as it is.
                Some(Mean::Fraction(mean)) => write!(json, "{mean}}}"),
            })
            .expect("a vector grows");
    }
    json.extend(b"]}");
    json
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::domain::calendar::day_number;
    use crate::metrics::Metrics;
    use crate::store::{StoreOptions, UrlSource};

    const GOOD: &str = "date_from=2016-01-01&date_to=2016-01-31&orig_code=CNGGZ&dest_code=north";

    fn complaint(query: &str) -> String {
        let problem = parse_query(query).expect_err(query);
        String::from_utf8(problem.body()).unwrap()
    }

    #[test]
    fn a_query_is_decoded_as_forms_encode_it() {
        let query = parse_query(GOOD).unwrap();
        assert_eq!((query.days.from(), query.days.to()), (date(2016, 1, 1), date(2016, 1, 31)));
        assert_eq!((query.origin.as_str(), query.destination.as_str()), ("CNGGZ", "north"));
        for same in [
            "dest_code=north&orig_code=CNGGZ&date_to=2016-01-31&date_from=2016-01-01",
            "&&date%5Ffrom=2016-01-0%31&date_to=2016%2d01%2D31&orig_code=CNG%47Z&dest_code=north&",
            "date_from=2016-01-01&date_to=2016-01-31&orig_code=CNGGZ&dest_code=north&x=1&x=+%zz%",
        ] {
            assert_eq!(parse_query(same).unwrap(), query, "{same}");
        }
    }

    #[test]
    fn another_query_is_refused_with_what_to_change() {
        let with = |old: &str, new: &str| complaint(&GOOD.replace(old, new));
        let too_long = format!("orig_code={}", "x".repeat(65));
        for (old, new, told) in [
            ("date_from=2016-01-01&", "", "date_from is missing: add date_from=YYYY-MM-DD"),
            ("date_to=", "date_too=", "date_to is missing"),
            ("orig_code=CNGGZ", "ORIG_CODE=CNGGZ", "orig_code is missing: add orig_code=CODE"),
            ("&dest_code=north", "", "dest_code is missing"),
            ("2016-01-01", "", "date_from is not written as YYYY-MM-DD"),
            ("2016-01-01", "2016-1-1", "date_from is not written as YYYY-MM-DD"),
            ("2016-01-01", "2016-01-01+", "date_from is not written as YYYY-MM-DD"),
            ("2016-01-31", "20160131", "date_to is not written as YYYY-MM-DD"),
            ("2016-01-31", "2016-02-30", "date_to is not a day of the calendar"),
            ("2016-01-01", "0000-01-01", "date_from is in the year 0000"),
            ("2016-01-01", "2016-02-01", "date_from is after date_to"),
            ("2016-01-01", "2006-01-01", "more than 3653 days"),
            ("CNGGZ", "", "orig_code is empty"),
            ("orig_code=CNGGZ", "orig_code", "orig_code is empty"),
            ("orig_code=CNGGZ", &too_long, "orig_code is longer than 64 characters"),
            ("north", "north+sea", "dest_code has a character that no code has, at place 6"),
            ("north", "n'%3B--", "dest_code has a character that no code has, at place 2"),
            ("north", "100%", "dest_code has a character that no code has, at place 4"),
            ("CNGGZ", "CNGGZ&orig_code=CNGGZ", "orig_code is given twice"),
            ("CNGGZ", "CNGGZ&orig%5fcode=", "orig_code is given twice"),
            ("CNGGZ", "%FF", "not UTF-8 or holds NUL"),
            ("CNGGZ", "%00", "not UTF-8 or holds NUL"),
            ("CNGGZ", "CNGGZ&x=%C3%28", "not UTF-8 or holds NUL"),
            ("CNGGZ", "CNGGZ&%ED%A0%80", "not UTF-8 or holds NUL"),
        ] {
            let complaint = with(old, new);
            assert!(complaint.contains(told), "{new}: {complaint}");
        }
    }

    #[test]
    fn days_are_written_newest_first_with_their_means() {
        let days = Days::new(date(2016, 1, 1), date(2016, 1, 3)).unwrap();
        let mut totals = DailyTotals::none(days);
        let first = day_number(days.from());
        totals.add(first, 3, 3463);
        totals.add(first + 1, 4, -8);
        totals.add(first + 2, 2, 9);
        assert_eq!(
            String::from_utf8(to_json(&totals)).unwrap(),
            r#"{"rates":[{"day":"2016-01-03","count":2,"price":null},{"day":"2016-01-02","count":4,"price":-2},{"day":"2016-01-01","count":3,"price":1154.3333333333333}]}"#
        );
    }

    #[tokio::test]
    async fn an_answer_counts_until_it_is_sent_and_none_is_made_beyond_the_limit() {
        let folder = TempDir::new().unwrap();
        let url = UrlSource::Text(format!("sqlite:{}/rates.db", folder.path().display()));
        let store = Store::open(&url, StoreOptions::default(), &Metrics::new()).await.unwrap();
        let api = RatesApi::default();
        let long = GOOD.replace("2016-01-01", "2006-02-01");
        let problem = |problem: Problem| String::from_utf8(problem.body()).unwrap();
        let answer = async || problem(api.answer(&store, Some(&long)).await.unwrap_err());

        let all = u32::try_from(DAYS_UNSENT_MAX).unwrap();
        let permit = api.unsent.clone().try_acquire_many_owned(all - 3651).unwrap();
        let unsent = Bytes::from_owner(Answer { json: Vec::new(), _unsent: permit });
        let copy = unsent.clone();
        assert!(answer().await.contains("too many days of rates"));
        drop(unsent);
        assert!(answer().await.contains("too many days of rates"));
        drop(copy);
        assert!(answer().await.contains("no rates are loaded"));
        assert_eq!(api.unsent.available_permits(), DAYS_UNSENT_MAX);
    }

    proptest! {
        #[test]
        fn no_query_panics(query in any::<String>(), bytes in "[%+&=a-f0-9_-]{0,40}") {
            let _ = parse_query(&query);
            let _ = parse_query(&bytes);
        }

        #[test]
        fn a_mean_reads_back_as_the_same_double(sum in any::<i64>(), count in 3_u64..1000) {
            let day = date(2016, 1, 1);
            let mut totals = DailyTotals::none(Days::new(day, day).unwrap());
            totals.add(day_number(day), count, sum.into());
            // serde_json itself would not read the nearest double.
            let json = String::from_utf8(to_json(&totals)).unwrap();
            let price = json.split_once(r#""price":"#).unwrap().1.trim_end_matches("}]}");
            let price: f64 = price.parse().unwrap();
            match totals.newest_first().next().unwrap().1.mean().unwrap() {
                Mean::Integer(mean) => prop_assert_eq!(price, mean as f64),
                Mean::Fraction(mean) => prop_assert_eq!(price, mean),
            }
        }
    }
}
