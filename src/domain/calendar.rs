//! Days as texts write them and as databases number them.

use jiff::civil::Date;

/// Why a text is not a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// Not ten bytes `YYYY-MM-DD`.
    #[error("not written as YYYY-MM-DD, for example 2016-01-31")]
    NotWrittenAsDate,
    /// Written as a date, but on no calendar.
    #[error("not a day of the calendar: check the month and the day")]
    NotADay,
    /// In a year that the Gregorian calendar does not have.
    #[error("in the year 0000, which the Gregorian calendar does not have: check the year")]
    YearZero,
}

/// Parses `YYYY-MM-DD`, from year 1.
// jiff's own parser also takes other spellings, so the ten bytes are read here.
pub fn parse_date(text: &str) -> Result<Date, DateError> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text.as_bytes() else {
        return Err(DateError::NotWrittenAsDate);
    };
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_i16, |number, digit| {
            let digit = char::from(*digit).to_digit(10)?;
            Some(number * 10 + i16::try_from(digit).ok()?)
        })
    };
    let (Some(year), Some(month), Some(day)) =
        (number(&[y1, y2, y3, y4]), number(&[m1, m2]), number(&[d1, d2]))
    else {
        return Err(DateError::NotWrittenAsDate);
    };
    if year == 0 {
        return Err(DateError::YearZero);
    }
    // Two digits fit in an i8.
    Date::new(year, month as i8, day as i8).map_err(|_| DateError::NotADay)
}

/// Days from 1 January 1970 to `date`; negative before.
pub fn day_number(date: Date) -> i32 {
    (date - jiff::civil::date(1970, 1, 1)).get_days()
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use jiff::civil::date;

    use super::*;

    #[test]
    fn days_are_numbered_one_by_one() {
        let mut day = date(1899, 12, 31);
        let mut number = -25_568;
        while day < date(2101, 1, 1) {
            assert_eq!(day_number(day), number, "{day}");
            day = day.saturating_add(1.day());
            number += 1;
        }
        assert_eq!(day_number(Date::new(1, 1, 1).unwrap()), -719_162);
        assert_eq!(day_number(Date::MAX), 2_932_896);
    }
}
