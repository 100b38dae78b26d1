//! A query for rates, and its result.

use jiff::ToSpan;
use jiff::civil::Date;

use super::{Code, DailyTotal};
use crate::domain::calendar::day_number;

/// A range of days, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    from: Date,
    to: Date,
}

/// Why two days are not a valid range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DaysError {
    #[error("date_from is after date_to: exchange them")]
    Reversed,
    /// More than [`Days::MAX`] days.
    #[error("date_from to date_to are more than {} days: ask for fewer at a time", Days::MAX)]
    TooMany,
}

impl Days {
    /// Days in one answer: ten years with their leap days, for which an answer takes about 200 KiB.
    pub const MAX: usize = 3653;

    pub fn new(from: Date, to: Date) -> Result<Days, DaysError> {
        if from > to {
            return Err(DaysError::Reversed);
        }
        let days = Days { from, to };
        if days.count() > Days::MAX {
            return Err(DaysError::TooMany);
        }
        Ok(days)
    }

    pub fn from(self) -> Date {
        self.from
    }

    pub fn to(self) -> Date {
        self.to
    }

    pub fn count(self) -> usize {
        let (from, to) = (day_number(self.from), day_number(self.to));
        (to - from).unsigned_abs() as usize + 1
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RatesQuery {
    pub days: Days,
    pub origin: Code,
    pub destination: Code,
}

impl RatesQuery {
    /// A query that finds nothing, to learn whether anything is loaded.
    pub(crate) fn probe() -> RatesQuery {
        let day = jiff::civil::date(1, 1, 1);
        let code = Code::from_stored("");
        RatesQuery { days: Days { from: day, to: day }, origin: code.clone(), destination: code }
    }
}

/// The totals of each day of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DailyTotals {
    days: Days,
    totals: Vec<DailyTotal>,
}

impl DailyTotals {
    /// Totals without prices.
    pub fn none(days: Days) -> DailyTotals {
        DailyTotals { days, totals: vec![DailyTotal::default(); days.count()] }
    }

    /// Adds prices of the day with this number; those of other days are left out.
    pub fn add(&mut self, day: i32, count: u64, sum: i128) {
        let at = usize::try_from(i64::from(day) - i64::from(day_number(self.days.from)));
        if let Some(total) = at.ok().and_then(|at| self.totals.get_mut(at)) {
            total.add(count, sum);
        }
    }

    pub fn days(&self) -> Days {
        self.days
    }

    pub fn newest_first(&self) -> impl Iterator<Item = (Date, DailyTotal)> {
        let days = std::iter::successors(Some(self.days.to), |day| day.checked_sub(1.day()).ok());
        days.zip(self.totals.iter().rev().copied())
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_range_has_1_to_3653_days() {
        for (from, to, count) in [
            (date(2016, 1, 1), date(2016, 1, 1), Ok(1)),
            (date(2016, 2, 28), date(2016, 3, 1), Ok(3)),
            (date(2010, 1, 1), date(2020, 1, 1), Ok(3653)),
            (date(2010, 1, 1), date(2020, 1, 2), Err(DaysError::TooMany)),
            (date(1, 1, 1), date(9999, 12, 31), Err(DaysError::TooMany)),
            (date(2016, 1, 2), date(2016, 1, 1), Err(DaysError::Reversed)),
            (date(1, 1, 1), date(1, 1, 2), Ok(2)),
            (date(9999, 12, 30), date(9999, 12, 31), Ok(2)),
        ] {
            assert_eq!(Days::new(from, to).map(Days::count), count, "{from} to {to}");
        }
    }

    #[test]
    fn totals_are_given_newest_first_with_the_days_that_have_none() {
        for first in [date(1, 1, 1), date(2016, 2, 28), date(9999, 12, 29)] {
            let last = first.checked_add(2.days()).unwrap();
            let mut totals = DailyTotals::none(Days::new(first, last).unwrap());
            let number = day_number(first);
            totals.add(number - 1, 1, 1);
            totals.add(number, 1, 5);
            totals.add(number + 2, 2, 7);
            totals.add(number + 2, 1, -3);
            totals.add(number + 3, 1, 1);
            let found: Vec<_> = totals.newest_first().collect();
            let total = |count, sum| DailyTotal { count, sum };
            let middle = first.checked_add(1.day()).unwrap();
            assert_eq!(found, [(last, total(3, 4)), (middle, total(0, 0)), (first, total(1, 5))]);
        }
    }
}
