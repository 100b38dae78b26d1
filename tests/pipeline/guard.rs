//! Environments that GitHub would make without rules, or that have too few.

use serde_json::{Value, json};

use crate::github::GitHub;

#[test]
fn nothing_is_baked_for_an_environment_without_its_rules() {
    let right = json!({
        "staging": { "branches": ["main"] },
        "production": { "branches": ["main"] },
        "approval": { "reviewers": ["owners"] },
    });
    let lacking = [
        ("staging", Value::Null, "it does not exist"),
        ("production", json!({}), "lets in other branches than main"),
        ("production", json!({ "branches": ["main", "release/*"] }), "lets in other branches"),
        ("approval", Value::Null, "it does not exist"),
        ("approval", json!({ "branches": ["main"] }), "no required reviewers"),
    ];
    for (name, rules, expected) in lacking {
        let mut environments = right.clone();
        environments[name] = rules;
        environments.as_object_mut().unwrap().retain(|_, rules| !rules.is_null());
        let settings = json!({
            "environments": environments,
            "environment": { "BINARY": crate::harness::BINARY },
            "hooks": { "CHANNEL_WEBHOOK": "channel" },
        });
        let mut github = GitHub::of_project(settings);
        let run = github.start_run("main.yml", "push");
        let runs = github.settle();
        runs.expect(run, &[("guard", "failure"), ("build", "success"), ("bake", "skipped")]);
        runs.expect(
            run,
            &[("staging", "skipped"), ("production", "skipped"), ("report", "success")],
        );
        assert!(runs.logs(run).contains(expected), "{name}: {}", runs.logs(run));
        let messages = github.seen("messages");
        assert_eq!(messages.as_array().unwrap().len(), 1, "{messages}");
        let text = messages[0]["text"].as_str().unwrap();
        assert!(text.contains("nothing was released"), "{text}");
    }
}
