//! What linters say of the cloud.

use std::fs;

use crate::{command, run};

#[test]
fn terraform_would_change_no_space() {
    run(command("terraform").args(["fmt", "-check", "-diff", "-recursive", "terraform"]));
}

#[test]
fn checkov_finds_nothing() {
    run(command("checkov")
        .args(["--framework", "terraform", "--compact", "--quiet", "--skip-download"])
        .args(["--directory", "terraform"]));
}

#[test]
fn what_checkov_is_to_skip_has_its_reason() {
    let files = run(command("git").args(["ls-files", "-z", "terraform"]));
    for file in files.split('\0').filter(|file| file.ends_with(".tf")) {
        for line in fs::read_to_string(file).unwrap().lines() {
            let Some((_, skip)) = line.split_once("checkov:skip=") else { continue };
            let (check, reason) = skip.split_once(':').unwrap_or((skip, ""));
            assert!(reason.split_whitespace().count() > 3, "{file}: why skip {check}?");
        }
    }
}
