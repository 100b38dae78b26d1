use jiff::ToSpan;
use jiff::civil::Date;

use super::DateOfBirth;

/// The day on which those born on 29 February celebrate in common years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeapDayBirthday {
    /// The last day of February.
    #[default]
    Feb28,
    /// The day after the last day of February.
    Mar1,
}

impl DateOfBirth {
    /// Days from `today` to the next birthday, counted on the calendar; zero on
    /// the birthday itself. `today` lies before year 9999, the calendar's last.
    pub fn days_to_birthday(self, today: Date, leap_day: LeapDayBirthday) -> i32 {
        let this_year = self.birthday_in(today.year(), leap_day);
        let next = if this_year >= today {
            this_year
        } else {
            self.birthday_in(today.year() + 1, leap_day)
        };
        (next - today).get_days()
    }

    fn birthday_in(self, year: i16, leap_day: LeapDayBirthday) -> Date {
        let born = self.date();
        match Date::new(year, born.month(), born.day()) {
            Ok(birthday) => birthday,
            // Only 29 February is missing from some years.
            Err(_) => {
                let feb_28 = jiff::civil::date(year, 2, 28);
                match leap_day {
                    LeapDayBirthday::Feb28 => feb_28,
                    LeapDayBirthday::Mar1 => feb_28.saturating_add(1.day()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    const RULES: [LeapDayBirthday; 2] = [LeapDayBirthday::Feb28, LeapDayBirthday::Mar1];
    const FIRST: Date = date(1896, 1, 1);
    const LAST: Date = date(2104, 12, 31);

    /// Whether `day` is a birthday, by the rules of the calendar.
    fn celebrates(born: Date, day: Date, leap_day: LeapDayBirthday) -> bool {
        let celebrated = match (born.month(), born.day(), leap_day) {
            (2, 29, LeapDayBirthday::Feb28) if !day.in_leap_year() => (2, 28),
            (2, 29, LeapDayBirthday::Mar1) if !day.in_leap_year() => (3, 1),
            (month, day, _) => (month, day),
        };
        (day.month(), day.day()) == celebrated
    }

    fn days(born: Date, today: Date, leap_day: LeapDayBirthday) -> i32 {
        DateOfBirth::from_stored(born).days_to_birthday(today, leap_day)
    }

    #[test]
    fn birthdays_that_others_get_wrong() {
        use LeapDayBirthday::{Feb28, Mar1};
        let cases = [
            (date(1990, 5, 20), date(2025, 5, 20), Feb28, 0),
            (date(1990, 5, 20), date(2025, 5, 21), Feb28, 364),
            (date(1990, 5, 20), date(2023, 5, 21), Feb28, 365),
            (date(1990, 1, 1), date(2025, 12, 31), Feb28, 1),
            (date(1990, 12, 31), date(2025, 1, 1), Feb28, 364),
            (date(1990, 12, 31), date(2024, 1, 1), Feb28, 365),
            (date(2000, 2, 29), date(2024, 2, 28), Feb28, 1),
            (date(2000, 2, 29), date(2024, 2, 29), Feb28, 0),
            (date(2000, 2, 29), date(2024, 3, 1), Feb28, 364),
            (date(2000, 2, 29), date(2025, 2, 28), Feb28, 0),
            (date(2000, 2, 29), date(2025, 2, 28), Mar1, 1),
            (date(2000, 2, 29), date(2025, 3, 1), Mar1, 0),
            (date(2000, 2, 29), date(2025, 3, 1), Feb28, 364),
            (date(2000, 2, 29), date(2100, 2, 28), Feb28, 0),
            (date(2000, 2, 29), date(2100, 2, 28), Mar1, 1),
            (date(2000, 2, 29), date(2023, 3, 1), Feb28, 365),
            (date(2000, 2, 29), date(2023, 3, 2), Mar1, 364),
            (date(2000, 2, 28), date(2024, 2, 29), Feb28, 365),
            (date(2000, 3, 1), date(2024, 2, 29), Feb28, 1),
        ];
        for (born, today, leap_day, expected) in cases {
            assert_eq!(
                days(born, today, leap_day),
                expected,
                "born {born}, on {today}, {leap_day:?}"
            );
        }
    }

    /// Counts down to every birthday, day by day and backwards, from every day around 1900, 2000 and
    /// 2100, of which only 2000 is a leap year. Only the month and the day of birth matter, as
    /// the next test shows.
    #[test]
    fn every_birthday_counts_down_day_by_day() {
        for century in [1900, 2000, 2100] {
            let first = date(century - 4, 1, 1);
            let last = date(century + 4, 12, 31);
            for leap_day in RULES {
                for born in date(1896, 1, 1).series(1.day()).take(366) {
                    count_down(born, first, last, leap_day);
                }
            }
        }
    }

    fn count_down(born: Date, first: Date, last: Date, leap_day: LeapDayBirthday) {
        let mut to_next = None;
        let mut today = last + 1.year();
        while today > first {
            today = today.yesterday().expect("a day of the calendar");
            to_next = match to_next {
                _ if celebrates(born, today, leap_day) => Some(0),
                days => days.map(|days: i32| days + 1),
            };
            if today <= last {
                assert_eq!(
                    Some(days(born, today, leap_day)),
                    to_next,
                    "born {born}, on {today}, {leap_day:?}"
                );
            }
        }
    }

    #[test]
    fn the_year_of_birth_does_not_matter() {
        let today = date(2023, 10, 7);
        for born in FIRST.series(1.day()).take_while(|born| *born <= LAST) {
            let in_leap_year = date(1896, born.month(), born.day());
            for leap_day in RULES {
                assert_eq!(
                    days(born, today, leap_day),
                    days(in_leap_year, today, leap_day),
                    "born {born}, {leap_day:?}"
                );
            }
        }
    }

    prop_compose! {
        fn any_day()(days in 0..=(LAST - FIRST).get_days()) -> Date {
            FIRST + days.days()
        }
    }

    proptest! {
        #[test]
        fn the_birthday_is_the_first_day_that_celebrates(
            born in any_day(),
            today in any_day(),
            mar_1 in any::<bool>(),
        ) {
            let leap_day = RULES[usize::from(mar_1)];
            let counted = today
                .series(1.day())
                .take_while(|day| !celebrates(born, *day, leap_day))
                .count();
            prop_assert_eq!(days(born, today, leap_day), i32::try_from(counted).unwrap());
        }
    }
}
