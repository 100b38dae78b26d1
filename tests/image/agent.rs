//! CloudWatch's agent: that it can start with the settings it is given, and what it sends.
//!
//! Debian has no such agent. A script stands in for the part of it that translates the
//! settings.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::image::{Copy, play, play_tasks, play_tasks_in, render, settings};
use crate::machine::Machine;
use crate::role::changed_tasks;
use crate::units::folder;
use crate::{command, run, said};

const AGENT: &str = "/opt/aws/amazon-cloudwatch-agent";
const UNIT: &str = "amazon-cloudwatch-agent.service";
/// A version as the agent tells it, with the number of its build.
const FIRST_WITH_JOURNAL: &str = "1.300070.0b1234";
const LAST_WITHOUT: &str = "1.300069.1b1233";

#[test]
fn an_agent_that_understands_its_settings_is_set_up_verified_and_started_after_cloud_init() {
    let copy = Copy::of_image();
    install(&copy, FIRST_WITH_JOURNAL);
    let succeed = |output: Output| {
        assert!(output.status.success(), "{}", said(&output));
        output
    };
    succeed(play_tasks("agents", &copy, &settings_with_agent()));
    // Neither of what was done now, nor of what the image was made with before.
    let output = succeed(play("ansible/image.yml", &copy.root(), &settings_with_agent(), None));
    assert!(changed_tasks(&output).is_empty(), "{}", said(&output));
    // No stack's name is in an image.
    let stacks = copy.path(AGENT).join("etc/amazon-cloudwatch-agent.d");
    assert_eq!(fs::read_dir(stacks).unwrap().count(), 0);
    succeed(play_tasks("verify_agents", &copy, &settings_with_agent()));

    // Its unit alone would not wait.
    let machine = Machine::boot(copy);
    let after = machine.property(UNIT, "After");
    assert!(after.split(' ').any(|unit| unit == "cloud-init.service"), "{after}");
    assert_eq!(machine.property(UNIT, "UnitFileState"), "enabled");
}

#[test]
fn an_agent_too_old_for_its_settings_fails_the_bake_in_its_own_words() {
    let copy = Copy::of_image();
    install(&copy, LAST_WITHOUT);
    let output = play_tasks("agents", &copy, &settings_with_agent());
    assert!(!output.status.success(), "its hosts would send nothing");
    let words = "Under path : /logs/logs_collected | Error : Additional property journald";
    assert!(said(&output).contains(words), "{}", said(&output));

    let output = play_tasks("verify_agents", &copy, &settings_with_agent());
    let words = "the CloudWatch agent has version 1.300069.1; it collects the journal from";
    assert!(said(&output).contains(words), "{}", said(&output));
}

#[test]
fn settings_that_the_agent_cannot_translate_fail_the_bake() {
    let copy = Copy::of_image();
    install(&copy, FIRST_WITH_JOURNAL);
    let cases = [
        ("stack.json", "\"units\"", "\"unit\"", "Additional property unit is not allowed"),
        ("stack.json", "\"logs\": {", "\"logs\": ", "Failed to generate merged json config"),
        (
            "amazon-cloudwatch-agent.json",
            "}\n}",
            "},\n\"metrics\": { \"namespace\": \"Ours\", \"metrics_collected\": {} } }",
            "Different values are specified for namespace",
        ),
    ];
    for (name, right, wrong, words) in cases {
        let project = TempDir::new().unwrap();
        run(command("cp").args(["-r", "ansible", "systemd"]).arg(project.path()));
        let file = project.path().join("ansible/roles/hello_birthday/files").join(name);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(right), "{name}: {right}");
        fs::write(&file, text.replace(right, wrong)).unwrap();
        let output = play_tasks_in(project.path(), "agents", &copy, &settings_with_agent());
        assert!(!output.status.success(), "{wrong}: {}", said(&output));
        assert!(said(&output).contains(words), "{wrong}: {}", said(&output));
    }
}

#[test]
fn memory_and_disk_are_sent_once_for_the_group_and_by_no_other_dimension() {
    let metrics = &stack()["metrics"];
    let group = json!({ "AutoScalingGroupName": "@STACK@" });
    assert_eq!(metrics["namespace"], "@STACK@");
    // These would ask EC2's API, and add themselves to every metric.
    assert_eq!(metrics["append_dimensions"], Value::Null);
    assert_eq!(baked()["agent"]["omit_hostname"], true);

    let plugins = metrics["metrics_collected"].as_object().unwrap();
    assert_eq!(plugins.keys().collect::<Vec<_>>(), ["disk", "mem"]);
    for (name, plugin) in plugins {
        assert_eq!(plugin["measurement"], json!(["used_percent"]), "{name}");
        assert_eq!(plugin["append_dimensions"], group, "{name}");
        // What the plugin itself tells of its source.
        let own: &[&str] = if name == "disk" { &["path", "fstype"] } else { &[] };
        assert_eq!(plugin["drop_device"] == true, name == "disk");
        let original = names(&["AutoScalingGroupName"], own);
        let dropped = plugin["drop_original_metrics"] == plugin["measurement"];
        // As the agent does (ProcessRollup and IsDropping in plugins/outputs/cloudwatch):
        // aggregates have fewer dimensions than the original.
        let aggregates = metrics["aggregation_dimensions"].as_array().unwrap();
        let aggregates = aggregates.iter().map(|list| names(&strings(list), &[]));
        let aggregates = aggregates.filter(|aggregate| aggregate.len() < original.len());
        let mut sent: Vec<_> = aggregates.collect();
        if !dropped {
            sent.push(original.clone());
        }
        assert_eq!(sent, [names(&["AutoScalingGroupName"], &[])], "{name}");
    }
}

#[test]
fn the_agent_reads_the_journal_and_scrapes_the_admin_listener() {
    let stack = stack();
    let logs = &stack["logs"];
    let journals = logs["logs_collected"]["journald"]["collect_list"].as_array().unwrap();
    for journal in journals {
        assert_eq!(journal["log_group_name"], "/@STACK@/service");
    }
    let units = strings(&journals[0]["units"]);
    assert!(!units.is_empty());
    for unit in units {
        assert!(folder().join(unit).exists(), "{unit}");
    }

    let scraping = &logs["metrics_collected"]["prometheus"];
    assert_eq!(scraping["log_group_name"], "/@STACK@/metrics");
    assert_eq!(scraping["emf_processor"]["metric_namespace"], "@STACK@");
    let declarations = scraping["emf_processor"]["metric_declaration"].as_array().unwrap();
    let dimensions: Vec<_> = declarations.iter().map(|one| &one["dimensions"]).collect();
    assert_eq!(dimensions, [&json!([["kind"]]), &json!([["job"]])]);
    // Where the role puts it.
    assert_eq!(scraping["prometheus_config_path"], format!("{AGENT}/etc/prometheus.yaml"));
    let socket = fs::read_to_string(folder().join("hello-birthday.socket")).unwrap();
    let admin = socket.lines().filter_map(|line| line.strip_prefix("ListenStream=")).nth(1);
    let target = format!("127.0.0.1:{}", admin.expect("the second is admin"));
    assert!(render("prometheus.yaml", &json!({})).contains(&target));
}

/// Installs what stands in for the agent, as a package would.
fn install(copy: &Copy, version: &str) {
    let translator = include_str!("agent/config-translator");
    copy.write(&format!("{AGENT}/bin/config-translator"), translator, 0o755);
    copy.write(&format!("{AGENT}/bin/CWAGENT_VERSION"), version, 0o644);
    copy.write(&format!("{AGENT}/etc/common-config.toml"), "", 0o644);
    fs::create_dir(copy.path(AGENT).join("etc/amazon-cloudwatch-agent.d")).unwrap();
    let unit = "[Unit]\nAfter=network.target\n[Service]\nExecStart=true\n\
         [Install]\nWantedBy=multi-user.target\n";
    copy.write(&format!("/etc/systemd/system/{UNIT}"), unit, 0o644);
    run(command("chroot").arg(copy.root()).args(["useradd", "--system", "cwagent"]));
}

fn settings_with_agent() -> Value {
    let mut settings = settings();
    settings["hello_birthday_agents"] = json!([UNIT]);
    settings
}

fn stack() -> Value {
    read("stack.json")
}

fn baked() -> Value {
    read("amazon-cloudwatch-agent.json")
}

fn read(name: &str) -> Value {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("ansible/roles/hello_birthday/files");
    serde_json::from_str(&fs::read_to_string(files.join(name)).unwrap()).unwrap()
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

fn names<'a>(some: &[&'a str], more: &[&'a str]) -> BTreeSet<&'a str> {
    some.iter().chain(more).copied().collect()
}
