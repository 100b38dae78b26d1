//! Which commit the program says it is built from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use tempfile::TempDir;

use crate::harness::{BINARY, Service, new_folder, run};

/// What the build found.
const COMMIT: &str = env!("HELLO_BIRTHDAY_COMMIT");

#[test]
fn version_and_metrics_name_the_commit() {
    let mut command = Command::new(BINARY);
    command.arg("--version");
    let (status, version, _) = run(command);
    assert!(status.success());
    let package = env!("CARGO_PKG_VERSION");
    let first = version.lines().next();
    assert_eq!(first, Some(&*format!("hello-birthday {package} ({COMMIT})")));

    let metrics = Service::start(&[]).ask_admin("/metrics").expect_status(200).body;
    let info =
        format!("hello_birthday_build_info{{commit=\"{COMMIT}\",version=\"{package}\"}} 1\n");
    assert!(metrics.contains(&info), "no {info}");
}

#[test]
fn the_commit_is_that_of_the_repository_or_of_the_variable() {
    let script = Script::compile();
    let checkout = new_folder();
    // A source archive has no repository, though one may lie above it.
    git(&checkout, &["init", "--quiet"]);
    let unpacked = checkout.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    assert_eq!(script.commit(&unpacked, None), "unknown");
    assert_eq!(script.commit(checkout.path(), None), "unknown", "nothing is committed");

    let commit = |message| {
        git(&checkout, &["commit", "--quiet", "--allow-empty", "--message", message]);
        git(&checkout, &["rev-parse", "HEAD"])
    };
    let first = commit("one");
    assert_eq!(script.commit(checkout.path(), None), first[..7]);
    let second = commit("two");
    assert_eq!(script.commit(checkout.path(), Some("")), second[..7]);
    git(&checkout, &["checkout", "--quiet", &first]);
    assert_eq!(script.commit(checkout.path(), None), first[..7]);

    assert_eq!(script.commit(&unpacked, Some(&second)), second[..7]);
    for wrong in ["v1.2", "abc123", "main and more"] {
        let output = script.run(&unpacked, Some(wrong));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains("hexadecimal digits"), "{error}");
    }
}

#[test]
fn whatever_moves_the_head_runs_the_build_script_again() {
    let script = Script::compile();
    let checkout = new_folder();
    git(&checkout, &["init", "--quiet"]);
    git(&checkout, &["commit", "--quiet", "--allow-empty", "--message", "one"]);
    git(&checkout, &["pack-refs", "--all"]);
    let output = script.run(checkout.path(), None);
    let printed = String::from_utf8(output.stdout).unwrap();
    let watched = printed.lines().filter_map(|line| line.strip_prefix("cargo::rerun-if-changed="));
    let read = |path: &str| fs::read(checkout.path().join(path)).ok();
    let watched: Vec<_> =
        watched.filter(|path| *path != "src/build.rs").map(|path| (path, read(path))).collect();
    assert!(watched.iter().all(|(_, content)| content.is_some()), "{printed}");
    for step in [
        &["commit", "--quiet", "--allow-empty", "--message", "two"][..],
        &["checkout", "-q", "HEAD~"],
    ] {
        git(&checkout, step);
        let changed = watched.iter().any(|(path, content)| read(path) != *content);
        assert!(changed, "git {step:?} changes none of {printed}");
    }
}

/// The build script, compiled as cargo does.
struct Script {
    program: PathBuf,
    _folder: Arc<TempDir>,
}

impl Script {
    fn compile() -> Script {
        let folder = new_folder();
        let program = folder.path().join("build");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/build.rs");
        // Beside the cargo that runs the tests.
        let rustc = Path::new(env!("CARGO")).with_file_name("rustc");
        let mut command = Command::new(rustc);
        command.args(["--edition=2024", "-o"]).arg(&program).arg(source);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Script { program, _folder: folder }
    }

    fn run(&self, folder: &Path, variable: Option<&str>) -> Output {
        let mut command = Command::new(&self.program);
        command.current_dir(folder).env_remove("HELLO_BIRTHDAY_COMMIT");
        command.envs(variable.map(|value| ("HELLO_BIRTHDAY_COMMIT", value)));
        command.output().unwrap()
    }

    fn commit(&self, folder: &Path, variable: Option<&str>) -> String {
        let output = self.run(folder, variable);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        let commit = printed.split_once("cargo::rustc-env=HELLO_BIRTHDAY_COMMIT=").unwrap().1;
        commit.trim_end().to_owned()
    }
}

/// Runs git in `folder`, whatever the user's settings are, and gives what it prints.
fn git(folder: &TempDir, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(["-c", "user.name=Test", "-c", "user.email=test@localhost"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
