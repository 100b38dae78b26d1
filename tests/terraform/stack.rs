//! A stack that a test applies: with the settings of its environment, and the rights that the
//! jobs of a pipeline have.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::emulator::{Emulator, REGION};
use crate::permissions::{Account, Gate};
use crate::providers::providers;
use crate::tree::Tree;
use crate::{command, said};

/// A stack in an account, whose jobs have their roles.
pub struct Stack<'a> {
    pub name: String,
    pub emulator: &'a Emulator,
    tree: Tree,
    account: &'a Account,
    gate: &'a Gate,
    environment: &'static str,
    database: &'static str,
}

impl Stack<'_> {
    pub fn new<'a>(
        account: &'a Account,
        gate: &'a Gate,
        environment: &'static str,
        database: &'static str,
    ) -> Stack<'a> {
        Stack {
            name: format!("hello-birthday-{environment}"),
            emulator: &account.emulator,
            tree: Tree::new("", &providers().oldest),
            account,
            gate,
            environment,
            database,
        }
    }

    /// An image that can be released.
    pub fn register_image(&self, name: &str) -> String {
        self.emulator.register_image(&format!("{}-{name}", self.name))
    }

    /// Changes a line of the settings.
    pub fn set(&self, name: &str, value: &str) {
        let file = self.tree.path(&format!("environments/{}.tfvars", self.environment));
        let settings = fs::read_to_string(&file).unwrap();
        let others = settings.lines().filter(|line| line.split(' ').next() != Some(name));
        let changed = format!("{name} = {value}");
        let lines: Vec<_> = others.chain([&*changed]).collect();
        fs::write(file, lines.join("\n") + "\n").unwrap();
    }

    /// Makes the next roll fail, and its rollback work.
    pub fn fail_next_roll(&self) {
        self.emulator.tell("next-refresh", &json!({ "group": self.name, "refresh": "fails" }));
    }

    /// Puts an alarm that is watched during a roll into ALARM.
    pub fn turn_alarm_on(&self) {
        let state = json!({
            "AlarmName": format!("{}-5xx", self.name), "StateValue": "ALARM", "StateReason": "a test",
        });
        self.emulator.aws("cloudwatch.set_alarm_state", state);
    }

    /// Makes `command` a job with this role.
    pub fn enter<'c>(&self, role: &str, command: &'c mut Command) -> &'c mut Command {
        let boundary = self.account.boundary(self.environment);
        // The scripts need not wait for AWS either.
        self.account
            .enter(role, self.gate, command)
            .env("POLL_SECONDS", "0")
            .env("TF_VAR_permissions_boundary", boundary)
    }

    /// Releases, and gives what that printed; it must end with this exit code.
    #[track_caller]
    pub fn deploy(&self, arguments: &[&str], code: i32) -> String {
        let mut deploy = command(self.tree.path("deploy").to_str().unwrap());
        self.tree.isolate(&mut deploy).arg(self.environment).args(arguments);
        let role = format!("apply-{}", self.environment);
        let output = self.enter(&role, &mut deploy).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        said(&output)
    }

    /// Terraform with the stack's settings and an administrator's rights.
    fn terraform(&self, subcommand: &str) -> Command {
        let mut terraform = self.tree.terraform(subcommand);
        self.emulator.enter(&mut terraform).env("POLL_SECONDS", "0");
        terraform.env("TF_VAR_permissions_boundary", self.account.boundary(self.environment));
        terraform.arg(format!("-var-file=environments/{}.tfvars", self.environment));
        terraform
    }

    /// A plan with the rights of the role that plans: it only reads, and takes no lock.
    fn plan(&self) -> Command {
        let mut plan = self.tree.terraform("plan");
        self.enter("plan", &mut plan).args(["-lock=false", "-detailed-exitcode"]);
        plan.arg(format!("-var-file=environments/{}.tfvars", self.environment));
        plan
    }

    /// Expects that an apply with another's rights changes nothing.
    #[track_caller]
    pub fn expect_refused(&self, role: &str) {
        let mut apply = self.tree.terraform("apply");
        self.enter(role, &mut apply).arg("-auto-approve");
        apply.arg(format!("-var-file=environments/{}.tfvars", self.environment));
        apply.arg("-var=size={ min = 2, max = 5 }");
        let refused = apply.output().unwrap();
        assert!(!refused.status.success(), "{}", of_interest(&refused));
        let refusals = self.gate.ask("refused").to_string();
        assert!(refusals.contains("autoscaling:UpdateAutoScalingGroup"), "{refusals}");
    }

    /// Expects that the service does not leave its database at once, and that nothing of
    /// either database is deleted or replaced when the other is made and used.
    pub fn expect_moved_in_steps(&self) {
        let [here, there] = match self.database {
            "sqlite" => ["sqlite", "postgres"],
            _ => ["postgres", "sqlite"],
        };
        // Nothing has happened to the stack since it was read last.
        let mut plan = self.plan();
        plan.args(["-json", "-refresh=false", &format!("-var=database={there}")]);
        let at_once = plan.output().unwrap();
        let outcome = said(&at_once);
        assert_eq!(at_once.status.code(), Some(1), "{outcome}");
        assert!(outcome.contains("database_beside"), "{outcome}");

        let beside = plan.arg(format!("-var=database_beside={here}")).output().unwrap();
        assert_eq!(beside.status.code(), Some(2), "{}", said(&beside));
        let changed = planned(&beside);
        let made = format!("module.{there}[0]");
        assert!(changed.iter().any(|(what, how)| what.starts_with(&made) && how == "create"));
        for (address, action) in changed {
            let keeps = ["create", "update"].contains(&&*action);
            assert!(keeps || !address.starts_with("module."), "{action} {address}");
        }
    }

    #[track_caller]
    pub fn expect_nothing_to_do(&self) {
        let plan = self.plan().output().unwrap();
        assert_eq!(plan.status.code(), Some(0), "{}", of_interest(&plan));
    }

    /// Expects that the group is of `version`, and each of its instances of `image`.
    #[track_caller]
    pub fn expect_group(&self, version: u8, image: &str) {
        let group = self.group();
        assert_eq!(group["LaunchTemplate"]["Version"], version.to_string());
        let ids = all(&group["Instances"], "InstanceId");
        assert!(ids.len() >= 2, "{group}");
        let instances = self.emulator.aws("ec2.describe_instances", json!({ "InstanceIds": ids }));
        let reservations = instances["Reservations"].as_array().unwrap().iter();
        let images = reservations.flat_map(|started| all(&started["Instances"], "ImageId"));
        assert_eq!(images.collect::<Vec<_>>(), vec![image; ids.len()]);
    }

    /// The instances of the group.
    pub fn instances(&self) -> Vec<String> {
        all(&self.group()["Instances"], "InstanceId")
    }

    fn group(&self) -> Value {
        let named = json!({ "AutoScalingGroupNames": [self.name] });
        self.emulator.aws("autoscaling.describe_auto_scaling_groups", named)["AutoScalingGroups"][0]
            .take()
    }

    /// Expects that the data of a protected stack survive an attempt to destroy it.
    #[track_caller]
    pub fn expect_protected(&self) {
        let refused = self.try_destroy();
        assert!(!refused.status.success(), "{}", of_interest(&refused));
        let (find, kind) = match self.database {
            "sqlite" => ("efs.describe_file_systems", "FileSystems"),
            _ => ("rds.describe_db_clusters", "DBClusters"),
        };
        let databases = self.emulator.aws(find, json!({}));
        assert_eq!(databases[kind].as_array().unwrap().len(), 1, "{}", of_interest(&refused));
    }

    fn try_destroy(&self) -> Output {
        // It was read a moment ago.
        self.terraform("destroy").args(["-auto-approve", "-refresh=false"]).output().unwrap()
    }

    /// Takes all down, and expects that nothing is left but the users' last backup.
    pub fn destroy(&self) {
        assert!(self.tagged().len() > 40, "{:?}", self.tagged());
        let destroyed = self.try_destroy();
        assert!(destroyed.status.success(), "{}", of_interest(&destroyed));

        let left = self.tagged();
        if self.database == "postgres" {
            let last = format!("-snapshot:{}-final-", self.name);
            assert!(left.iter().any(|name| name.contains(&last)), "{left:?}");
        } else {
            let vault = json!({ "BackupVaultName": "hello-birthday-last-backups" });
            let points = self.emulator.aws("backup.list_recovery_points_by_backup_vault", vault);
            assert_eq!(points["RecoveryPoints"].as_array().unwrap().len(), 1);
        }
        // AWS shows instances that have ended for a while, and keeps keys for a month.
        let others = left.iter().filter(|name| {
            ![":cluster-snapshot:", ":instance/", ":key/", ":image/", ":snapshot/"]
                .iter()
                .any(|kind| name.contains(kind))
        });
        assert_eq!(others.collect::<Vec<_>>(), [] as [&String; 0]);
        let running = json!({ "Filters": [
            { "Name": "instance-state-name", "Values": ["pending", "running"] },
            { "Name": "tag:Environment", "Values": [self.environment] },
        ]});
        let running = self.emulator.aws("ec2.describe_instances", running);
        assert_eq!(running["Reservations"], json!([]));
    }

    /// All that bears the tags of the stack, as AWS names it.
    fn tagged(&self) -> Vec<String> {
        let find =
            json!({ "TagFilters": [{ "Key": "Environment", "Values": [self.environment] }] });
        let find_in = |region| {
            let action = "resourcegroupstaggingapi.get_resources";
            self.emulator.aws_in(region, action, find.clone())
        };
        let found = [REGION, "eu-west-1"].map(find_in);
        found
            .iter()
            .flat_map(|found| all(&found["ResourceTagMappingList"], "ResourceARN"))
            .collect()
    }

    /// What the stack consists of, in enough detail to notice a change.
    pub fn described(&self) -> Value {
        let aws = |action, parameters| self.emulator.aws(action, parameters);
        let mut tagged = self.tagged();
        tagged.sort();
        let group = json!({ "AutoScalingGroupNames": [self.name] });
        json!({
            "tagged": tagged,
            "group": aws("autoscaling.describe_auto_scaling_groups", group)["AutoScalingGroups"],
            "roles": all(&aws("iam.list_roles", json!({}))["Roles"], "RoleName")
                .into_iter()
                .filter(|role| role.starts_with(&self.name))
                .collect::<Vec<_>>(),
            "alarms": aws("cloudwatch.describe_alarms", json!({ "AlarmNamePrefix": self.name })),
            "logs": aws("logs.describe_log_groups", json!({ "logGroupNamePrefix": format!("/{}", self.name) })),
        })
    }
}

/// A text of each object of a list.
fn all(list: &Value, name: &str) -> Vec<String> {
    let objects = list.as_array().unwrap().iter();
    objects.map(|object| object[name].as_str().unwrap().to_owned()).collect()
}

/// What a plan or an apply with `-json` is to change, and how.
fn planned(output: &Output) -> BTreeMap<String, String> {
    let messages = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let messages = messages.map(|line| serde_json::from_slice::<Value>(line).unwrap());
    messages
        .filter(|message| message["type"] == "planned_change")
        .filter_map(|message| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let change = &message["change"];
            let (address, action) = (text(&change["resource"]["addr"]), text(&change["action"]));
            (!["noop", "read"].contains(&&*action)).then_some((address, action))
        })
        .collect()
}

/// What Terraform says after all that it has read and done.
pub fn of_interest(output: &Output) -> String {
    let said = said(output);
    let start = ["Terraform will perform", "Error: "].map(|mark| said.find(mark).unwrap_or(0));
    said[start.into_iter().max().unwrap()..].to_owned()
}
