//! How an instance gets the DSN of the tracker that it reports errors to.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use crate::roll::Tools;
use crate::{command, run, said};

#[test]
fn the_dsn_of_a_parameter_is_written_and_without_it_the_service_can_start() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("sentry-dsn");
    let group = run(command("id").arg("-gn"));
    let tools = Tools::new(&[]);
    let path = format!("{}:{}", tools.folder.path().display(), std::env::var("PATH").unwrap());
    let fetch = || {
        let mut fetch = command("terraform/fetch-sentry-dsn");
        fetch.args(["eu-central-1", "/hello-birthday/test/sentry-dsn"]).arg(&file);
        let output = fetch.arg(group.trim()).env("PATH", &path).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        // The service reads it as a member of the group.
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        (fs::read_to_string(&file).unwrap(), said(&output))
    };

    tools.add("aws", "echo half of an answer; exit 254");
    let (dsn, told) = fetch();
    assert_eq!(dsn, "http://none@127.0.0.1:9/0\n");
    assert!(told.contains("cannot read /hello-birthday/test/sentry-dsn"), "{told}");

    tools.add(
        "aws",
        "[[ $* == *'--name /hello-birthday/test/sentry-dsn --with-decryption'* ]] && echo https://a@example.com/1",
    );
    let (dsn, told) = fetch();
    assert_eq!(dsn, "https://a@example.com/1\n");
    assert!(!told.contains("example.com"), "{told}");

    // The previous one is better than none.
    tools.add("aws", "exit 255");
    assert_eq!(fetch().0, "https://a@example.com/1\n");
}
