//! Sets the commit that the program is built from: `HELLO_BIRTHDAY_COMMIT`, or else
//! the one that is checked out; "unknown" where there is no repository.

use std::env;
use std::path::Path;
use std::process::Command;

const VARIABLE: &str = "HELLO_BIRTHDAY_COMMIT";

/// Digits that are shown.
const DIGITS: usize = 7;

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let commit = match env::var(VARIABLE) {
        Ok(commit) if !commit.is_empty() => {
            assert!(
                is_commit(&commit),
                "{VARIABLE} is not a commit: set it to at least {DIGITS} hexadecimal digits"
            );
            Some(commit)
        }
        _ => checked_out(),
    };
    let commit = commit.as_deref().map_or("unknown", |commit| &commit[..DIGITS]);
    println!("cargo::rustc-env={VARIABLE}={commit}");
}

fn checked_out() -> Option<String> {
    // A repository further up is that of another project, which only contains this one's
    // sources.
    if !Path::new(".git").exists() {
        return None;
    }
    // Each of them changes with some of what moves HEAD. Cargo would take one that is missing
    // for a change.
    let head = git(&["symbolic-ref", "--quiet", "HEAD"]).unwrap_or_default();
    for name in ["HEAD", "logs/HEAD", "packed-refs", &head].into_iter().filter(|it| !it.is_empty())
    {
        let path = git(&["rev-parse", "--git-path", name]);
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--verify", "HEAD"]).filter(|commit| is_commit(commit))
}

/// What git prints, where it is installed and can read the repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let printed = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| printed.trim_end().to_owned())
}

fn is_commit(text: &str) -> bool {
    text.len() >= DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
