//! The dashboard as CloudWatch gets it: what it shows exists, and can be seen.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::diagrams::resources;
use crate::plans::{Plan, plans};

/// CloudWatch's grid.
const COLUMNS: u64 = 24;

/// A graph needs so many columns to be read.
const GRAPH_COLUMNS_MIN: u64 = 6;

/// Metrics that no alarm compares, by namespace, name and dimensions, from AWS's lists:
/// Application Load Balancers, Auto Scaling groups, EFS, Aurora and AWS Backup.
const NO_ALARM: [&str; 19] = [
    "AWS/ApplicationELB HTTPCode_Target_2XX_Count LoadBalancer",
    "AWS/ApplicationELB HTTPCode_Target_4XX_Count LoadBalancer",
    "AWS/ApplicationELB ActiveConnectionCount LoadBalancer",
    "AWS/ApplicationELB TargetConnectionErrorCount LoadBalancer",
    "AWS/ApplicationELB RequestCountPerTarget LoadBalancer TargetGroup",
    "AWS/AutoScaling GroupPendingInstances AutoScalingGroupName",
    "AWS/AutoScaling GroupTerminatingInstances AutoScalingGroupName",
    "AWS/Backup NumberOfBackupJobsFailed BackupVaultName",
    "AWS/Backup NumberOfCopyJobsCompleted BackupVaultName",
    "AWS/Backup NumberOfCopyJobsFailed BackupVaultName",
    "AWS/EFS ClientConnections FileSystemId",
    "AWS/EFS DataReadIOBytes FileSystemId",
    "AWS/EFS DataWriteIOBytes FileSystemId",
    "AWS/RDS CommitLatency DBClusterIdentifier Role",
    "AWS/RDS CPUUtilization DBClusterIdentifier Role",
    "AWS/RDS DatabaseConnections DBClusterIdentifier Role",
    "AWS/RDS VolumeBytesUsed DBClusterIdentifier",
    "STACK hello_birthday_store_outage_seconds job",
    "STACK hello_birthday_store_retries_total kind",
];

#[test]
fn widgets_fill_the_columns_and_cover_no_other() {
    for plan in plans() {
        let widgets = widgets(plan);
        for (index, widget) in widgets.iter().enumerate() {
            let [x, _, width, _] = place(widget);
            assert!(x + width <= COLUMNS && width >= GRAPH_COLUMNS_MIN, "{}: {widget}", plan.name);
            for other in &widgets[..index] {
                assert!(!covers(widget, other), "{}: {widget} covers {other}", plan.name);
            }
        }
        // No row is left empty, whatever the stack does not have.
        let height = widgets.iter().map(|widget| place(widget)[1] + place(widget)[3]).max();
        for y in 0..height.unwrap() {
            let taken = widgets
                .iter()
                .any(|widget| (0..place(widget)[3]).contains(&y.wrapping_sub(place(widget)[1])));
            assert!(taken, "{}: nothing in row {y}", plan.name);
        }
    }
}

#[test]
fn a_graph_shows_metrics_that_exist_and_says_what_it_counts() {
    for plan in plans() {
        let mut known: BTreeSet<_> = NO_ALARM.iter().map(|metric| (*metric).to_owned()).collect();
        known.extend(
            plan.resources("aws_cloudwatch_metric_alarm").flat_map(|alarm| compared(plan, alarm)),
        );
        for graph in widgets(plan).iter().filter(|widget| widget["type"] == "metric") {
            let properties = &graph["properties"];
            assert!(!properties["yAxis"]["left"]["label"].as_str().unwrap().is_empty(), "{graph}");
            assert!(
                ["title", "region", "stat"].iter().all(|name| properties[name].is_string()),
                "{graph}"
            );
            let metrics = properties["metrics"].as_array().unwrap();
            assert!(!metrics.is_empty(), "{graph}");
            for metric in metrics.iter().filter(|metric| metric[0].is_string()) {
                let shown = shown(plan, metric.as_array().unwrap());
                assert!(known.contains(&shown), "{}: nothing reports {shown}", plan.name);
            }
        }
    }
}

#[test]
fn a_stack_has_the_graphs_of_its_databases_alone() {
    for plan in plans() {
        let titles: Vec<_> =
            widgets(plan).iter().map(|widget| widget["properties"]["title"].to_string()).collect();
        let count = |database: &str| titles.iter().filter(|title| title.contains(database)).count();
        let expected = match plan.name {
            "staging" => (3, 0),
            "production" => (0, 5),
            _ => (3, 6),
        };
        assert_eq!((count("EFS: "), count("Aurora: ")), expected, "{}: {titles:?}", plan.name);
    }
}

#[test]
fn every_alarm_is_on_the_dashboard_once() {
    for plan in plans() {
        let widgets = widgets(plan);
        let listed = widgets.iter().filter(|widget| widget["type"] == "alarm");
        let mut listed: Vec<_> =
            listed.flat_map(|widget| widget["properties"]["alarms"].as_array().unwrap()).collect();
        let mut planned: Vec<_> =
            plan.resources("aws_cloudwatch_metric_alarm").map(|alarm| &alarm["arn"]).collect();
        for arns in [&mut listed, &mut planned] {
            arns.sort_by_key(|arn| arn.to_string());
        }
        assert_eq!(
            listed, planned,
            "{}: dashboard.tf lists other alarms than there are",
            plan.name
        );
    }
}

#[test]
fn a_plan_with_everything_has_every_alarm() {
    let everything = plans().iter().find(|plan| plan.name == "everything").unwrap();
    let planned = everything.resources("aws_cloudwatch_metric_alarm").count();
    let written = resources("")
        .iter()
        .filter(|resource| resource.starts_with("aws_cloudwatch_metric_alarm."))
        .count();
    assert_eq!(planned, written);
}

/// The widgets of the dashboard that a plan makes.
fn widgets(plan: &Plan) -> Vec<Value> {
    let dashboard = plan.resources("aws_cloudwatch_dashboard").next().unwrap();
    let body = dashboard["dashboard_body"].as_str().expect("the dashboard is known");
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    body["widgets"].as_array().unwrap().clone()
}

/// Left edge, top edge, width and height.
fn place(widget: &Value) -> [u64; 4] {
    ["x", "y", "width", "height"].map(|name| widget[name].as_u64().unwrap())
}

fn covers(one: &Value, other: &Value) -> bool {
    let ([x, y, width, height], [left, top, columns, rows]) = (place(one), place(other));
    x < left + columns && left < x + width && y < top + rows && top < y + height
}

/// The metrics that an alarm compares.
fn compared(plan: &Plan, alarm: &Value) -> Vec<String> {
    let queries = alarm["metric_query"].as_array().unwrap();
    let queries = queries.iter().filter_map(|query| query["metric"].get(0));
    let single = Some(alarm).filter(|alarm| alarm["metric_name"].is_string());
    single
        .into_iter()
        .chain(queries)
        .map(|metric| {
            let dimensions = metric["dimensions"].as_object().unwrap().keys();
            let [namespace, name] =
                ["namespace", "metric_name"].map(|part| metric[part].as_str().unwrap());
            described(plan, namespace, name, dimensions.map(String::as_str).collect())
        })
        .collect()
}

/// A metric as a graph names it: namespace, name, pairs of dimensions, options.
fn shown(plan: &Plan, metric: &[Value]) -> String {
    let words: Vec<_> = metric.iter().filter_map(Value::as_str).collect();
    described(plan, words[0], words[1], words[2..].iter().copied().step_by(2).collect())
}

fn described(plan: &Plan, namespace: &str, name: &str, mut dimensions: Vec<&str>) -> String {
    let stack = plan.resources("aws_cloudwatch_dashboard").next().unwrap()["dashboard_name"]
        .as_str()
        .unwrap();
    dimensions.sort_unstable();
    let namespace = if namespace == stack { "STACK" } else { namespace };
    format!("{namespace} {name} {}", dimensions.join(" "))
}
