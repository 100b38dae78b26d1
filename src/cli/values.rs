//! Parses the values of flags.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Parses an address to listen on: `ADDRESS:PORT`, `localhost:PORT`, `:PORT` for all addresses or
/// `PORT` for the one that is the default.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("localhost", text));
    let host = match host {
        "" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        host if host.eq_ignore_ascii_case("localhost") => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => None,
    };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_number);
    host.zip(port).map(SocketAddr::from).ok_or_else(|| {
        "write ADDRESS:PORT, as in 0.0.0.0:8080 or [::]:8080, or a port, as in 8080".to_owned()
    })
}

/// Longer than any drain: more is most likely a wrong unit.
const DURATION_MAX: Duration = Duration::from_hours(1);

pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    match parse_any_duration(text)? {
        duration if duration <= DURATION_MAX => Ok(duration),
        _ => Err("must be at most 1h".to_owned()),
    }
}

/// Less would close connections between the requests of a client that is in use.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(1);

/// Longer than load balancers keep idle connections, which is 4,000 s at most for an ALB
/// and 600 s for a Google Cloud load balancer.
const KEEP_ALIVE_MAX: Duration = Duration::from_hours(2);

pub(super) fn parse_keep_alive_timeout(text: &str) -> Result<Duration, String> {
    match parse_any_duration(text)? {
        duration if duration < KEEP_ALIVE_MIN => Err("must be at least 1s".to_owned()),
        duration if duration > KEEP_ALIVE_MAX => Err("must be at most 2h".to_owned()),
        duration => Ok(duration),
    }
}

pub(super) fn parse_any_duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text
        .parse()
        .map_err(|_| "not a time: write a number and a unit, as in 500ms, 20s or 2m".to_owned())?;
    Duration::try_from(duration).map_err(|_| "must not be negative".to_owned())
}

pub(super) fn parse_time_zone(name: &str) -> Result<TimeZone, String> {
    // The zone data in the binary, whatever the machine has installed.
    TimeZoneDatabase::bundled()
        .get(name)
        .map_err(|_| "unknown time zone: use an IANA name, as in Europe/Paris".to_owned())
}

pub(super) fn parse_today(text: &str) -> Result<Date, String> {
    match text.parse::<Date>() {
        Ok(date) if date.year() < Date::MAX.year() => Ok(date),
        _ => Err("not a date: write YYYY-MM-DD, before the year 9999".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_other_programs_take_it() {
        for (text, address) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::]:8080", "[::]:8080"),
            ("[::1]:80", "[::1]:80"),
            ("localhost:8080", "127.0.0.1:8080"),
            ("LocalHost:8080", "127.0.0.1:8080"),
            (":8080", "0.0.0.0:8080"),
            ("8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(parse_address(text), Ok(address.parse().unwrap()), "{text}");
        }
        for text in
            ["", ":", "0.0.0.0", "::1", "example.org:80", "localhost:", "65536", ":+1", "-1"]
        {
            let error = parse_address(text).unwrap_err();
            assert!(error.contains("0.0.0.0:8080"), "{text}: {error}");
        }
    }

    #[test]
    fn times_carry_a_unit() {
        for (text, time) in [
            ("0s", Some(Duration::ZERO)),
            ("500ms", Some(Duration::from_millis(500))),
            ("1m 30s", Some(Duration::from_secs(90))),
            ("1h", Some(Duration::from_secs(3600))),
            ("20", None),
            ("-1s", None),
            ("61m", None),
            ("", None),
        ] {
            assert_eq!(parse_duration(text).ok(), time, "{text:?}");
        }
    }

    #[test]
    fn connections_are_kept_for_a_second_to_two_hours() {
        for (text, timeout) in [
            ("1s", Ok(Duration::from_secs(1))),
            ("4001s", Ok(Duration::from_secs(4001))),
            ("2h", Ok(Duration::from_hours(2))),
            ("999ms", Err("must be at least 1s")),
            ("0s", Err("must be at least 1s")),
            ("121m", Err("must be at most 2h")),
            ("-1s", Err("must not be negative")),
        ] {
            let expected = timeout.map_err(str::to_owned);
            assert_eq!(parse_keep_alive_timeout(text), expected, "{text:?}");
        }
    }
}
