//! The cloud as Terraform makes it, rolls it and takes it down.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::emulator::{Emulator, REGION};
use crate::tree::{Provider, Tree};
use crate::{command, run, said};

#[test]
fn stacks_are_made_rolled_and_taken_down() {
    // Most of the time they wait.
    thread::scope(|scope| {
        for environment in ["staging", "production"] {
            for database in ["sqlite", "postgres"] {
                let stack = thread::Builder::new().name(format!("{environment} with {database}"));
                stack
                    .spawn_scoped(scope, move || live(&mut Stack::new(environment, database)))
                    .unwrap();
            }
        }
    });
}

#[test]
fn states_have_a_bucket_that_is_not_taken_down() {
    let emulator = Emulator::start();
    let tree = Tree::new("bootstrap", Provider::Oldest);
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
        let mut init = terraform("init");
        init.args(["-migrate-state", "-force-copy", "-backend-config=use_path_style=true"])
            .args(tree.plugins());
        init
    };
    let refused = move_state().output().unwrap();
    assert!(said(&refused).contains("Forbidden"), "{}", said(&refused));
    emulator.aws("s3api delete-bucket-policy --bucket", &[&bucket]);
    run(&mut move_state());
    let state = emulator.aws("s3api head-object --key bootstrap.tfstate --bucket", &[&bucket]);
    assert_eq!(state["ServerSideEncryption"], "aws:kms");
}

/// The life of a stack.
fn live(stack: &mut Stack) {
    let start = Instant::now();
    let [first, second, third] = stack.images().try_into().unwrap();
    stack.release(&first);
    stack.apply();
    stack.expect_group(1, &first);
    stack.expect_nothing_to_do();

    let size = [("size", "{ min = 4, max = 8 }")];
    assert!(stack.plan_with(&size).into_values().all(|action| action == "update"));
    stack.expect_moved_in_steps();

    stack.release(&second);
    assert_eq!(
        stack.plan(),
        changes(&[("aws_launch_template.this", "update"), ("terraform_data.roll", "replace")])
    );
    stack.apply();
    stack.expect_group(2, &second);
    stack.expect_nothing_to_do();

    stack.release(&third);
    stack.plan_refresh("fails");
    let failed = stack.try_apply();
    assert!(
        !failed.status.success() && said(&failed).contains("rolled back to the version before 3"),
        "{}",
        said(&failed)
    );
    stack.expect_group(2, &second);
    assert_eq!(stack.plan(), changes(&[("terraform_data.roll", "replace")]));
    stack.apply();
    stack.expect_group(3, &third);
    stack.expect_nothing_to_do();

    stack.expect_restored();
    if stack.environment == "production" {
        stack.expect_protected();
    }
    stack.unprotect();
    stack.apply();
    stack.destroy();
    println!("{}: {} s", thread::current().name().unwrap(), start.elapsed().as_secs());
}

fn changes(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected.iter().map(|(address, action)| (address.to_string(), action.to_string())).collect()
}

/// A stack in an AWS of its own.
struct Stack {
    name: String,
    tree: Tree,
    emulator: Emulator,
    settings: BTreeMap<&'static str, String>,
    environment: &'static str,
}

impl Stack {
    fn new(environment: &'static str, database: &str) -> Stack {
        let emulator = Emulator::start();
        for zone in ["example.com", "staging.example.com"] {
            emulator
                .aws("route53 create-hosted-zone", &["--name", zone, "--caller-reference", zone]);
        }
        Stack {
            name: format!("hello-birthday-{environment}"),
            tree: Tree::new("", Provider::Oldest),
            emulator,
            settings: BTreeMap::from([("database", database.to_owned())]),
            environment,
        }
    }

    /// Three images that Packer might have registered.
    fn images(&self) -> Vec<String> {
        let register =
            "ec2 register-image --architecture arm64 --root-device-name /dev/xvda --name";
        let image =
            |name| self.emulator.aws(register, &[name])["ImageId"].as_str().unwrap().to_owned();
        ["first", "second", "third"].map(image).to_vec()
    }

    /// Sets the image that is to run.
    fn release(&mut self, image: &str) {
        self.settings.insert("ami_id", image.to_owned());
    }

    fn unprotect(&mut self) {
        self.settings.insert("deletion_protection", "false".to_owned());
    }

    /// Has the next roll fail, and its rollback work.
    fn plan_refresh(&self, refresh: &str) {
        self.emulator.tell("next-refresh", &json!({ "group": self.name, "refresh": refresh }));
    }

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
        self.terraform("apply").arg("-auto-approve").output().unwrap()
    }

    #[track_caller]
    fn apply(&self) {
        let applied = self.try_apply();
        assert!(applied.status.success(), "{}", of_interest(&applied));
    }

    /// What an apply would change, and how.
    fn plan(&self) -> BTreeMap<String, String> {
        self.plan_with(&[])
    }

    /// The same, with other settings than the stack's.
    fn plan_with(&self, settings: &[(&str, &str)]) -> BTreeMap<String, String> {
        let settings = settings.iter().map(|(name, value)| format!("-var={name}={value}"));
        run(self.terraform("plan").args(settings).arg("-out=plan"));
        let plan = run(self.tree.terraform("show").args(["-json", "plan"]));
        let plan: Value = serde_json::from_str(&plan).unwrap();
        let changes = plan["resource_changes"].as_array().unwrap().iter();
        changes
            .filter_map(|change| {
                let action = match change["change"]["actions"].as_array().unwrap().as_slice() {
                    [action] if action == "no-op" || action == "read" => return None,
                    [action] => action.as_str().unwrap(),
                    _ => "replace",
                };
                Some((change["address"].as_str().unwrap().to_owned(), action.to_owned()))
            })
            .collect()
    }

    /// Expects that the service does not leave its database at once, and that the first
    /// step deletes and replaces nothing.
    fn expect_moved_in_steps(&self) {
        let [here, there] = match &*self.settings["database"] {
            "sqlite" => ["sqlite", "postgres"],
            _ => ["postgres", "sqlite"],
        };
        let at_once =
            self.terraform("plan").arg(format!("-var=database={there}")).output().unwrap();
        assert!(
            !at_once.status.success() && said(&at_once).contains("database_beside"),
            "{}",
            of_interest(&at_once)
        );

        let beside = self.plan_with(&[("database_beside", there)]);
        let made = format!("module.{there}[0]");
        assert!(
            beside.iter().any(|(address, action)| address.starts_with(&made) && action == "create")
        );
        let swapped = self.plan_with(&[("database", there), ("database_beside", here)]);
        for (address, action) in beside.iter().chain(&swapped) {
            let keeps = ["create", "update"].contains(&&**action);
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
        let describe = "autoscaling describe-auto-scaling-groups --auto-scaling-group-names";
        let group = &self.emulator.aws(describe, &[&self.name])["AutoScalingGroups"][0];
        assert_eq!(group["LaunchTemplate"]["Version"], version.to_string());
        let ids = group["Instances"].as_array().unwrap().iter();
        let ids: Vec<_> = ids.map(|instance| instance["InstanceId"].as_str().unwrap()).collect();
        assert!(ids.len() >= 2, "{group}");
        let query = ["--query", "Reservations[].Instances[].ImageId", "--instance-ids"];
        let images = self.emulator.aws("ec2 describe-instances", &[&query, &*ids].concat());
        assert_eq!(images, json!(vec![image; ids.len()]));
    }

    /// Expects that a backup is restored and has its users copied by an instance, which
    /// here only hears of it, and that nothing of that is left.
    #[track_caller]
    fn expect_restored(&self) {
        let (find, query, told) = match &*self.settings["database"] {
            "sqlite" => (
                "efs describe-file-systems",
                "FileSystems[0].FileSystemArn",
                "AWS Backup restores /birthdays/backup/hello-birthday.db",
            ),
            _ => (
                "rds describe-db-instances",
                "DBInstances[0].DBInstanceArn",
                "RDS makes the server restore-hello-birthday",
            ),
        };
        let text = |words, query| {
            let found = self.emulator.aws(words, &["--query", query]);
            found.as_str().unwrap().to_owned()
        };
        let database = text(find, query);
        let role = format!("iam get-role --role-name {}-backup", self.name);
        let role = text(&role, "Role.Arn");
        let back_up = ["--resource-arn", &database, "--iam-role-arn", &role];
        let vault = format!("backup start-backup-job --backup-vault-name {}", self.name);
        self.emulator.aws(&vault, &back_up);

        let mut restore = command("terraform/restore");
        restore.args(["--environment", self.environment, "--region", REGION]);
        self.emulator.enter(&mut restore).env("POLL_SECONDS", "0");
        assert!(run(&mut restore).contains("arn:aws:"), "it lists the backups");
        let restored = restore.args(["--recovery-point", "latest"]).output().unwrap();
        let outcome = said(&restored);
        assert!(restored.status.success() && outcome.contains(told), "{outcome}");
        assert!(outcome.contains("the users of the backup are back"), "{outcome}");

        let commands = text("ssm list-commands", "Commands[0].Comment");
        assert_eq!(commands, "copies users from a backup");
        let parameters = self.emulator.aws("ssm describe-parameters", &[]);
        assert_eq!(parameters["Parameters"], json!([]));
        self.expect_nothing_to_do();
    }

    /// Expects that a destroy is refused, and has changed nothing.
    #[track_caller]
    fn expect_protected(&self) {
        let refused = self.terraform("destroy").arg("-auto-approve").output().unwrap();
        assert!(said(&refused).contains("this stack is protected"), "{}", of_interest(&refused));
        // The outputs are gone from the state until the next apply; nothing else is.
        assert_eq!(self.plan(), changes(&[]));
    }

    /// Takes all down, and expects that nothing is left but the users' last backup.
    fn destroy(&self) {
        assert!(self.tagged().len() > 40, "{:?}", self.tagged());
        let destroyed = self.terraform("destroy").arg("-auto-approve").output().unwrap();
        assert!(destroyed.status.success(), "{}", of_interest(&destroyed));

        let left = self.tagged();
        if self.settings["database"] == "postgres" {
            let last = format!("snapshot:{}-final-", self.name);
            assert!(left.iter().any(|name| name.contains(&last)), "{left:?}");
        } else {
            let list = "backup list-recovery-points-by-backup-vault --backup-vault-name hello-birthday-last-backups";
            let points = self.emulator.aws(list, &[])["RecoveryPoints"].as_array().unwrap().len();
            assert_eq!(points, 1);
        }
        // AWS shows instances that have ended for a while, and keeps keys for a month.
        let others = left.iter().filter(|name| {
            ![":snapshot:", ":instance/", ":key/"].iter().any(|kind| name.contains(kind))
        });
        assert_eq!(others.collect::<Vec<_>>(), [] as [&String; 0]);
        let running =
            "ec2 describe-instances --filters Name=instance-state-name,Values=pending,running";
        assert_eq!(self.emulator.aws(running, &[])["Reservations"], json!([]));
    }

    /// All that bears the tags of a stack, as AWS names it.
    fn tagged(&self) -> Vec<String> {
        let find = "resourcegroupstaggingapi get-resources --tag-filters Key=Service,Values=hello-birthday";
        let found = ["eu-central-1", "eu-west-1"].map(|region| {
            let found = self.emulator.aws(find, &["--region", region]);
            found["ResourceTagMappingList"].as_array().unwrap().clone()
        });
        found.iter().flatten().map(|one| one["ResourceARN"].as_str().unwrap().to_owned()).collect()
    }
}

/// What Terraform says after all that it has read and done.
fn of_interest(output: &Output) -> String {
    let said = said(output);
    let start = ["Terraform will perform", "Error: "].map(|mark| said.find(mark).unwrap_or(0));
    said[start.into_iter().max().unwrap()..].to_owned()
}
