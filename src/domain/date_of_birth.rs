use std::fmt;

use jiff::civil::Date;

use super::calendar::{DateError, parse_date};

/// The calendar day a person was born on.
///
/// `Debug` hides the day: it is personal data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DateOfBirth(Date);

/// Why a text is not a date of birth. It quotes nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DateOfBirthError {
    /// Not ten bytes `YYYY-MM-DD`.
    #[error("dateOfBirth is not written as YYYY-MM-DD, for example 1990-05-20")]
    NotWrittenAsDate,
    /// Written as a date, but on no calendar.
    #[error("dateOfBirth is not a day of the calendar: check the month and the day")]
    NotADay,
    /// In a year that the Gregorian calendar does not have.
    #[error(
        "dateOfBirth is in the year 0000, which the Gregorian calendar does not have: check the year"
    )]
    YearZero,
    /// Today or later.
    #[error("dateOfBirth is not in the past: it must be before today")]
    NotBeforeToday,
}

impl DateOfBirth {
    /// Parses `YYYY-MM-DD`, from year 1 (the Gregorian calendar has no year 0)
    /// to the day before `today`.
    pub fn parse(text: &str, today: Date) -> Result<DateOfBirth, DateOfBirthError> {
        let born = parse_date(text)?;
        if born >= today {
            return Err(DateOfBirthError::NotBeforeToday);
        }
        Ok(DateOfBirth(born))
    }

    /// Trusts a date that a store gave back.
    pub fn from_stored(date: Date) -> DateOfBirth {
        DateOfBirth(date)
    }

    /// Reads the text that a store gave back; `None` is a damaged row.
    pub(crate) fn from_stored_text(text: &str) -> Option<DateOfBirth> {
        parse_date(text).ok().map(DateOfBirth)
    }

    pub fn date(self) -> Date {
        self.0
    }
}

impl fmt::Debug for DateOfBirth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DateOfBirth(..)")
    }
}

impl From<DateError> for DateOfBirthError {
    fn from(error: DateError) -> DateOfBirthError {
        match error {
            DateError::NotWrittenAsDate => DateOfBirthError::NotWrittenAsDate,
            DateError::NotADay => DateOfBirthError::NotADay,
            DateError::YearZero => DateOfBirthError::YearZero,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn real_days_before_today_are_dates_of_birth() {
        let today = date(2025, 6, 15);
        for (text, day) in [
            ("2025-06-14", date(2025, 6, 14)),
            ("2000-02-29", date(2000, 2, 29)),
            ("0001-01-01", date(1, 1, 1)),
            ("1899-12-31", date(1899, 12, 31)),
        ] {
            assert_eq!(DateOfBirth::parse(text, today), Ok(DateOfBirth(day)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        use DateOfBirthError::{NotADay, NotBeforeToday, NotWrittenAsDate, YearZero};
        let today = date(2025, 6, 15);
        let cases = [
            ("", NotWrittenAsDate),
            ("20000101", NotWrittenAsDate),
            ("2000-1-1", NotWrittenAsDate),
            ("2000-01-01 ", NotWrittenAsDate),
            (" 2000-01-01", NotWrittenAsDate),
            ("2000/01/01", NotWrittenAsDate),
            ("+002000-01-01", NotWrittenAsDate),
            ("-200-01-01", NotWrittenAsDate),
            ("2000-01-01T00:00", NotWrittenAsDate),
            ("2000-W01-1", NotWrittenAsDate),
            ("２000-01-0", NotWrittenAsDate),
            ("20a0-01-01", NotWrittenAsDate),
            ("2000-+1-01", NotWrittenAsDate),
            ("2023-02-29", NotADay),
            ("1900-02-29", NotADay),
            ("2000-13-01", NotADay),
            ("2000-00-10", NotADay),
            ("2000-04-31", NotADay),
            ("2000-04-00", NotADay),
            ("0000-01-01", YearZero),
            ("2025-06-15", NotBeforeToday),
            ("2025-06-16", NotBeforeToday),
            ("9999-12-31", NotBeforeToday),
        ];
        for (text, error) in cases {
            assert_eq!(DateOfBirth::parse(text, today), Err(error), "{text}");
        }
    }

    #[test]
    fn what_is_displayed_is_what_is_read_back() {
        let born = DateOfBirth(date(987, 6, 5));
        assert_eq!(DateOfBirth::from_stored_text(&born.date().to_string()), Some(born));
    }

    /// The days of a month, counted without the library that is tested with it.
    fn days(year: u32, month: u32) -> u32 {
        let leaps = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
        match month {
            2 if leaps => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        }
    }

    fn is_day(text: &str) -> bool {
        let parts: Vec<&str> = text.split('-').collect();
        let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
        parts.iter().map(|part| part.len()).eq([4, 2, 2]) && parts.iter().all(is_number) && {
            let [year, month, day] = [0, 1, 2].map(|part| parts[part].parse::<u32>().unwrap());
            year > 0 && (1..=days(year, month)).contains(&day)
        }
    }

    proptest! {
        #[test]
        fn a_date_of_birth_is_exactly_a_day_before_today(
            text in prop_oneof![
                "[0-9]{4}-[0-9]{2}-[0-9]{2}",
                "(19|20)[0-9]{2}-(0[0-9]|1[0-3])-(0[01]|2[7-9]|3[0-2])",
                "[0-9]{3,5}[-/ ][0-9]{1,3}[-T.][0-9 +]{1,3}",
                "[+-]?[0-9０-９]{4}-[0-9]{2}-[0-9]{2}Z?",
                any::<String>(),
            ],
            today in 1..9999_i16,
        ) {
            let today = date(today, 6, 15);
            let parsed = DateOfBirth::parse(&text, today);
            // Days of four digits sort as their texts do.
            let expected = is_day(&text) && *text < *today.to_string();
            prop_assert_eq!(parsed.is_ok(), expected, "{:?} on {}", parsed, today);
            if let Ok(born) = parsed {
                prop_assert_eq!(born.date().to_string(), text);
            }
        }
    }
}
