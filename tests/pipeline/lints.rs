//! What linters say of the pipeline, and what holds of every workflow.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::{command, run, said};

/// What the pipeline does by scripts, each of which says how it is used.
const SCRIPTS: [&str; 10] = [
    ".ci/build",
    ".ci/comment",
    ".ci/coverage",
    ".ci/install",
    ".ci/notify",
    ".ci/owner",
    ".ci/plan-summary",
    ".ci/protected",
    ".ci/release",
    ".ci/window",
];

#[test]
fn actionlint_finds_nothing() {
    run(&mut command("actionlint"));
}

#[test]
fn zizmor_finds_nothing() {
    run(command("zizmor").args(["--offline", "--no-progress", "--quiet", ".github"]));
}

#[test]
fn no_secret_is_in_the_repository_or_its_history() {
    let search = ["--no-banner", "--redact", "--verbose"];
    run(command("gitleaks").arg("git").args(search));
    // What is not committed yet.
    run(command("gitleaks").args(["git", "--pre-commit"]).args(search));
}

#[test]
fn a_secret_that_is_committed_is_found() {
    let folder = TempDir::new().unwrap();
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
        run(command("git").args(identity).args(arguments).current_dir(folder.path()));
    };
    git(&["init", "--quiet"]);
    // In two parts, so that this file holds none.
    let key = ["AKIA", "Z7Q2LMNRTUVWXY34"].concat();
    fs::write(folder.path().join("settings"), format!("aws_key = \"{key}\"\n")).unwrap();
    git(&["add", "settings"]);
    let config = format!("--config={}/.gitleaks.toml", env!("CARGO_MANIFEST_DIR"));
    let mut gitleaks = command("gitleaks");
    gitleaks
        .args(["git", "--staged", "--no-banner", "--redact", &config])
        .current_dir(folder.path());
    let output = gitleaks.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(!said(&output).contains(&key));
}

#[test]
fn hooks_work_without_a_network_once_they_are_installed() {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prek");
    let prek = |program: &[&str], arguments: &[&str]| {
        let mut prek = command(program[0]);
        prek.args(&program[1..]).args(arguments).env("PREK_HOME", &home);
        run(&mut prek)
    };
    prek(&["prek"], &["install-hooks"]);
    let without_network = ["unshare", "--user", "--map-root-user", "--net", "prek"];
    let said = prek(&without_network, &["run", "--all-files", "--show-diff-on-failure"]);
    for hook in ["no secret is committed", "cargo fmt", "shellcheck", "actionlint", "zizmor"] {
        let line = said.lines().find(|line| line.starts_with(hook)).unwrap_or_default();
        assert!(line.ends_with("Passed"), "{hook}: {said}");
    }
}

#[test]
fn scripts_say_how_they_are_used_and_refuse_what_they_do_not_understand() {
    for script in SCRIPTS {
        let help = run(command(script).arg("--help"));
        assert!(help.starts_with(script.strip_prefix(".ci/").unwrap()), "{script}: {help}");
        assert!(help.contains("xits with"), "{script} does not say its exit codes: {help}");
        let wrong = match script {
            // Every one of its arguments is a suite.
            ".ci/coverage" => continue,
            ".ci/install" => vec!["nothing"],
            ".ci/build" => vec![],
            _ => vec!["--nothing"],
        };
        let output = command(script).args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{script}: {}", said(&output));
    }
    let mut found: Vec<_> =
        fs::read_dir(".ci").unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_none() && path.is_file() && !path.ends_with("run"));
    assert_eq!(found.len(), SCRIPTS.len(), "{found:?}");
}

#[test]
fn coverage_below_its_floor_fails_and_is_listed_by_folder() {
    let lines = |file: &str, covered: u32, count: u32| {
        let lines = json!({ "covered": covered, "count": count, "percent": 0 });
        json!({ "filename": file, "summary": { "lines": lines } })
    };
    let files = [
        lines("/home/a/src/x/src/main.rs", 1, 1),
        lines("/home/a/src/x/src/http/body.rs", 60, 80),
        lines("/home/a/src/x/src/http/json.rs", 20, 20),
    ];
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("report.json");
    fs::write(&report, json!({ "data": [{ "files": files }] }).to_string()).unwrap();
    for (floor, code) in [("80", 0), ("80.1", 0), ("80.2", 1)] {
        let mut coverage = command("python3");
        coverage.args(["-B", ".ci/coverage.py", floor]).stdin(File::open(&report).unwrap());
        let output = coverage.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{floor}: {}", said(&output));
        let table =
            "| src | 1 | 100.0 % |\n| src/http | 100 | 80.0 % |\n| **all** | 101 | 80.2 % |\n";
        assert!(said(&output).contains(table), "{}", said(&output));
    }
}

#[test]
fn actions_are_pinned_by_hash_and_each_has_one_version() {
    let mut pinned = BTreeMap::new();
    for (file, text) in workflows() {
        for line in text.lines().filter(|line| line.contains("uses:")) {
            let uses = line.split("uses:").nth(1).unwrap().trim();
            let (action, rest) = uses.split_once('@').unwrap();
            let (hash, version) =
                rest.split_once(" # v").unwrap_or_else(|| panic!("{file}: {line}"));
            assert!(
                hash.len() == 40 && hash.bytes().all(|b| b.is_ascii_hexdigit()),
                "{file}: {line}"
            );
            assert_eq!(version.split('.').count(), 3, "{file}: {line}");
            let before = pinned.insert(action.to_owned(), rest.to_owned());
            assert!(before.is_none_or(|before| before == rest), "{file}: two versions of {action}");
        }
    }
    assert!(pinned.len() > 4);
}

#[test]
fn no_workflow_holds_logic_or_runs_what_a_fork_says_with_rights() {
    for (file, text) in workflows() {
        assert!(!text.contains("pull_request_target") && !text.contains("workflow_run"), "{file}");
        assert!(text.contains("\npermissions: {}\n"), "{file}: permissions are each job's own");
        // What somebody types or names must not become part of a script.
        for line in text.lines().filter(|line| line.trim_start().starts_with("run:")) {
            assert!(!line.contains("${{"), "{file}: {line}");
        }
        for secret in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            assert!(!text.contains(secret), "{file}: no key is stored");
        }
    }
}

/// The names and the texts of all workflows.
fn workflows() -> Vec<(String, String)> {
    let files = fs::read_dir(".github/workflows").unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap())).collect()
}
