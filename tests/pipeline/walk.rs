//! The whole way, from a merge to what runs: the workflows and scripts as they are, in one
//! account, one case after the other.

use serde_json::{Value, json};

use crate::account::{Account, CLOSED, ENVIRONMENTS, OPEN};
use crate::github::Runs;

#[test]
fn merging_is_deploying() {
    Walk::new().a_merge_reaches_production();
}

#[test]
#[ignore = "takes a quarter of an hour: tests/run pipeline -- --ignored"]
fn a_bad_release_undoes_itself_and_all_other_ways_end_as_they_should() {
    let mut walk = Walk::new();
    walk.a_merge_reaches_production();
    walk.a_bad_release_in_production_is_rolled_back();
    walk.two_merges_at_once_wait_for_approval_while_the_window_is_closed();
    walk.a_failing_smoke_test_stops_before_production();
    walk.a_rollback_goes_to_a_version_while_an_alarm_is_on();
    walk.a_pull_request_gets_a_comment_on_its_changes();
    walk.a_fork_gets_no_credentials();
    walk.a_night_tells_of_drift_and_removes_what_nothing_needs();
}

/// An account, and how many messages of it are known.
struct Walk {
    account: Account,
    told: usize,
}

impl Walk {
    fn new() -> Walk {
        Walk { account: Account::new(), told: 0 }
    }

    fn a_merge_reaches_production(&mut self) {
        let commit = self.commit(json!({ "note": "1" }));
        let run = self.merge();
        let runs = self.account.github.settle();
        runs.expect(run, &[("guard", "success"), ("bake", "success"), ("staging", "success")]);
        runs.expect(run, &[("approval", "skipped"), ("production", "success")]);
        runs.expect(run, &[("report", "skipped")]);
        // The same image.
        let image = image_of(&runs, run);
        for environment in ENVIRONMENTS {
            self.expect_release(environment, &image, &commit);
        }
        self.expect_told(&[
            "started staging",
            "released staging",
            "started production",
            "released production",
        ]);
        // For as long as a roll and its rollback may take.
        let sessions = self.account.github.seen("sessions");
        let sessions = sessions.as_array().unwrap().iter();
        let long = sessions.filter(|session| session["seconds"] == 10800);
        assert_eq!(long.count(), 2);
    }

    fn a_bad_release_in_production_is_rolled_back(&mut self) {
        let before = self.running("production");
        self.commit(json!({ "note": "2" }));
        let fails = json!({ "group": "hello-birthday-production", "refresh": "fails" });
        self.account.emulator.tell("next-refresh", &fails);
        let run = self.merge();
        let runs = self.account.github.settle();
        runs.expect(run, &[("staging", "success"), ("production", "failure")]);
        assert_eq!(self.running("production"), before, "{}", runs.logs(run));
        assert_eq!(self.releases("production").last().unwrap(), &before);
        self.expect_told(&[
            "started staging",
            "released staging",
            "started production",
            "rolled-back production",
        ]);
    }

    /// They are approved in the other order. Both follow a release that was rolled back, and
    /// work.
    fn two_merges_at_once_wait_for_approval_while_the_window_is_closed(&mut self) {
        let before = self.running("production");
        self.commit(json!({ ".github/window.json": CLOSED }));
        let older = self.merge();
        let commit = self.commit(json!({ "note": "4" }));
        let newer = self.merge();
        let runs = self.account.github.settle();
        for run in [older, newer] {
            runs.expect(run, &[("staging", "success"), ("approval", "approval")]);
            runs.expect(run, &[("production", "waiting")]);
        }
        assert_eq!(self.running("production"), before);
        // Those of one environment were never under way at the same time.
        assert_eq!(self.account.github.seen("most")["staging"], 1);
        let mut told = self.told_now();
        told.sort();
        let expected = ["released staging", "started staging", "waiting production"];
        assert_eq!(told, expected.map(|event| [event; 2]).concat());

        self.approve(newer);
        let runs = self.account.github.settle();
        runs.expect(newer, &[("production", "success")]);
        let image = image_of(&runs, newer);
        self.expect_release("production", &image, &commit);
        self.expect_told(&["started production", "released production"]);

        self.approve(older);
        let runs = self.account.github.settle();
        runs.expect(older, &[("production", "failure")]);
        self.expect_release("production", &image, &commit);
        self.expect_told(&["started production", "refused production"]);
    }

    fn a_failing_smoke_test_stops_before_production(&mut self) {
        let before = ENVIRONMENTS.map(|environment| self.running(environment));
        let commit = self.commit(json!({ ".github/window.json": OPEN }));
        self.account.github.ask(json!({ "do": "bad", "commits": [commit] }));
        let run = self.merge();
        let runs = self.account.github.settle();
        runs.expect(run, &[("staging", "failure"), ("approval", "skipped")]);
        runs.expect(run, &[("production", "skipped")]);
        let logs = runs.logs(run);
        assert!(logs.contains("FAIL greets the world: status 503"), "{logs}");
        assert_eq!(ENVIRONMENTS.map(|environment| self.running(environment)), before, "{logs}");
        self.expect_told(&["started staging", "undone staging"]);
    }

    /// An alarm that would stop any other release.
    fn a_rollback_goes_to_a_version_while_an_alarm_is_on(&mut self) {
        let releases = self.releases("production");
        let [.., before, running] = &releases[..] else { panic!("{releases:?}") };
        assert_eq!(&self.running("production"), running);
        let commit = self.tags_of(before)["Commit"].as_str().unwrap().to_owned();
        let alarm = json!({
            "AlarmName": "hello-birthday-production-5xx", "StateValue": "ALARM", "StateReason": "a test",
        });
        self.account.emulator.aws("cloudwatch.set_alarm_state", alarm);
        let run = self.account.github.start_with(json!({
            "workflow": "rollback.yml", "event": "workflow_dispatch",
            "inputs": { "environment": "production", "version": commit[..9] },
        }));
        let runs = self.account.github.settle();
        runs.expect(run, &[("guard", "success"), ("rollback", "success")]);
        self.expect_release("production", before, &commit);
        self.expect_told(&["rollback-started production", "released production"]);
    }

    /// In one comment, which is updated.
    fn a_pull_request_gets_a_comment_on_its_changes(&mut self) {
        let run = self.account.github.start_run("pull-request.yml", "pull_request");
        let runs = self.account.github.settle();
        for job in ["test", "coverage", "crates", "secrets", "plan", "comment"] {
            runs.expect(run, &[(job, "success")]);
        }
        let comments = self.account.github.seen("comments");
        assert!(comments[0]["body"].as_str().unwrap().contains("Nothing changes."), "{comments}");

        let file = "terraform/environments/staging.tfvars";
        let settings = self.account.tfvars("staging");
        self.commit(json!({ file: format!("{settings}latency_seconds = 2\n") }));
        let run = self.account.github.start_run("pull-request.yml", "pull_request");
        self.account.github.settle().expect(run, &[("plan", "success"), ("comment", "success")]);
        let comments = self.account.github.seen("comments");
        let [comment] = &comments.as_array().unwrap()[..] else { panic!("{comments}") };
        let told = comment["body"].as_str().unwrap();
        assert!(told.contains("| update | `aws_cloudwatch_metric_alarm.p99` |"), "{told}");
        self.commit(json!({ file: settings }));
        self.expect_told(&[]);
    }

    fn a_fork_gets_no_credentials(&mut self) {
        let before = self.account.github.seen("sessions");
        let pull = json!({ "workflow": "pull-request.yml", "event": "pull_request", "fork": true });
        let run = self.account.github.start_with(pull.clone());
        let runs = self.account.github.settle();
        runs.expect(run, &[("test", "success"), ("plan", "skipped"), ("comment", "skipped")]);

        // Also if the fork takes the condition away.
        let file = ".github/workflows/pull-request.yml";
        let workflow = std::fs::read_to_string(file).unwrap();
        let condition =
            "if: ${{ github.event.pull_request.head.repo.full_name == github.repository }}";
        assert!(workflow.contains(condition));
        self.commit(json!({ file: workflow.replace(condition, "if: ${{ always() }}") }));
        let run = self.account.github.start_with(pull);
        let runs = self.account.github.settle();
        runs.expect(run, &[("plan", "failure")]);
        assert!(runs.logs(run).contains("no permission id-token: write"), "{}", runs.logs(run));
        assert_eq!(self.account.github.seen("sessions"), before);
        self.commit(json!({ file: workflow }));
    }

    fn a_night_tells_of_drift_and_removes_what_nothing_needs(&mut self) {
        let run = self.account.github.start_run("nightly.yml", "schedule");
        let runs = self.account.github.settle();
        runs.expect(run, &[("drift", "success"), ("advisories", "success"), ("images", "success")]);
        self.expect_told(&[]);
        let kept: Vec<_> = ENVIRONMENTS.map(|environment| self.releases(environment)).concat();
        assert!(kept.iter().all(|image| self.exists(image)));

        let names = json!({ "AlarmNames": ["hello-birthday-production-p99"] });
        self.account.emulator.aws("cloudwatch.delete_alarms", names);
        let refresh = json!({ "TF_CLI_ARGS_plan": "-refresh=true" });
        self.account.github.ask(json!({ "do": "environment", "variables": refresh }));
        // Older than all releases, and of none.
        let forgotten = self.account.first_image.clone();
        assert!(!self.exists(&forgotten), "{}", runs.logs(run));
        let run = self.account.github.start_run("nightly.yml", "schedule");
        let runs = self.account.github.settle();
        runs.expect(run, &[("drift", "success")]);
        let summaries = runs.jobs(run, "drift").into_iter().map(|job| job["summary"].to_string());
        let drifted =
            summaries.filter(|summary| summary.contains("aws_cloudwatch_metric_alarm.p99"));
        assert_eq!(drifted.count(), 1);
        self.expect_told(&["drift production"]);
    }

    fn approve(&mut self, run: usize) {
        self.account.github.ask(json!({ "do": "approve", "run": run, "environment": "approval" }));
    }

    fn exists(&self, image: &str) -> bool {
        let ids = json!({ "Filters": [{ "Name": "image-id", "Values": [image] }] });
        self.account.emulator.aws("ec2.describe_images", ids)["Images"] != json!([])
    }

    fn commit(&mut self, files: Value) -> String {
        let commit = self.account.github.ask(json!({ "do": "commit", "files": files }));
        commit.as_str().unwrap().to_owned()
    }

    fn merge(&mut self) -> usize {
        self.account.github.start_run("main.yml", "push")
    }

    /// Expects that an environment runs and records an image, baked of a commit.
    #[track_caller]
    fn expect_release(&self, environment: &str, image: &str, commit: &str) {
        assert_eq!(self.running(environment), image);
        assert_eq!(self.releases(environment).last().unwrap(), image);
        assert_eq!(self.tags_of(image)["Commit"], commit);
    }

    /// The image of all instances of an environment.
    #[track_caller]
    fn running(&self, environment: &str) -> String {
        let aws = |action, parameters| self.account.emulator.aws(action, parameters);
        let named = json!({ "AutoScalingGroupNames": [format!("hello-birthday-{environment}")] });
        let groups = aws("autoscaling.describe_auto_scaling_groups", named);
        let ids: Vec<_> = texts(&groups["AutoScalingGroups"][0]["Instances"], "InstanceId");
        let found = aws("ec2.describe_instances", json!({ "InstanceIds": ids }));
        let reservations = found["Reservations"].as_array().unwrap().iter();
        let mut images: Vec<_> =
            reservations.flat_map(|started| texts(&started["Instances"], "ImageId")).collect();
        images.dedup();
        let [image] = &images[..] else { panic!("{environment} runs {images:?}") };
        image.clone()
    }

    /// The images that an environment has recorded, oldest first.
    fn releases(&self, environment: &str) -> Vec<String> {
        let name = json!({ "Name": format!("/hello-birthday/{environment}/image") });
        let history = self.account.emulator.aws("ssm.get_parameter_history", name);
        texts(&history["Parameters"], "Value")
    }

    fn tags_of(&self, image: &str) -> Value {
        let found =
            self.account.emulator.aws("ec2.describe_images", json!({ "ImageIds": [image] }));
        let tags = found["Images"][0]["Tags"].as_array().unwrap().iter();
        tags.map(|tag| (tag["Key"].as_str().unwrap().to_owned(), tag["Value"].clone())).collect()
    }

    /// Expects that both chats were notified of these events since the last time, in this order.
    #[track_caller]
    fn expect_told(&mut self, events: &[&str]) {
        assert_eq!(self.told_now(), events);
    }

    /// The events that both chats were notified of since the last time.
    #[track_caller]
    fn told_now(&mut self) -> Vec<String> {
        let messages = self.account.github.seen("messages");
        let messages = &messages.as_array().unwrap()[self.told..];
        self.told += messages.len();
        let [channel, owners] = ["channel", "owners"].map(|hook| -> Vec<_> {
            messages.iter().filter(|message| message["hook"] == hook).map(event_of).collect()
        });
        assert_eq!(channel, owners);
        for message in messages {
            let text = message["text"].as_str().unwrap();
            assert!(
                text.contains("run: https://github.example/example/hello-birthday/actions/runs/"),
                "{text}"
            );
        }
        channel
    }
}

/// The event and the environment of a message.
fn event_of(message: &Value) -> String {
    let first = message["text"].as_str().unwrap().lines().next().unwrap();
    let known = [
        ("Releasing to ", "started"),
        ("Released to ", "released"),
        ("Rolling back ", "rollback-started"),
        ("Waiting for approval to release to ", "waiting"),
        ("Refused in ", "refused"),
        ("Drift in ", "drift"),
    ];
    if let Some((rest, event)) =
        known.iter().find_map(|(start, event)| Some((first.strip_prefix(start)?, event)))
    {
        return format!("{event} {}", rest.split(':').next().unwrap());
    }
    let what = first.strip_prefix("Failed in ").unwrap_or(first).split(':').next().unwrap();
    let event = if first.contains("did not answer") {
        "undone"
    } else if first.contains("rolled back") {
        "rolled-back"
    } else {
        "failed"
    };
    format!("{event} {what}")
}

/// The image that a run has baked for the stacks' processor.
fn image_of(runs: &Runs, run: usize) -> String {
    let mut images =
        runs.jobs(run, "bake").into_iter().filter_map(|job| job["outputs"]["arm64"].as_str());
    images.find(|image| !image.is_empty()).unwrap().to_owned()
}

/// A text of each object of a list.
fn texts(list: &Value, name: &str) -> Vec<String> {
    let objects = list.as_array().unwrap().iter();
    objects.map(|object| object[name].as_str().unwrap().to_owned()).collect()
}
