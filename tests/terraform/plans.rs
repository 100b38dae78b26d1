//! What the environments plan, without an AWS: Terraform's tests mock it, and print the plan.

use std::fs;
use std::sync::LazyLock;
use std::thread;

use serde_json::Value;

use crate::providers::{RunningProvider, providers};
use crate::tree::Tree;

/// A plan of a stack that does not exist yet.
pub struct Plan {
    pub name: &'static str,
    /// As `terraform show -json` prints it.
    pub json: Value,
}

impl Plan {
    /// What the resources of a kind are to be.
    pub fn resources<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        let changes = self.json["resource_changes"].as_array().unwrap().iter();
        changes
            .filter(move |change| change["type"] == kind)
            .map(|change| &change["change"]["after"])
    }
}

/// Both environments, and a stack that has all that a stack can have.
const STACKS: [(&str, &[&str]); 3] = [
    ("staging", &["-var-file=environments/staging.tfvars"]),
    ("production", &["-var-file=environments/production.tfvars"]),
    (
        "everything",
        &[
            "-var-file=environments/staging.tfvars",
            "-var=database_beside=postgres",
            "-var=postgres={ readers = 1, read_from_readers = true }",
        ],
    ),
];

/// The plans of all stacks.
pub fn plans() -> &'static [Plan] {
    static PLANS: LazyLock<Result<Vec<Plan>, String>> = LazyLock::new(|| {
        // In this thread, so that its message is not lost with one of the others.
        let provider = &providers().oldest.start();
        thread::scope(|scope| {
            let start = |(name, settings)| scope.spawn(move || plan(name, settings, provider));
            let plans = STACKS.map(start);
            plans.into_iter().map(|plan| plan.join().unwrap()).collect()
        })
    });
    PLANS.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

fn plan(name: &'static str, settings: &[&str], provider: &RunningProvider) -> Result<Plan, String> {
    let tree = Tree::new("", &providers().oldest);
    fs::write(tree.path("tests/plan.tftest.hcl"), include_str!("plan.tftest.hcl")).unwrap();
    let mut test = tree.terraform("test");
    test.args(["-json", "-verbose", "-filter=tests/plan.tftest.hcl"]).args(settings);
    let output = provider.attach(&mut test).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    // It is 14 MB long, nearly all of it the provider's schema.
    let (mut plans, others): (Vec<_>, Vec<_>) =
        told.lines().partition(|line| line.contains(r#""type":"test_plan""#));
    match plans.pop() {
        Some(plan) if output.status.success() => {
            let mut message: Value = serde_json::from_str(plan).unwrap();
            Ok(Plan { name, json: message["test_plan"].take() })
        }
        _ => Err(format!("cannot plan {name}: {}", others.join("\n"))),
    }
}
