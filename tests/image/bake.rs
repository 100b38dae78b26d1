//! The script that bakes, with a stand-in for Packer.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::image::hex_sha256;
use crate::{command, run, said};

/// As `git` would say it elsewhere.
const COMMITTED: &str = "2026-01-31T13:00:00+01:00";

#[test]
fn a_bake_prints_its_image_and_gives_it_the_time_of_its_commit() {
    let project = Project::new();
    let baked = project.bake(&[], 0);
    assert_eq!(baked.0, "image=ami-0123456789abcdef0\n");
    let [init, build] = &*project.calls() else { panic!("it calls Packer twice") };
    assert!(init.starts_with("init "), "{init}");
    let commit =
        run(command("git").arg("-C").arg(project.folder.path()).args(["rev-parse", "HEAD"]));
    for given in [
        &*format!("-var=binary={}", project.binary.display()),
        "-var=architecture=arm64",
        &format!("-var=commit={}", commit.trim()),
        "-var=committed=2026-01-31T12:00:00Z",
        "-var=region=eu-central-1",
    ] {
        assert!(build.split(' ').any(|argument| argument == given), "{given} is not in {build}");
    }

    // A commit that this clone does not have gives no time.
    let other = "0123456789abcdef0123456789abcdef01234567";
    project.bake(&["--commit", other], 0);
    let build = project.calls().pop().unwrap();
    assert!(build.contains(other) && build.contains("-var=committed= "), "{build}");
}

#[test]
fn nothing_is_baked_of_a_binary_that_is_not_the_one_that_was_built() {
    let project = Project::new();
    fs::write(&project.binary, "another one").unwrap();
    assert!(project.bake(&[], 1).1.contains("nothing was baked"));
    fs::remove_file(project.binary.with_extension("sha256")).unwrap();
    assert!(project.bake(&[], 1).1.contains("nothing was baked"));
    assert_eq!(project.calls(), [] as [String; 0]);
}

#[test]
fn a_bake_that_fails_prints_no_image() {
    let project = Project::new();
    fs::write(project.folder.path().join("how"), "exit 1").unwrap();
    let (image, told) = project.bake(&[], 1);
    assert_eq!(image, "");
    assert!(told.contains("packer build failed"), "{told}");
    for arguments in [&["--commit", "main"][..], &["--arch", "mips"], &["--nonsense"]] {
        assert_eq!(project.bake(arguments, 2).0, "");
    }
}

#[test]
fn a_signal_reaches_packer_once_and_its_end_is_waited_for() {
    let project = Project::new();
    // Not in bash, which may miss a signal that arrives as it begins or ends a wait.
    let wait = r#"exec python3 -c '
import signal
def end(*_):
    print("cleaned", flush=True)
    raise SystemExit(1)
signal.signal(signal.SIGINT, end)
print("waiting", flush=True)
while True: signal.pause()
'"#;
    fs::write(project.folder.path().join("how"), wait).unwrap();
    let mut running = project.command(&[]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "waiting"), "Packer is not waited for");
    for signal in [Signal::INT, Signal::TERM] {
        kill_process(Pid::from_child(&running), signal).unwrap();
    }
    let rest: Vec<_> = lines.collect();
    // Of two signals, either may reach a process first.
    let code = running.wait().unwrap().code().unwrap();
    assert!([130, 143].contains(&code), "{code}: {rest:?}");
    assert_eq!(rest.iter().filter(|line| *line == "cleaned").count(), 1, "{rest:?}");
}

/// Notes how it is called, and makes an image in two regions.
const PACKER: &str = r#"#!/usr/bin/env bash
echo "$*" >>"$STAND_IN/calls"
[ "$1" = build ] || exit 0
eval "$(cat "$STAND_IN/how" 2>/dev/null)"
for argument; do
    case $argument in
    -var=manifest=*)
        echo '{"builds": [{"artifact_id": "eu-west-1:ami-1,eu-central-1:ami-0123456789abcdef0"}]}' >"${argument#-var=manifest=}"
        ;;
    esac
done
"#;

/// A clone of the project with a binary, and a Packer that only says it did something.
struct Project {
    folder: TempDir,
    binary: PathBuf,
}

impl Project {
    fn new() -> Project {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("packer")).unwrap();
        fs::copy("packer/bake", path("packer/bake")).unwrap();
        fs::create_dir(path("tools")).unwrap();
        fs::write(path("tools/packer"), PACKER).unwrap();
        fs::set_permissions(path("tools/packer"), Permissions::from_mode(0o755)).unwrap();
        let git = "git init --quiet && git add packer && git -c user.name=a -c user.email=a@example.com \
                   -c commit.gpgsign=false commit --quiet --message=a";
        let mut commit = command("bash");
        run(commit
            .args(["-c", git])
            .env("GIT_COMMITTER_DATE", COMMITTED)
            .current_dir(folder.path()));

        let binary = path("hello-birthday");
        fs::write(&binary, "a binary").unwrap();
        let checksum = hex_sha256(b"a binary");
        fs::write(path("hello-birthday.sha256"), format!("{checksum}  hello-birthday\n")).unwrap();
        Project { folder, binary }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // Tests that run in the background of a script would leave it ignored.
        let mut bake = Command::new("env");
        bake.arg("--default-signal=INT").arg(self.folder.path().join("packer/bake"));
        let tools = self.folder.path().join("tools");
        bake.arg("--binary").arg(&self.binary).args(["--arch", "arm64"]).args(arguments);
        bake.env("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()));
        bake.env("STAND_IN", self.folder.path()).env("AWS_REGION", "eu-central-1");
        bake
    }

    /// What it prints on standard output and on standard error.
    #[track_caller]
    fn bake(&self, arguments: &[&str], code: i32) -> (String, String) {
        let output = self.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }
}
