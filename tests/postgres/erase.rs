//! Erasing people's data at their request.

use std::process::Command;

use crate::cluster::{execute, shared};
use crate::harness::{BINARY, Service, new_folder, run};
use crate::url::role;

#[test]
fn users_are_erased_while_the_service_runs_by_a_role_that_may() {
    let url = shared().new_database();
    let folder = new_folder();
    let service = Service::start_in(&folder, &["--database-url", &url]);
    for name in ["Rumpelstiltskin", "Jos%C3%A9", "Schneewittchen"] {
        service.save(name, "1990-05-20");
    }
    let erase = || {
        let mut command = Command::new(BINARY);
        command.args(["erase", "--database-url", &url, "Rumpelstiltskin", "José", "Nobody"]);
        let (status, output, error) = run(command);
        (status.code(), output, error)
    };
    execute(&url, &format!("revoke delete on users from {}", role(&url)));
    let (status, _, error) = erase();
    assert_eq!(status, Some(1), "{error}");
    assert!(error.contains("needs the privilege delete"), "{error}");
    assert!(!error.contains("Rumpel"), "{error}");
    service.get("/hello/Rumpelstiltskin").expect_status(200);

    execute(&url, &format!("grant delete on users to {}", role(&url)));
    let (status, output, error) = erase();
    assert_eq!(status, Some(0), "{error}");
    assert_eq!(output, "erased 2 users; 1 were not there\n");
    service.get("/hello/Rumpelstiltskin").expect_status(404);
    service.get("/hello/Schneewittchen").expect_status(200);
    assert_eq!(erase().1, "erased 0 users; 3 were not there\n");
}
