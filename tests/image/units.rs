//! The units as they are in `systemd/`, before any machine has them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Of 10, where 10 is a service that may do anything, as `systemd-analyze security`
/// counts. For what serves, for what only reads and writes files, and for what runs for a
/// second each minute as root.
const EXPOSURES_MAX: &[(&str, f32)] = &[
    ("hello-birthday.service", 1.5),
    ("hello-birthday-backup.service", 0.5),
    ("hello-birthday-database-url.service", 2.5),
    ("hello-birthday-migrate.service", 1.5),
];

#[test]
fn no_service_is_exposed_more_than_allowed() {
    for (unit, max) in EXPOSURES_MAX {
        expect_exposure(unit, *max);
    }
}

fn expect_exposure(unit: &str, max: f32) {
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        // A tenth is its unit here.
        .arg(format!("--threshold={}", (max * 10.0).round()))
        .arg(folder().join(unit))
        .output()
        .expect("systemd-analyze comes with systemd");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    println!("{}", said.lines().last().unwrap_or_default());
}

/// Where the units are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}
