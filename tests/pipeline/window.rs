//! The release window: its hours in its own time zone, whatever the clocks do.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::{command, run, said};

/// What the window says at a time: whether it is open, and when it opens.
fn at(window: &str, time: &str) -> (bool, String) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("window.json");
    fs::write(&file, window).unwrap();
    let said = run(command(".ci/window").args(["--at", time, "--file"]).arg(file));
    let [open, opens] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    let opens = opens.strip_prefix("opens=").unwrap().to_owned();
    (open.strip_prefix("open=").unwrap().parse().unwrap(), opens)
}

#[track_caller]
fn check(window: &str, cases: &[(&str, bool, &str)]) {
    for (time, open, opens) in cases {
        assert_eq!(at(window, time), (*open, opens.to_string()), "at {time}");
    }
}

/// Weekdays from nine to four in Berlin, and a year's end.
const BERLIN: &str = r#"{
    "time_zone": "Europe/Berlin",
    "hours": {"mon": "09:00-16:00", "tue": "09:00-16:00", "wed": "09:00-16:00",
              "thu": "09:00-16:00", "fri": "09:00-12:00"},
    "holidays": ["2026-12-24/2027-01-01", "2027-03-29", "2026-12-07"]
}"#;

#[test]
fn it_is_open_from_its_first_minute_until_before_its_last() {
    check(
        BERLIN,
        &[
            ("2026-12-02T07:59:59Z", false, "2026-12-02T09:00:00+01:00"),
            ("2026-12-02T08:00:00Z", true, "2026-12-02T09:00:00+01:00"),
            ("2026-12-02T14:59:59Z", true, "2026-12-02T15:59:59+01:00"),
            ("2026-12-02T15:00:00Z", false, "2026-12-03T09:00:00+01:00"),
            // Friday's hours are shorter, and a weekend and a holiday follow.
            ("2026-12-04T10:59:59Z", true, "2026-12-04T11:59:59+01:00"),
            ("2026-12-04T11:00:00Z", false, "2026-12-08T09:00:00+01:00"),
            // The day is the one in Berlin, where it is Monday already.
            ("2026-11-29T23:30:00Z", false, "2026-11-30T09:00:00+01:00"),
        ],
    );
}

#[test]
fn it_stays_closed_over_the_end_of_the_year() {
    check(
        BERLIN,
        &[
            ("2026-12-23T14:00:00Z", true, "2026-12-23T15:00:00+01:00"),
            ("2026-12-23T15:00:00Z", false, "2027-01-04T09:00:00+01:00"),
            ("2026-12-31T23:30:00Z", false, "2027-01-04T09:00:00+01:00"),
            ("2027-01-01T10:00:00Z", false, "2027-01-04T09:00:00+01:00"),
        ],
    );
}

#[test]
fn its_hours_are_those_of_the_clocks_before_and_after_a_change() {
    check(
        BERLIN,
        &[
            // Forwards on 28 March 2027: nine o'clock is an hour earlier in UTC. Easter Monday is a holiday.
            ("2027-03-26T08:00:00Z", true, "2027-03-26T09:00:00+01:00"),
            ("2027-03-29T08:00:00Z", false, "2027-03-30T09:00:00+02:00"),
            ("2027-03-30T06:59:59Z", false, "2027-03-30T09:00:00+02:00"),
            ("2027-03-30T07:00:00Z", true, "2027-03-30T09:00:00+02:00"),
            // Backwards on 31 October 2027.
            ("2027-10-29T07:00:00Z", true, "2027-10-29T09:00:00+02:00"),
            ("2027-11-01T07:59:59Z", false, "2027-11-01T09:00:00+01:00"),
            ("2027-11-01T08:00:00Z", true, "2027-11-01T09:00:00+01:00"),
        ],
    );
}

/// Open all night on the days on which the clocks change.
const NIGHT: &str =
    r#"{"time_zone": "Europe/Berlin", "hours": {"sun": "02:30-03:30"}, "holidays": []}"#;

#[test]
fn hours_in_a_night_that_the_clocks_change_are_as_long_as_the_clocks_say() {
    check(
        NIGHT,
        &[
            // 02:30 does not exist: until 03:30 is left, which is 01:30 in UTC.
            ("2027-03-28T00:59:59Z", false, "2027-04-04T02:30:00+02:00"),
            ("2027-03-28T01:10:00Z", false, "2027-04-04T02:30:00+02:00"),
            // 02:30 comes twice: it opens with the first.
            ("2027-10-31T00:29:59Z", false, "2027-10-31T02:30:00+02:00"),
            ("2027-10-31T00:30:00Z", true, "2027-10-31T02:30:00+02:00"),
            ("2027-10-31T01:45:00Z", true, "2027-10-31T02:45:00+01:00"),
            ("2027-10-31T02:29:59Z", true, "2027-10-31T03:29:59+01:00"),
            ("2027-10-31T02:30:00Z", false, "2027-11-07T02:30:00+01:00"),
        ],
    );
}

#[test]
fn a_whole_day_ends_at_midnight_and_a_window_may_never_open() {
    let all = r#"{"time_zone": "Asia/Tokyo", "hours": {"wed": "00:00-24:00"}, "holidays": []}"#;
    check(
        all,
        &[
            ("2026-12-02T14:59:59Z", true, "2026-12-02T23:59:59+09:00"),
            ("2026-12-02T15:00:00Z", false, "2026-12-09T00:00:00+09:00"),
        ],
    );
    let never = r#"{"time_zone": "UTC", "hours": {"mon": "09:00-16:00"},
        "holidays": ["2020-01-01/2120-01-01"]}"#;
    check(never, &[("2026-12-02T14:59:59Z", false, "")]);
}

#[test]
fn a_window_that_is_written_wrongly_is_refused_with_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    let wrong = [
        (r#"{"#, "Expecting"),
        (r#"{"time_zone": "UTC"}"#, "holds time_zone, hours and holidays"),
        (r#"{"time_zone": "Mars", "hours": {}, "holidays": []}"#, "no time zone 'Mars'"),
        (r#"{"time_zone": "UTC", "hours": {"Monday": "09:00-16:00"}, "holidays": []}"#, "'Monday'"),
        (r#"{"time_zone": "UTC", "hours": {"mon": "9-16"}, "holidays": []}"#, "'9-16'"),
        (
            r#"{"time_zone": "UTC", "hours": {"mon": "16:00-09:00"}, "holidays": []}"#,
            "before it begins",
        ),
        (r#"{"time_zone": "UTC", "hours": {}, "holidays": ["24.12.2026"]}"#, "'24.12.2026'"),
        (
            r#"{"time_zone": "UTC", "hours": {}, "holidays": ["2027-01-01/2026-12-24"]}"#,
            "before it begins",
        ),
    ];
    for (window, expected) in wrong {
        let file = folder.path().join("window.json");
        fs::write(&file, window).unwrap();
        let output = command(".ci/window").arg("--file").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{window}");
        assert!(said(&output).contains(expected), "{window}: {}", said(&output));
    }
    for time in ["tomorrow", "2026-12-24T10:00:00"] {
        let output = command(".ci/window").args(["--at", time]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{time}");
    }
}

#[test]
fn the_windows_own_file_is_right() {
    assert!(Path::new(".github/window.json").exists());
    run(&mut command(".ci/window"));
}
