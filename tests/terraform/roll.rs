//! The script that rolls a group: each way that a roll goes, and what ends the script
//! while AWS goes on.

use std::io::{BufRead, BufReader, PipeReader, Read};
use std::process::{Child, Command};
use std::sync::LazyLock;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::command;
use crate::emulator::{Emulator, REGION};

#[test]
fn a_roll_replaces_every_instance_and_can_be_rolled_back() {
    let group = Group::new("replaces", 4);
    let roll = group.roll(3, 0);
    for said in ["Pending, 0 %", "InProgress, 0 %", "InProgress, 50 %", "Baking, 100 %"] {
        roll.expect(said);
    }
    roll.expect("the group runs version 3");
    group.expect_version(3);
    // New instances start first, and alarms are watched.
    let [started] = &*group.calls("StartInstanceRefresh") else { panic!("it starts one") };
    let expected = json!({
        "Action": "StartInstanceRefresh",
        "Version": started["Version"],
        "AutoScalingGroupName": group.name,
        "DesiredConfiguration.LaunchTemplate.LaunchTemplateId": TEMPLATE.id,
        "DesiredConfiguration.LaunchTemplate.Version": "3",
        "Preferences.MinHealthyPercentage": "100",
        "Preferences.MaxHealthyPercentage": "150",
        "Preferences.InstanceWarmup": "60",
        "Preferences.BakeTime": "300",
        "Preferences.SkipMatching": "true",
        "Preferences.AutoRollback": "true",
        "Preferences.AlarmSpecification.Alarms.member.1": group.alarms()[0],
        "Preferences.AlarmSpecification.Alarms.member.2": group.alarms()[1],
    });
    assert_eq!(*started, expected);
}

#[test]
fn a_group_that_runs_the_version_is_left_alone() {
    let group = Group::new("there", 2);
    group.roll(1, 0).expect("the group runs version 1 already");
    assert_eq!(group.calls("StartInstanceRefresh"), [] as [Value; 0]);
}

#[test]
fn a_group_that_does_not_exist_is_an_error() {
    let group = Group { name: "no-such-group".to_owned(), size: 0 };
    group.roll(2, 1).expect("not found");
}

#[test]
fn a_version_that_does_not_exist_is_an_error() {
    let group = Group::new("version", 2);
    group.roll(99, 1);
    group.expect_version(1);
}

#[test]
fn a_failed_rollback_is_told_and_a_roll_mends_it() {
    let group = Group::new("stays", 2);
    group.plan("alarms", "fails");
    group.roll(2, 1).expect("so did the rollback");
    group.roll(2, 0);
    group.expect_version(2);
}

#[test]
fn an_alarm_rolls_back() {
    let group = Group::new("alarms", 2);
    group.plan("alarms", "works");
    group.roll(2, 1).expect("rolled back").expect(&group.alarms()[0]);
    group.expect_version(1);
}

#[test]
fn a_roll_that_takes_too_long_is_rolled_back() {
    let group = Group::new("hangs", 2);
    group.plan("hangs", "works");
    let mut roll = group.command(2, 0);
    // Bash counts its SECONDS from here: the time is over at the first look, and the
    // rollback has an hour.
    roll.env("SECONDS", TIMEOUT_SECONDS.to_string());
    end(roll, 1)
        .expect("not over after 3600 s: rolling back")
        .expect("rolled back to the version before");
    group.expect_version(1);
}

#[test]
fn a_rollback_that_takes_too_long_is_not_waited_for() {
    let group = Group::new("hangs-twice", 2);
    group.plan("fails", "hangs");
    group.start(2);
    group.wait_for_status("RollbackInProgress");
    let mut roll = group.command(2, 0);
    roll.args(["--timeout-seconds", "0"]);
    end(roll, 1).expect("the rollback is not over either");
    let [] = &*group.calls("RollbackInstanceRefresh") else { panic!("it is AWS's to finish") };
}

#[test]
fn a_roll_that_somebody_cancels_is_no_success() {
    let group = Group::new("cancels", 2);
    group.plan("hangs", "works");
    let mut roll = Running::start(group.command(2, 0));
    roll.wait_for("InProgress");
    group.aws("autoscaling.cancel_instance_refresh", json!({}));
    roll.end(1).expect("Cancelled");
}

#[test]
fn a_roll_of_another_version_is_left_alone() {
    let group = Group::new("refuses", 2);
    group.start(2);
    group.roll(3, 1).expect("version 2");
    assert_eq!(group.calls("StartInstanceRefresh").len(), 1);
}

#[test]
fn a_throttled_call_is_made_again_and_an_empty_group_is_rolled() {
    let group = Group::new("throttled-once", 0);
    group.fail("DescribeInstanceRefreshes", "Throttling", 2, 2);
    group.roll(2, 0);
    group.expect_version(2);
}

#[test]
fn a_roll_whose_calls_fail_goes_on_and_is_picked_up_again() {
    let calls = [
        ("ExpiredToken", "DescribeInstanceRefreshes", 0, "nothing was started"),
        ("ExpiredToken", "DescribeAutoScalingGroups", 0, "nothing was started"),
        ("ExpiredToken", "StartInstanceRefresh", 0, "not known whether"),
        ("ExpiredToken", "DescribeInstanceRefreshes", 1, "goes on in AWS"),
        ("Throttling", "DescribeInstanceRefreshes", 3, "goes on in AWS"),
    ];
    for (number, (code, action, after, told)) in calls.into_iter().enumerate() {
        let group = Group::new(&format!("loses-sight-{number}"), 0);
        group.fail(action, code, after, 1000);
        let mut roll = group.command(2, 0);
        roll.env("AWS_MAX_ATTEMPTS", "2");
        end(roll, 1).expect(code).expect(told).expect("Run this again");
        group.fail_no_more();
        group.roll(2, 0);
        assert_eq!(group.calls("StartInstanceRefresh").len(), 1);
        group.expect_version(2);
    }
}

#[test]
fn a_roll_goes_on_when_the_terminal_is_closed_and_is_picked_up_again() {
    let group = Group::new("signals", 3);
    for (signal, code) in [(Signal::HUP, 129), (Signal::INT, 130), (Signal::TERM, 143)] {
        // It would look again long after the test is over.
        let mut roll = Running::start(group.command(2, 3600));
        roll.wait_for("%");
        roll.signal(signal);
        roll.end(code).expect("goes on in AWS").expect("Run this again");
    }
    group.roll(2, 0).expect("under way");
    assert_eq!(group.calls("StartInstanceRefresh").len(), 1);
    group.expect_version(2);
}

/// Longest that a roll may take.
const TIMEOUT_SECONDS: u32 = 3600;

/// What groups are made of: a launch template of three versions, each of another image.
struct Template {
    emulator: Emulator,
    id: String,
}

static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
    let emulator = Emulator::start();
    let data = |version| json!({ "ImageId": image(version), "InstanceType": "t4g.small" });
    let first = json!({ "LaunchTemplateName": "template", "LaunchTemplateData": data(1) });
    let made = emulator.aws("ec2.create_launch_template", first);
    let id = made["LaunchTemplate"]["LaunchTemplateId"].as_str().unwrap().to_owned();
    for version in [2, 3] {
        let next = json!({ "LaunchTemplateId": id, "LaunchTemplateData": data(version) });
        emulator.aws("ec2.create_launch_template_version", next);
    }
    Template { emulator, id }
});

fn image(version: u8) -> String {
    format!("ami-0000000000000000{version}")
}

/// A group of its own for each test.
struct Group {
    name: String,
    size: usize,
}

impl Group {
    fn new(name: &str, size: usize) -> Group {
        let group = Group { name: name.to_owned(), size };
        let settings = json!({
            "MinSize": 0,
            "MaxSize": 9,
            "DesiredCapacity": size,
            "AvailabilityZones": ["eu-central-1a"],
            "LaunchTemplate": { "LaunchTemplateId": TEMPLATE.id, "Version": "1" },
        });
        group.aws("autoscaling.create_auto_scaling_group", settings);
        group
    }

    /// Calls an action that names the group.
    #[track_caller]
    fn aws(&self, action: &str, mut parameters: Value) -> Value {
        parameters["AutoScalingGroupName"] = json!(self.name);
        TEMPLATE.emulator.aws(action, parameters)
    }

    fn plan(&self, refresh: &str, rollback: &str) {
        let plan = json!({ "group": self.name, "refresh": refresh, "rollback": rollback });
        TEMPLATE.emulator.tell("next-refresh", &plan);
    }

    /// Has every call of an action work again.
    fn fail_no_more(&self) {
        TEMPLATE.emulator.tell("no-faults", &json!({ "group": self.name }));
    }

    /// Has `times` calls fail, once `after` have not.
    fn fail(&self, action: &str, code: &str, after: u32, times: u32) {
        let fault = json!({
            "group": self.name, "action": action, "code": code, "after": after, "times": times,
        });
        TEMPLATE.emulator.tell("fault", &fault);
    }

    fn alarms(&self) -> [String; 2] {
        ["errors", "latency"].map(|alarm| format!("{}-{alarm}", self.name))
    }

    /// Starts a roll as somebody else would.
    fn start(&self, version: u8) {
        let template = json!({ "LaunchTemplateId": TEMPLATE.id, "Version": version.to_string() });
        let refresh = json!({
            "DesiredConfiguration": { "LaunchTemplate": template },
            "Preferences": { "AutoRollback": true },
        });
        self.aws("autoscaling.start_instance_refresh", refresh);
    }

    /// Looks at the roll, which takes a step each time, until it is of `status`.
    #[track_caller]
    fn wait_for_status(&self, status: &str) {
        let look = || self.aws("autoscaling.describe_instance_refreshes", json!({}));
        assert!((0..20).any(|_| look()["InstanceRefreshes"][0]["Status"] == status));
    }

    /// Runs a roll to its end, which must be with this exit code.
    #[track_caller]
    fn roll(&self, version: u8, code: i32) -> Said {
        end(self.command(version, 0), code)
    }

    fn command(&self, version: u8, poll_seconds: u32) -> Command {
        let mut roll = command("terraform/roll");
        let arguments = format!(
            "--region {REGION} --group {} --template {} --version {version} --max-healthy-percent 150 \
             --warmup-seconds 60 --bake-seconds 300 --timeout-seconds {TIMEOUT_SECONDS} --alarms {}",
            self.name,
            TEMPLATE.id,
            self.alarms().join(",")
        );
        TEMPLATE.emulator.enter(&mut roll).args(arguments.split(' '));
        roll.env("POLL_SECONDS", poll_seconds.to_string());
        roll
    }

    /// The calls of one action that named the group.
    fn calls(&self, action: &str) -> Vec<Value> {
        let mut calls = TEMPLATE.emulator.calls(&self.name);
        calls.retain(|call| call["Action"] == action);
        calls
    }

    /// Expects that the group and each of its instances is of `version`.
    #[track_caller]
    fn expect_version(&self, version: u8) {
        let named = json!({ "AutoScalingGroupNames": [self.name] });
        let described = TEMPLATE.emulator.aws("autoscaling.describe_auto_scaling_groups", named);
        let group = &described["AutoScalingGroups"][0];
        assert_eq!(group["LaunchTemplate"]["Version"], version.to_string());
        let instances = group["Instances"].as_array().unwrap();
        assert_eq!(instances.len(), self.size);
        for instance in instances {
            assert_eq!(instance["LaunchTemplate"]["Version"], version.to_string());
        }
    }
}

/// A roll, with all that it has said.
struct Running {
    process: Child,
    output: BufReader<PipeReader>,
    said: String,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let (output, input) = std::io::pipe().unwrap();
        command.stdout(input.try_clone().unwrap()).stderr(input);
        let process = command.spawn().unwrap();
        Running { process, output: BufReader::new(output), said: String::new() }
    }

    /// Waits until it says something, or has ended.
    #[track_caller]
    fn wait_for(&mut self, what: &str) {
        while !self.said.contains(what) {
            let length = self.output.read_line(&mut self.said).unwrap();
            assert!(length > 0, "it ended without {what:?}: {}", self.said);
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    #[track_caller]
    fn end(mut self, code: i32) -> Said {
        self.output.read_to_string(&mut self.said).unwrap();
        assert_eq!(self.process.wait().unwrap().code(), Some(code), "{}", self.said);
        Said(self.said)
    }
}

#[track_caller]
fn end(command: Command, code: i32) -> Said {
    Running::start(command).end(code)
}

/// What a roll said until its end.
struct Said(String);

impl Said {
    #[track_caller]
    fn expect(&self, what: &str) -> &Said {
        assert!(self.0.contains(what), "{what:?} is not in: {}", self.0);
        self
    }
}
