//! What linters say of everything that is not Rust.

use std::fs;
use std::path::Path;

use crate::{command, run};

#[test]
fn ansible_lint_finds_nothing_at_its_strictest() {
    run(command("ansible-lint").args(["--nocolor", "ansible", "packer"]));
}

#[test]
fn yamllint_finds_nothing() {
    run(command("yamllint").args(["--strict", "."]));
}

#[test]
fn shellcheck_finds_nothing() {
    let files = run(command("git").args(["ls-files", "-z"]));
    let scripts: Vec<_> = files.split('\0').filter(|file| is_shell(file)).collect();
    assert!(scripts.contains(&"tests/run") && scripts.contains(&"systemd/fetch-database-url"));
    run(command("shellcheck").args(scripts));
}

fn is_shell(file: &str) -> bool {
    let text = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    first.starts_with(b"#!") && first.ends_with(b"sh")
}
