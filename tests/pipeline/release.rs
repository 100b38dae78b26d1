//! The outcome of a release, for each way that deploying and checking can end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::{command, said};

/// Writes down how it was called, and ends with the next code of its list.
const STAND_IN: &str = r#"#!/usr/bin/env bash
here=$(dirname "$0")
if [ "$2" = --releases ]; then
    echo "ami-00000003 0.2.0 cccccccccccc 2026-01-03T00:00:00Z"
    echo "ami-00000002 0.2.0 bbbbbbbbbbbb 2026-01-02T00:00:00Z"
    echo "ami-00000001 0.1.0 aaaaaaaaaaaa 2026-01-01T00:00:00Z"
    exit 0
fi
echo "$(basename "$0") $*" >>"$here/../calls"
read -r code <"$0.codes" || code=99
sed -i 1d "$0.codes"
[ "$(basename "$0")" = smoke ] || echo "url=http://$3$2"
exit "$code"
"#;

/// The script beside stand-ins of what it calls, which end with these codes.
struct Project(TempDir);

impl Project {
    fn new(deploys: &[u8], smokes: &[u8]) -> Project {
        let folder = TempDir::new().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        let codes = |codes: &[u8]| codes.iter().map(|code| format!("{code}\n")).collect::<String>();
        write(".ci/release", &fs::read_to_string(".ci/release").unwrap());
        write("terraform/deploy", STAND_IN);
        write("terraform/deploy.codes", &codes(deploys));
        write("tests/smoke", STAND_IN);
        write("tests/smoke.codes", &codes(smokes));
        Project(folder)
    }

    fn release(&self, arguments: &[&str]) -> Output {
        command(self.path(".ci/release").to_str().unwrap()).args(arguments).output().unwrap()
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.0.path()).join(name)
    }
}

#[test]
fn a_release_ends_in_one_of_the_documented_outcomes() {
    for (deploys, smokes, outcome, code) in [
        (&[0][..], &[0][..], "released", 0),
        (&[0, 0], &[1, 0], "undone", 1),
        (&[0, 0], &[1, 1], "broken", 1),
        (&[0, 1], &[1], "broken", 1),
        // There is no release before the first.
        (&[0, 4], &[1], "broken", 1),
        (&[3], &[], "rolled-back", 1),
        (&[4], &[], "refused", 1),
        (&[1], &[], "failed", 1),
        (&[130], &[], "failed", 1),
    ] {
        let project = Project::new(deploys, smokes);
        let output = project.release(&["staging", "--image", "ami-00000001"]);
        let case = format!("{deploys:?} {smokes:?}: {}", said(&output));
        assert_eq!(output.status.code(), Some(code), "{case}");
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.ends_with(&format!("outcome={outcome}\n")), "{case}");
        // As GITHUB_OUTPUT takes them.
        assert!(told.lines().all(|line| line.contains('=')), "{case}");
        assert_eq!(project.calls().len(), deploys.len() + smokes.len(), "{case}");
    }
}

#[test]
fn the_service_that_was_deployed_is_asked() {
    let project = Project::new(&[0, 0], &[1, 0]);
    project.release(&["staging", "--image", "ami-00000001"]);
    assert_eq!(
        project.calls(),
        [
            "deploy staging --image ami-00000001",
            "smoke http://ami-00000001--image",
            "deploy staging --previous",
            "smoke http://--previous",
        ]
    );
}

#[test]
fn a_rollback_goes_to_the_newest_release_of_a_version() {
    for (version, arguments) in [
        ("", "--previous"),
        ("0.2.0", "--image ami-00000003 --rollback"),
        ("0.1.0", "--image ami-00000001 --rollback"),
        ("ami-00000002", "--image ami-00000002 --rollback"),
        ("bbbbbbb", "--image ami-00000002 --rollback"),
    ] {
        let project = Project::new(&[0], &[0]);
        let output = project.release(&["production", "--to", version]);
        assert!(output.status.success(), "{version}: {}", said(&output));
        assert_eq!(project.calls()[0], format!("deploy production {arguments}"));
    }
    // Too short, unknown, or a part of a version.
    for version in ["bbbbbb", "ddddddd", "0.1", "ami-0000000", ".*"] {
        let project = Project::new(&[0], &[0]);
        let output = project.release(&["production", "--to", version]);
        assert_eq!(output.status.code(), Some(1), "{version}: {}", said(&output));
        assert!(said(&output).contains("outcome=refused"), "{version}: {}", said(&output));
        assert_eq!(project.calls(), [] as [&str; 0]);
    }
}

#[test]
fn a_rollback_that_does_not_answer_is_not_left_for_an_older_release() {
    let project = Project::new(&[0], &[1]);
    let output = project.release(&["production", "--to", ""]);
    assert!(said(&output).contains("outcome=broken"), "{}", said(&output));
    assert_eq!(project.calls().len(), 2);
}
