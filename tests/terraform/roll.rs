//! The script that rolls a group: each way that a roll goes, and what ends the script
//! while AWS goes on.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::LazyLock;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::emulator::{Emulator, REGION};
use crate::{command, run};

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
    group.roll(2, 4).expect("not found").expect("nothing was started");
}

#[test]
fn a_version_that_does_not_exist_is_an_error() {
    let group = Group::new("version", 2);
    group.roll(99, 4).expect("nothing was started");
    group.expect_version(1);
}

#[test]
fn a_failed_rollback_is_reported_and_a_roll_fixes_it() {
    for (name, fix) in [("stays", 2), ("stays-and-reverts", LIKE_FIRST)] {
        let group = Group::new(name, 2);
        group.plan("alarms", "fails");
        group.roll(2, 1).expect("so did the rollback");
        // One instance is of version 2, so that taking the release back replaces it too.
        group.roll(fix, 0);
        assert_eq!(group.calls("StartInstanceRefresh").len(), 2);
        group.expect_version(fix);
    }
}

#[test]
fn a_release_that_was_rolled_back_is_taken_back_without_replacing_an_instance() {
    let group = Group::new("reverts", 3);
    let instances = group.instances();
    group.turn_alarm_on();
    group.roll(2, 3).expect("rolled back").expect(&group.alarms()[1]);

    // It still is in ALARM, and AWS is not asked for a roll.
    let reverted = group.roll(LIKE_FIRST, 0);
    reverted.expect("the group is of version 4").expect("none was replaced");
    assert_eq!(group.calls("StartInstanceRefresh").len(), 1);
    assert_eq!(group.version(), LIKE_FIRST.to_string());
    assert_eq!(group.instances(), instances);

    group.roll(LIKE_FIRST, 0).expect("none was replaced");
    group.roll(1, 0).expect("none was replaced");
    assert_eq!(group.version(), "1");
}

#[test]
fn another_tag_or_other_user_data_is_another_content() {
    for (name, version) in [("retagged", OF_OTHER_TAG), ("other-user-data", OF_OTHER_USER_DATA)] {
        let group = Group::new(name, 1);
        group.roll(version, 0);
        assert_eq!(group.calls("StartInstanceRefresh").len(), 1);
        group.expect_version(version);
    }
}

#[test]
fn an_alarm_rolls_back() {
    let group = Group::new("alarms", 2);
    group.plan("alarms", "works");
    group.roll(2, 3).expect("rolled back").expect(&group.alarms()[0]);
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
    end(roll, 3)
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
    end(roll, 5).expect("the rollback is not over either").expect("goes on in AWS");
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
    group.roll(3, 4).expect("version 2").expect("rollback-instance-refresh");
    assert_eq!(group.calls("StartInstanceRefresh").len(), 1);
}

#[test]
fn a_roll_whose_start_is_not_answered_is_followed() {
    let group = Group::new("unanswered", 1);
    group.plan_start("unanswered");
    group.roll(2, 0).expect("following").expect("runs version 2");
    group.expect_version(2);
}

#[test]
fn a_refused_start_is_reported_and_alarms_are_blamed_only_if_they_are_on() {
    let group = Group::new("refused", 1);
    group.plan_start("refused");
    let refused = group.roll(2, 4);
    refused.expect("This refresh is refused").expect("nothing was started");
    assert!(!refused.0.contains("alarms"), "{}", refused.0);

    group.turn_alarm_on();
    group.plan_start("refused");
    let refused = group.roll(2, 4);
    refused.expect("This refresh is refused").expect("nothing was started");
    refused.expect("refused-latency is in ALARM").expect("roll = { alarms = false }");

    let mut unwatched = group.command(2, 0);
    unwatched.args(["--alarms", ""]);
    end(unwatched, 0);
    group.expect_version(2);
}

#[test]
fn an_aws_cli_that_is_missing_or_too_old_is_reported_and_starts_nothing() {
    let group = Group::new("old-cli", 1);
    let tools = Tools::new(&["bash", "env", "mktemp", "rm", "sort", "timeout", "tr"]);
    let roll = || {
        let mut roll = group.command(2, 0);
        roll.env("PATH", tools.folder.path());
        end(roll, 4)
    };
    roll().expect("there is no AWS CLI").expect("nothing was started").expect("2.18.18");

    let aws = run(command("bash").args(["-c", "command -v aws"]));
    // As versions 2 and 1 say it.
    for (version, code) in [("aws-cli/2.9.19", 252), ("aws-cli/1.22.34", 255)] {
        tools.add(
            "aws",
            &format!(
                r#"case $* in
                --version) echo {version} ;;
                *start-instance-refresh*)
                    echo 'Parameter validation failed:' >&2
                    echo 'Unknown parameter in Preferences: "BakeTime", must be one of: SkipMatching' >&2
                    exit {code}
                    ;;
                *) exec {} "$@" ;;
                esac"#,
                aws.trim()
            ),
        );
        let said = roll();
        said.expect(&format!("{version} is too old for start-instance-refresh"));
        said.expect("install the AWS CLI 2.18.18 or newer").expect("nothing was started");
        assert!(!said.0.contains("ALARM"), "{}", said.0);
    }
    assert_eq!(group.calls("StartInstanceRefresh"), [] as [Value; 0]);
}

#[test]
fn a_roll_that_does_not_reach_aws_has_started_nothing() {
    let group = Group::new("unreachable", 1);
    let mut roll = group.command(2, 0);
    // Nothing listens on the discard port.
    roll.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("AWS_MAX_ATTEMPTS", "1");
    end(roll, 4).expect("no answer from AWS: nothing was started");
}

#[test]
fn wrong_arguments_are_distinguished_and_help_lists_the_exit_codes() {
    let roll = |arguments: &[&str], code| {
        let mut roll = command("terraform/roll");
        roll.args(arguments);
        end(roll, code)
    };
    roll(&["--nonsense"], 2).expect("unknown argument --nonsense");
    roll(&["--region"], 2).expect("--region needs a value");
    let mut arguments = vec!["--region", REGION, "--group", "group", "--template", "lt-1"];
    roll(&arguments, 2).expect("--version is missing");
    arguments.extend(["--version", "2"]);
    roll(&arguments, 2).expect("--alarms is missing");
    arguments.extend(["--alarms", "", "--bake-seconds", "5m"]);
    roll(&arguments, 2).expect("--bake-seconds is a number");
    let help = roll(&["--help"], 0);
    for told in ["--timeout-seconds", "(1800)", "3    the roll failed and was rolled back"] {
        help.expect(told);
    }
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
        ("ExpiredToken", "DescribeInstanceRefreshes", 0, "nothing was started", 4),
        ("ExpiredToken", "DescribeAutoScalingGroups", 0, "nothing was started", 4),
        ("ExpiredToken", "StartInstanceRefresh", 0, "not known whether", 5),
        ("ExpiredToken", "DescribeInstanceRefreshes", 1, "goes on in AWS", 5),
        ("Throttling", "DescribeInstanceRefreshes", 3, "goes on in AWS", 5),
    ];
    for (number, (code, action, after, told, exit_code)) in calls.into_iter().enumerate() {
        let group = Group::new(&format!("loses-sight-{number}"), 0);
        group.fail(action, code, after, 1000);
        let mut roll = group.command(2, 0);
        roll.env("AWS_MAX_ATTEMPTS", "2");
        end(roll, exit_code).expect(code).expect(told).expect("Run this again");
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

/// The version of the template that has the content of the first.
const LIKE_FIRST: u8 = 4;
/// Those that differ from the first in this alone.
const OF_OTHER_TAG: u8 = 5;
const OF_OTHER_USER_DATA: u8 = 6;

/// What groups are made of: a launch template of three versions, each of another image,
/// and three like the first.
struct Template {
    emulator: Emulator,
    id: String,
}

static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
    let emulator = Emulator::start();
    let data = |version: u8, image: u8, tag: &str, user_data: &str| {
        let mut tags = [("Name", tag), ("Service", "hello-birthday")]
            .map(|(key, value)| json!({ "Key": key, "Value": value }));
        // As Terraform gives them: in any order.
        tags.rotate_left(usize::from(version % 2));
        json!({
            "ImageId": format!("ami-0000000000000000{image}"),
            "InstanceType": "t4g.small",
            "UserData": user_data,
            "TagSpecifications": [{ "ResourceType": "instance", "Tags": tags }],
        })
    };
    let first = data(1, 1, "instance", "Zmlyc3Q=");
    let first = json!({ "LaunchTemplateName": "template", "LaunchTemplateData": first });
    let made = emulator.aws("ec2.create_launch_template", first);
    let id = made["LaunchTemplate"]["LaunchTemplateId"].as_str().unwrap().to_owned();
    for (version, image, tag, user_data) in [
        (2, 2, "instance", "Zmlyc3Q="),
        (3, 3, "instance", "Zmlyc3Q="),
        (LIKE_FIRST, 1, "instance", "Zmlyc3Q="),
        (OF_OTHER_TAG, 1, "another", "Zmlyc3Q="),
        (OF_OTHER_USER_DATA, 1, "instance", "b3RoZXI="),
    ] {
        let next = data(version, image, tag, user_data);
        let next = json!({ "LaunchTemplateId": id, "LaunchTemplateData": next });
        let made = emulator.aws("ec2.create_launch_template_version", next);
        assert_eq!(made["LaunchTemplateVersion"]["VersionNumber"], version);
    }
    Template { emulator, id }
});

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

    /// Decides whether the next roll's start is answered.
    fn plan_start(&self, start: &str) {
        TEMPLATE.emulator.tell("next-refresh", &json!({ "group": self.name, "start": start }));
    }

    /// Puts one of the alarms into ALARM.
    fn turn_alarm_on(&self) {
        let name = &self.alarms()[1];
        let alarm = json!({
            "AlarmName": name,
            "Namespace": "AWS/ApplicationELB",
            "MetricName": "TargetResponseTime",
            "Statistic": "Average",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 1.0,
            "ComparisonOperator": "GreaterThanThreshold",
        });
        TEMPLATE.emulator.aws("cloudwatch.put_metric_alarm", alarm);
        let state = json!({ "AlarmName": name, "StateValue": "ALARM", "StateReason": "slow" });
        TEMPLATE.emulator.aws("cloudwatch.set_alarm_state", state);
    }

    /// Makes every call of an action work again.
    fn fail_no_more(&self) {
        TEMPLATE.emulator.tell("no-faults", &json!({ "group": self.name }));
    }

    /// Makes `times` calls fail after `after` successful ones.
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

    fn describe(&self) -> Value {
        let named = json!({ "AutoScalingGroupNames": [self.name] });
        let mut described =
            TEMPLATE.emulator.aws("autoscaling.describe_auto_scaling_groups", named);
        described["AutoScalingGroups"][0].take()
    }

    /// The version that new instances would be of.
    fn version(&self) -> String {
        self.describe()["LaunchTemplate"]["Version"].as_str().unwrap().to_owned()
    }

    fn instances(&self) -> Vec<String> {
        let described = self.describe();
        let instances = described["Instances"].as_array().unwrap().iter();
        instances.map(|instance| instance["InstanceId"].as_str().unwrap().to_owned()).collect()
    }

    /// Expects that the group and each of its instances is of `version`.
    #[track_caller]
    fn expect_version(&self, version: u8) {
        let group = self.describe();
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

/// A folder of programs, to be all that there is.
pub struct Tools {
    pub folder: TempDir,
}

impl Tools {
    /// Some of this machine's.
    pub fn new(names: &[&str]) -> Tools {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for name in names {
            let path = run(command("bash").args(["-c", &format!("command -v {name}")]));
            symlink(PathBuf::from(path.trim()), folder.path().join(name)).unwrap();
        }
        Tools { folder }
    }

    pub fn add(&self, name: &str, script: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("#!/usr/bin/env bash\n{script}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
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
