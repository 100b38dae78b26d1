//! A service that does not start, and what it says of that.

use std::process::Command;

use crate::harness::{BINARY, Failed, Service, new_folder};

/// The one sentence with which the service fails to start with `flags`. It must
/// not tell the password of a URL among them.
#[track_caller]
pub fn refusal(flags: &[&str]) -> String {
    let mut command = Command::new(BINARY);
    command.args(flags);
    let Err(Failed { status, log }) = Service::try_spawn(&new_folder(), command) else {
        panic!("the service started with {flags:?}");
    };
    assert_eq!(status.code(), Some(1), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.starts_with("hello-birthday: cannot open the store: "), "{log}");
    for password in flags.iter().copied().filter_map(password) {
        assert!(!log.contains(password), "the password is told");
    }
    log
}

/// The password in `url`, if it holds one.
pub fn password(url: &str) -> Option<&str> {
    let (credentials, _) = url.split_once("://")?.1.split_once('@')?;
    Some(credentials.split_once(':')?.1)
}
