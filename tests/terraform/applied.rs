//! The cloud as Terraform makes it, rolls it and takes it down.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};

use crate::emulator::{Emulator, REGION};
use crate::providers::providers;
use crate::tree::Tree;
use crate::{run, said};

#[test]
fn stacks_of_one_account_are_made_rolled_and_taken_down_beside_each_other() {
    let emulator = Arc::new(Emulator::start());
    for zone in ["example.com", "staging.example.com"] {
        let zone = json!({ "Name": zone, "CallerReference": zone });
        emulator.aws("route53.create_hosted_zone", zone);
    }
    let mut staging = Stack::new(&emulator, "staging", "sqlite");
    let mut production = Stack::new(&emulator, "production", "postgres");
    // It is shown for both databases that a protected one stays.
    staging.set("deletion_protection", "true");
    // Most of the time they wait for the load balancer and the database.
    thread::scope(|scope| {
        scope.spawn(|| release(&mut staging));
        scope.spawn(|| release(&mut production));
    });

    // What happens to one does not happen to the other.
    let before = production.described();
    take_down(&mut staging);
    assert_eq!(production.described(), before);
    production.expect_nothing_to_do();
    take_down(&mut production);
}

#[test]
fn states_have_a_bucket_that_is_not_taken_down() {
    let emulator = Emulator::start();
    let tree = Tree::new("bootstrap", &providers().oldest);
    let terraform = |subcommand: &str| {
        let mut terraform = tree.terraform(subcommand);
        emulator.enter(&mut terraform);
        terraform
    };
    let of_ours = "-var=repository=example/hello-birthday";
    run(terraform("apply").args(["-auto-approve", of_ours]));

    let plan = terraform("plan").args(["-detailed-exitcode", of_ours]).output().unwrap();
    assert_eq!(plan.status.code(), Some(0), "{}", of_interest(&plan));

    let destroyed = terraform("destroy").args(["-auto-approve", of_ours]).output().unwrap();
    assert!(!destroyed.status.success());
    assert!(said(&destroyed).contains("prevent_destroy"), "{}", said(&destroyed));

    // As its outputs say, its own state moves into the bucket; which asks for TLS, so that
    // its policy has to go first: the emulator speaks none.
    let backend = run(terraform("output").args(["-raw", "backend"]));
    let bucket = backend.lines().find_map(|line| line.trim().strip_prefix("bucket ")).unwrap();
    let bucket = bucket.trim_matches([' ', '=', '"']).to_owned();
    fs::write(tree.path("backend.tf"), backend).unwrap();
    fs::remove_file(tree.path("tests_override.tf")).unwrap();
    let move_state = || {
        let mut init = tree.init();
        emulator.enter(&mut init).args(["-migrate-state", "-force-copy"]);
        init.arg("-backend-config=use_path_style=true");
        init
    };
    let refused = move_state().output().unwrap();
    assert!(said(&refused).contains("Forbidden"), "{}", said(&refused));
    emulator.aws("s3.delete_bucket_policy", json!({ "Bucket": bucket }));
    run(&mut move_state());
    let state = json!({ "Bucket": bucket, "Key": "bootstrap.tfstate" });
    let state = emulator.aws("s3.head_object", state);
    assert_eq!(state["ServerSideEncryption"], "aws:kms");
}

/// The life of a stack until its second release runs.
fn release(stack: &mut Stack) {
    let [first, second] = ["first", "second"]
        .map(|name| stack.emulator.register_image(&format!("{}-{name}", stack.name)));
    stack.set("ami_id", &first);
    stack.apply();
    stack.expect_group(1, &first);
    stack.expect_moved_in_steps();

    stack.set("ami_id", &second);
    let roll = ("terraform_data.roll", "replace");
    // Any other change would be something that the first apply left undone.
    let release = changes(&[("aws_launch_template.this", "update"), roll]);
    stack.fail_next_roll();
    let failed = stack.try_apply();
    let outcome = said(&failed);
    assert!(!failed.status.success(), "{outcome}");
    assert_eq!(planned(&failed), release);
    for told in ["RollbackInProgress", "rolled back to the version before 2", "health checks"] {
        assert!(outcome.contains(told), "{outcome}");
    }
    stack.expect_group(1, &first);
    assert_eq!(stack.apply(), changes(&[roll]));
    stack.expect_group(2, &second);
    stack.expect_nothing_to_do();
}

/// The end of a stack, which it refuses while it is protected.
fn take_down(stack: &mut Stack) {
    stack.expect_protected();
    stack.set("deletion_protection", "false");
    stack.apply();
    stack.destroy();
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

fn changes(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected.iter().map(|(address, action)| (address.to_string(), action.to_string())).collect()
}

/// A stack in an AWS of its own.
struct Stack {
    name: String,
    tree: Tree,
    emulator: Arc<Emulator>,
    settings: BTreeMap<&'static str, String>,
    environment: &'static str,
}

impl Stack {
    fn new(emulator: &Arc<Emulator>, environment: &'static str, database: &str) -> Stack {
        Stack {
            name: format!("hello-birthday-{environment}"),
            tree: Tree::new("", &providers().oldest),
            emulator: Arc::clone(emulator),
            settings: BTreeMap::from([("database", database.to_owned())]),
            environment,
        }
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.settings.insert(name, value.to_owned());
    }

    /// Has the next roll fail, and its rollback work.
    fn fail_next_roll(&self) {
        self.emulator.tell("next-refresh", &json!({ "group": self.name, "refresh": "fails" }));
    }

    /// Terraform with the stack's settings.
    fn terraform(&self, subcommand: &str) -> Command {
        let mut terraform = self.tree.terraform(subcommand);
        // The scripts need not wait for AWS either.
        self.emulator.enter(&mut terraform).env("POLL_SECONDS", "0");
        terraform.arg(format!("-var-file=environments/{}.tfvars", self.environment));
        for (name, value) in &self.settings {
            terraform.arg(format!("-var={name}={value}"));
        }
        terraform
    }

    fn try_apply(&self) -> Output {
        self.terraform("apply").args(["-auto-approve", "-json"]).output().unwrap()
    }

    /// Applies the settings, and gives what that changed and how.
    #[track_caller]
    fn apply(&self) -> BTreeMap<String, String> {
        let applied = self.try_apply();
        assert!(applied.status.success(), "{}", said(&applied));
        planned(&applied)
    }

    /// Expects that the service does not leave its database at once, and that nothing of
    /// either database is deleted or replaced when the other is made and used.
    fn expect_moved_in_steps(&self) {
        let [here, there] = match &*self.settings["database"] {
            "sqlite" => ["sqlite", "postgres"],
            _ => ["postgres", "sqlite"],
        };
        // Nothing has happened to the stack since it was read last.
        let mut plan = self.terraform("plan");
        plan.args(["-json", "-refresh=false", &format!("-var=database={there}")]);
        let at_once = plan.output().unwrap();
        let outcome = said(&at_once);
        assert!(!at_once.status.success() && outcome.contains("database_beside"), "{outcome}");

        let beside = plan.arg(format!("-var=database_beside={here}")).output().unwrap();
        assert!(beside.status.success(), "{}", said(&beside));
        let changed = planned(&beside);
        let made = format!("module.{there}[0]");
        assert!(changed.iter().any(|(what, how)| what.starts_with(&made) && how == "create"));
        for (address, action) in changed {
            let keeps = ["create", "update"].contains(&&*action);
            assert!(keeps || !address.starts_with("module."), "{action} {address}");
        }
    }

    #[track_caller]
    fn expect_nothing_to_do(&self) {
        let plan = self.terraform("plan").arg("-detailed-exitcode").output().unwrap();
        assert_eq!(plan.status.code(), Some(0), "{}", of_interest(&plan));
    }

    /// Expects that the group is of `version`, and each of its instances of `image`.
    #[track_caller]
    fn expect_group(&self, version: u8, image: &str) {
        let named = json!({ "AutoScalingGroupNames": [self.name] });
        let groups = self.emulator.aws("autoscaling.describe_auto_scaling_groups", named);
        let group = &groups["AutoScalingGroups"][0];
        assert_eq!(group["LaunchTemplate"]["Version"], version.to_string());
        let ids = all(&group["Instances"], "InstanceId");
        assert!(ids.len() >= 2, "{group}");
        let instances = self.emulator.aws("ec2.describe_instances", json!({ "InstanceIds": ids }));
        let reservations = instances["Reservations"].as_array().unwrap().iter();
        let images = reservations.flat_map(|started| all(&started["Instances"], "ImageId"));
        assert_eq!(images.collect::<Vec<_>>(), vec![image; ids.len()]);
    }

    /// Expects that the data of a protected stack survive an attempt to destroy it.
    #[track_caller]
    fn expect_protected(&self) {
        let refused = self.try_destroy();
        assert!(!refused.status.success(), "{}", of_interest(&refused));
        let (find, kind) = match &*self.settings["database"] {
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
    fn destroy(&self) {
        assert!(self.tagged().len() > 40, "{:?}", self.tagged());
        let destroyed = self.try_destroy();
        assert!(destroyed.status.success(), "{}", of_interest(&destroyed));

        let left = self.tagged();
        if self.settings["database"] == "postgres" {
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
    fn described(&self) -> Value {
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

/// What Terraform says after all that it has read and done.
fn of_interest(output: &Output) -> String {
    let said = said(output);
    let start = ["Terraform will perform", "Error: "].map(|mark| said.find(mark).unwrap_or(0));
    said[start.into_iter().max().unwrap()..].to_owned()
}
