//! A service that does not start, and its error.

use std::process::Command;

use crate::harness::{BINARY, Failed, Service, new_folder};
use crate::url::password;

/// The one sentence with which the service fails to start with `flags`. It must not
/// hold the password of a URL among them.
#[track_caller]
pub fn refusal(flags: &[&str]) -> String {
    let Failed { status, log } = failed(flags);
    assert_eq!(status.code(), Some(1), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.starts_with("hello-birthday: cannot open the store: "), "{log}");
    for url in flags.iter().filter(|flag| flag.contains('@')) {
        assert!(!log.contains(password(url)), "the password is printed");
    }
    log
}

/// The end of a service that is started with `flags`, and must not serve.
#[track_caller]
pub fn failed(flags: &[&str]) -> Failed {
    let mut command = Command::new(BINARY);
    command.args(flags);
    match Service::try_spawn(&new_folder(), command) {
        Ok(_) => panic!("the service started with {flags:?}"),
        Err(failed) => failed,
    }
}
