//! Environments that GitHub would make without rules, or that have too few.

use serde_json::json;

use crate::github::GitHub;

/// Its job fails if an environment that lacks a rule passes, or if the one that lacks none does not.
const GUARD: &str = r#"
name: rules
on: push
permissions: {actions: read, contents: read}
jobs:
  rules:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1
        with: {persist-credentials: false}
      - run: |
          for environment in missing open wide unreviewed; do
            if .ci/protected "$environment" --branches main --reviewers; then exit 1; fi
          done
          .ci/protected right --branches main --reviewers
        env: {GITHUB_TOKEN: "${{ github.token }}"}
"#;

#[test]
fn an_environment_without_its_rules_is_refused() {
    let owners = json!(["owners"]);
    let mut github = GitHub::of_project(json!({
        "environments": {
            "open": { "reviewers": owners },
            "wide": { "branches": ["main", "release/*"], "reviewers": owners },
            "unreviewed": { "branches": ["main"] },
            "right": { "branches": ["main"], "reviewers": owners },
        },
        "files": { ".github/workflows/rules.yml": GUARD },
    }));
    let run = github.start_run("rules.yml", "push");
    let runs = github.settle();
    runs.expect(run, &[("rules", "success")]);
    let logs = runs.logs(run);
    for complaint in [
        "missing: it does not exist",
        "open: it lets in other branches than main",
        "wide: it lets in other branches than main",
        "unreviewed: it has no required reviewers",
    ] {
        assert!(logs.contains(complaint), "{complaint}: {logs}");
    }
    assert_eq!(logs.matches("protected: ").count(), 4, "{logs}");
    let told = "\nright has required reviewers and lets in main alone\n";
    assert!(logs.contains(told), "{logs}");
}

#[test]
fn nothing_is_baked_for_an_environment_without_its_rules() {
    let mut github = GitHub::of_project(json!({
        "environments": {
            "staging": { "branches": ["main"] },
            "production": { "branches": ["main"] },
            // The last that is asked for.
            "approval": { "branches": ["main"] },
        },
        "environment": { "BINARY": crate::harness::BINARY },
        "hooks": { "CHANNEL_WEBHOOK": "channel" },
    }));
    let run = github.start_run("main.yml", "push");
    let runs = github.settle();
    runs.expect(run, &[("guard", "failure"), ("build", "success"), ("bake", "skipped")]);
    runs.expect(run, &[("staging", "skipped"), ("production", "skipped"), ("report", "success")]);
    let logs = runs.logs(run);
    for told in [
        "\nstaging lets in main alone\n",
        "\nproduction lets in main alone\n",
        "\nprotected: approval: it has no required reviewers",
    ] {
        assert!(logs.contains(told), "{told:?} is not in: {logs}");
    }
    let messages = github.seen("messages");
    assert_eq!(messages.as_array().unwrap().len(), 1, "{messages}");
    let text = messages[0]["text"].as_str().unwrap();
    assert!(text.contains("nothing was released"), "{text}");
}
