//! How the service's roles are made in a cluster, by the Data API.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::emulator::{Emulator, REGION};
use crate::{command, said};

#[test]
fn roles_are_made_as_soon_as_the_cluster_has_an_instance() {
    let emulator = Emulator::start();
    let cluster = make_cluster(&emulator);
    let mut making = make_roles(&emulator, &cluster, "hello");
    let mut making = making.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(making.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(first.contains("attempt 1") && first.contains("DatabaseNotFoundException"), "{first}");

    add_instance(&emulator);
    let last = lines.last().unwrap();
    assert!(last.contains("the roles hello and hello_owner are there"), "{last}");
    assert!(making.wait().unwrap().success());
    // It can be run again at any time.
    assert!(make_roles(&emulator, &cluster, "hello").status().unwrap().success());
}

#[test]
fn an_error_that_waiting_does_not_change_is_reported_at_once() {
    let emulator = Emulator::start();
    let cluster = make_cluster(&emulator);
    add_instance(&emulator);
    let mut other_secret = cluster.clone();
    other_secret["MasterUserSecret"]["SecretArn"] =
        json!("arn:aws:secretsmanager:eu-central-1:1:secret:x");
    for (cluster, database, error) in [
        (&cluster, "other", "does not exist"),
        (&other_secret, "hello", "password authentication failed"),
    ] {
        let refused = make_roles(&emulator, cluster, database).output().unwrap();
        let told = said(&refused);
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(told.contains(error) && told.contains("Apply again"), "{told}");
        assert!(!told.contains("attempt"), "{told}");
    }
}

/// A cluster as the module makes it, without an instance.
fn make_cluster(emulator: &Emulator) -> Value {
    let cluster = json!({
        "DBClusterIdentifier": "hello-birthday-test",
        "Engine": "aurora-postgresql",
        "EngineVersion": "15",
        "DatabaseName": "hello",
        "MasterUsername": "hello_admin",
        "ManageMasterUserPassword": true,
        "EnableHttpEndpoint": true,
    });
    emulator.aws("rds.create_db_cluster", cluster)["DBCluster"].clone()
}

fn add_instance(emulator: &Emulator) {
    let instance = json!({
        "DBInstanceIdentifier": "hello-birthday-test-1",
        "DBClusterIdentifier": "hello-birthday-test",
        "DBInstanceClass": "db.serverless",
        "Engine": "aurora-postgresql",
    });
    emulator.aws("rds.create_db_instance", instance);
}

fn make_roles(emulator: &Emulator, cluster: &Value, database: &str) -> Command {
    let mut script = command("terraform/postgres/make-roles");
    script.args(["--region", REGION, "--database", database]);
    script.args(["--cluster", cluster["DBClusterArn"].as_str().unwrap()]);
    script.args(["--secret", cluster["MasterUserSecret"]["SecretArn"].as_str().unwrap()]);
    emulator.enter(&mut script).env("POLL_SECONDS", "0");
    script
}
