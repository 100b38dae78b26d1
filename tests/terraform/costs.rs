//! What the environments cost a month, added up from their plans.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::documentation::expect_in_step;
use crate::plans::plans;
use crate::{command, run, said};

/// What staging may cost.
const STAGING_USD_MAX: f64 = 75.0;

#[test]
fn staging_costs_less_than_75_dollars_a_month() {
    let costs = costs();
    let sum = costs.lines().find(|line| line.starts_with("| **Sum**")).unwrap();
    let staging: f64 = sum.split("**").nth(3).unwrap().parse().unwrap();
    assert!(staging > 0.0 && staging < STAGING_USD_MAX, "{costs}");
}

#[test]
fn the_readme_shows_what_the_environments_cost() {
    expect_in_step("terraform/README.md", "costs", &costs());
}

#[test]
fn a_resource_without_a_price_is_named() {
    let plan = json!({ "resource_changes": [{
        "address": "aws_gamelift_fleet.this",
        "type": "aws_gamelift_fleet",
        "mode": "managed",
        "change": { "after": {} },
    }] });
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("plan.json");
    fs::write(&path, plan.to_string()).unwrap();
    let mut script = command("tests/terraform/costs.py");
    let told = script.arg(format!("new={}", path.display())).output().unwrap();
    assert!(!told.status.success());
    assert!(said(&told).contains("aws_gamelift_fleet.this"), "{}", said(&told));
}

/// The tables of both environments.
fn costs() -> String {
    let folder = TempDir::new().unwrap();
    let mut script = command("tests/terraform/costs.py");
    for name in ["staging", "production"] {
        let plan = plans().iter().find(|plan| plan.name == name).unwrap();
        let path = folder.path().join(name);
        fs::write(&path, plan.json.to_string()).unwrap();
        script.arg(format!("{name}={}", path.display()));
    }
    run(&mut script)
}
