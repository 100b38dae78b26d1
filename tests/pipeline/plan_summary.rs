//! The summary of a plan on a pull request: it holds no values.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{command, run, said};

fn summary(plan: &Value) -> String {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("plan.json");
    fs::write(&file, plan.to_string()).unwrap();
    run(command(".ci/plan-summary").arg(file))
}

/// A change of a resource, with a secret in every place that holds values.
fn change(address: &str, actions: &[&str]) -> Value {
    let secret = json!({ "password": "hunter2", "tags": { "hunter2": "hunter2" } });
    json!({
        "address": address,
        "type": "aws_db_instance",
        "change": { "actions": actions, "before": secret, "after": secret, "after_unknown": secret },
        "action_reason": "hunter2",
    })
}

#[test]
fn a_plan_is_summarized_by_addresses_and_actions_alone() {
    let plan = json!({
        "variables": { "password": { "value": "hunter2" } },
        "planned_values": { "outputs": { "url": { "value": "hunter2" } } },
        "prior_state": { "values": { "outputs": { "secret": { "value": "hunter2" } } } },
        "resource_changes": [
            change("aws_lb.this", &["no-op"]),
            change("data.aws_region.this", &["read"]),
            change("aws_kms_key.this", &["create"]),
            change("module.sqlite[0].aws_efs_mount_target.this[\"eu-central-1a\"]", &["update"]),
            change("terraform_data.roll", &["delete", "create"]),
            change("aws_eip.this", &["delete"]),
            change("aws_old.this", &["forget"]),
        ],
        "output_changes": { "url": { "actions": ["update"], "before": "hunter2", "after": "hunter2" } },
    });
    let summary = summary(&plan);
    assert!(!summary.contains("hunter2"), "{summary}");
    let expected = "1 to create, 1 to delete, 1 to forget, 1 to replace, 1 to update\n\n\
        | action | address |\n| --- | --- |\n\
        | create | `aws_kms_key.this` |\n\
        | update | `module.sqlite[0].aws_efs_mount_target.this[\"eu-central-1a\"]` |\n\
        | replace | `terraform_data.roll` |\n\
        | delete | `aws_eip.this` |\n\
        | forget | `aws_old.this` |\n";
    assert_eq!(summary, expected);
}

#[test]
fn a_plan_without_changes_says_so_and_a_moved_resource_is_a_change() {
    let none = json!({ "resource_changes": [change("aws_lb.this", &["no-op"])] });
    assert_eq!(summary(&none), "Nothing changes.\n");
    let mut moved = change("aws_lb.that", &["no-op"]);
    moved["previous_address"] = json!("aws_lb.this");
    let moved = summary(&json!({ "resource_changes": [moved] }));
    assert!(moved.contains("| move | `aws_lb.this to aws_lb.that` |"), "{moved}");
}

#[test]
fn keys_cannot_end_the_table_and_long_plans_are_cut() {
    let hostile = change("aws_lb.this[\"`|\n@everyone\"]", &["create"]);
    let told = summary(&json!({ "resource_changes": [hostile] }));
    assert!(told.ends_with("| create | `aws_lb.this[\"…` |\n"), "{told}");

    let many: Vec<_> = (0..1000).map(|n| change(&format!("aws_lb.n{n}"), &["create"])).collect();
    let told = summary(&json!({ "resource_changes": many }));
    assert!(told.ends_with("\nand 700 more\n") && told.len() < 65_536, "{}", told.len());
}

#[test]
fn what_is_no_plan_is_refused_without_being_quoted() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("plan.json");
    for text in ["hunter2", r#"{"resource_changes": "hunter2"}"#, r#"{"hunter2": 1}"#] {
        fs::write(&file, text).unwrap();
        let output = command(".ci/plan-summary").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(!said(&output).contains("hunter2"), "{}", said(&output));
    }
}
