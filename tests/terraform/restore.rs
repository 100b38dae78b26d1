//! The script that restores a backup: from either database, by a time, with and without an
//! instance, in another region. What it has an instance run is run here too, on a host that
//! is made up of folders.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::emulator::{Emulator, REGION};
use crate::plans::plans;
use crate::{command, run, said};

/// Where the copies of backups are.
const RECOVERY_REGION: &str = "eu-west-1";

#[test]
fn an_aurora_backup_is_copied_by_an_instance_and_what_was_made_is_deleted() {
    let stack = Stack::new("aurora", REGION, 1);
    stack.make_cluster("15.4");
    let backup = stack.back_up();
    assert!(stack.restore(&[], 0).contains(&backup), "it lists the backup");

    let outcome = stack.restore(&["--recovery-point", "latest"], 0);
    for told in [
        "Aurora makes the cluster restore-hello-birthday-aurora of the backup",
        "the cluster is creating",
        "the cluster gets a password",
        "the users of the backup are back",
        "the server restore-hello-birthday-aurora-1 is deleted",
        "the cluster restore-hello-birthday-aurora is deleted",
    ] {
        assert!(outcome.contains(told), "{told:?} is not in: {outcome}");
    }
    let [copied] = &*stack.commands() else { panic!("one instance copies") };
    assert_eq!(copied.instance, stack.instances()[0]);
    stack.expect_nothing_left();
    copies_once_it_knows_its_database(copied);
}

#[test]
fn a_one_off_is_started_where_it_is_asked_for_and_an_older_backup_keeps_its_version() {
    let stack = Stack::new("older", REGION, 1);
    stack.make_cluster("14.9");
    let backup = stack.back_up();
    stack.upgrade_cluster();
    stack.restore(&["--recovery-point", &backup, "--one-off"], 0);
    let [one_off] = &*stack.one_offs() else { panic!("one was started") };
    assert_eq!(stack.commands()[0].instance, one_off["InstanceId"]);
    stack.expect_nothing_left();
}

#[test]
fn aurora_goes_back_to_a_point_in_time() {
    let stack = Stack::new("past", REGION, 1);
    stack.make_cluster("15.4");
    let hour_ago = run(command("date").args(["-u", "-d", "1 hour ago", "+%Y-%m-%dT%H:%M:%SZ"]));
    let outcome = stack.restore(&["--to-time", hour_ago.trim(), "--replace"], 0);
    assert!(outcome.contains(&format!("as it was at {}", hour_ago.trim())), "{outcome}");
    assert!(stack.commands()[0].script().contains("REPLACE=true"));
    stack.expect_nothing_left();

    let outcome = stack.restore(&["--to-time", "2020-01-31T12:00:00Z"], 1);
    assert!(outcome.contains("out of the restorable range"), "{outcome}");
    assert_eq!(stack.commands().len(), 1);
    stack.expect_nothing_left();
}

#[test]
fn a_sqlite_backup_is_put_beside_the_file_and_copied() {
    let stack = Stack::new("sqlite", REGION, 1);
    let file_system = stack.make_file_system();
    stack.back_up();
    for (arguments, told) in [
        (vec!["--replace"], "AWS Backup restores /birthdays/backup/hello-birthday.db"),
        (vec!["--live"], "AWS Backup restores /birthdays/hello-birthday.db"),
    ] {
        let outcome = stack.restore(&[&["--recovery-point", "latest"], &arguments[..]].concat(), 0);
        assert!(outcome.contains(told), "{outcome}");
        assert!(outcome.contains("the users of the backup are back"), "{outcome}");
    }
    let [nightly, live] = &*stack.commands() else { panic!("two were told") };
    assert!(live.script().contains("FILE=/birthdays/hello-birthday.db REPLACE=false"));
    copies_the_newest_file(nightly, &file_system);
}

#[test]
fn backups_of_both_databases_are_distinguished() {
    let stack = Stack::new("both", REGION, 1);
    stack.make_cluster("15.4");
    stack.back_up();
    stack.make_file_system();
    stack.back_up();
    // Where each is asked for, it is found: see the lost region.
    let outcome = stack.restore(&["--recovery-point", "latest"], 1);
    assert!(outcome.contains("add --from sqlite or --from postgres"), "{outcome}");
}

#[test]
fn without_a_healthy_instance_a_one_off_copies_the_users_and_is_ended() {
    let stack = Stack::new("broken", REGION, 0);
    stack.make_cluster("15.4");
    stack.back_up();
    let outcome = stack.restore(&["--recovery-point", "latest"], 0);
    for told in ["has no healthy instance", "the one-off instance is running", "is ended"] {
        assert!(outcome.contains(told), "{told:?} is not in: {outcome}");
    }
    let [one_off] = &*stack.one_offs() else { panic!("one was started") };
    assert_eq!(stack.commands()[0].instance, one_off["InstanceId"]);
    assert_eq!(one_off["State"]["Name"], "terminated");
    assert_eq!(one_off["ImageId"], IMAGE);
    let interface = &one_off["NetworkInterfaces"][0];
    assert_eq!(interface["Groups"][0]["GroupId"], stack.security_group);
    let tags = one_off["Tags"].as_array().unwrap();
    for (key, value) in
        [("Name", &*stack.one_off()), ("Environment", "broken"), ("Service", "hello-birthday")]
    {
        assert!(tags.contains(&json!({ "Key": key, "Value": value })), "{tags:?}");
    }
    assert_eq!(stack.instances(), [] as [String; 0], "it is not in the group");
    stack.expect_nothing_left();
}

#[test]
fn an_interrupted_restore_leaves_nothing() {
    let stack = Stack::new("cut-off", REGION, 0);
    stack.make_cluster("15.4");
    stack.back_up();
    // Without a role it never reports to Systems Manager.
    stack.take_role_from_template();
    // Itself: `timeout` would kill it 10 s after the signal.
    let mut restore = Command::new("terraform/restore");
    restore.args(["--environment", "cut-off", "--region", REGION, "--recovery-point", "latest"]);
    EMULATOR.enter(&mut restore).env("POLL_SECONDS", "0").current_dir(env!("CARGO_MANIFEST_DIR"));
    let mut process = restore.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("the one-off instance is running")));
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    let outcome: Vec<_> = lines.collect();
    assert_eq!(process.wait().unwrap().code(), Some(143), "{outcome:?}");
    assert_eq!(stack.one_offs()[0]["State"]["Name"], "terminated", "{outcome:?}");
    assert_eq!(stack.commands().len(), 0);
    stack.expect_nothing_left();
}

#[test]
fn what_another_restore_has_made_is_left_alone() {
    let stack = Stack::new("busy", REGION, 1);
    stack.make_cluster("15.4");
    stack.back_up();
    let tags = json!([{ "ResourceType": "instance", "Tags": [{ "Key": "Name", "Value": stack.one_off() }] }]);
    let other =
        json!({ "ImageId": IMAGE, "MinCount": 1, "MaxCount": 1, "TagSpecifications": tags });
    stack.aws("ec2.run_instances", other);
    let outcome = stack.restore(&["--recovery-point", "latest", "--one-off"], 1);
    assert!(outcome.contains("another restore is under way"), "{outcome}");
    assert_eq!(stack.one_offs()[0]["State"]["Name"], "running");

    stack.make_cluster_named(&stack.one_off(), "15.4");
    let outcome = stack.restore(&["--recovery-point", "latest"], 1);
    assert!(outcome.contains("another restore is under way"), "{outcome}");
    assert_eq!(stack.clusters().len(), 2);
}

#[test]
fn a_lost_region_is_restored_in_the_recovery_region() {
    let lost = Stack::new("lost", REGION, 1);
    lost.make_cluster("15.4");
    lost.make_file_system();
    let vault = json!({ "BackupVaultName": lost.name });
    let vault = lost.aws_in(RECOVERY_REGION, "backup.create_backup_vault", vault);
    for backup in [lost.back_up_cluster(), lost.back_up_file_system()] {
        let copy = json!({
            "RecoveryPointArn": backup,
            "SourceBackupVaultName": lost.name,
            "DestinationBackupVaultArn": vault["BackupVaultArn"],
            "IamRoleArn": lost.role,
        });
        lost.aws("backup.start_copy_job", copy);
    }

    // A stack of another name, which its apply has made there, and has no instance yet.
    let stack = Stack::new("saved", RECOVERY_REGION, 0);
    stack.make_cluster("15.4");
    stack.make_file_system();
    let from_vault = ["--vault", &lost.name, "--recovery-point", "latest", "--from"];
    for (database, told) in [("postgres", "Aurora makes"), ("sqlite", "AWS Backup restores")] {
        let outcome = stack.restore(&[&from_vault[..], &[database]].concat(), 0);
        assert!(outcome.contains(told), "{outcome}");
        assert!(outcome.contains("the users of the backup are back"), "{outcome}");
    }
    stack.expect_nothing_left();
}

#[test]
fn a_restore_finds_what_terraform_makes() {
    for plan in plans() {
        let vault = plan.resources("aws_backup_vault").next().unwrap();
        let name = vault["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("hello-birthday-"), "{name}");
        let has = |kind, attribute: &str, value: &str| {
            assert!(
                plan.resources(kind).any(|one| one[attribute] == value),
                "{}: no {kind} has {attribute} = {value}",
                plan.name
            );
        };
        has("aws_autoscaling_group", "name", &name);
        has("aws_iam_role", "name", &format!("{name}-{REGION}-backup"));
        has("aws_kms_alias", "name", &format!("alias/{name}"));
        for file_system in plan.resources("aws_efs_file_system") {
            assert_eq!(file_system["creation_token"], name);
            let paths = plan.resources("aws_efs_access_point");
            let mut paths = paths.map(|one| &one["root_directory"][0]["path"]);
            assert!(paths.any(|path| path == "/"), "{}", plan.name);
        }
        for cluster in plan.resources("aws_rds_cluster") {
            assert_eq!(cluster["cluster_identifier"], name);
        }
        let databases = ["aws_efs_file_system", "aws_rds_cluster"];
        assert!(databases.iter().any(|kind| plan.resources(kind).count() > 0));
    }
}

#[test]
fn missing_backups_and_wrong_arguments_are_reported() {
    let stack = Stack::new("empty", REGION, 1);
    let cases = [
        (vec!["--recovery-point", "latest"], 1, "no backup in the vault hello-birthday-empty"),
        (
            vec!["--recovery-point", "arn:aws:rds:eu-central-1:1:snapshot:x"],
            1,
            "is not a recovery point",
        ),
        (vec!["--to-time", "2026-01-31T12:00:00Z"], 1, "there is no database hello-birthday-empty"),
        (vec!["--to-time", "yesterday"], 2, "2026-01-31T12:00:00Z"),
        (vec!["--to-time", "2026-01-31T12:00:00Z", "--from", "sqlite"], 2, "not of SQLite"),
        (vec!["--from", "mysql"], 2, "sqlite or postgres"),
        (vec!["--vault"], 2, "--vault needs a value"),
        (vec!["--all"], 2, "unknown argument --all"),
        (vec!["--help"], 0, "If a region is lost"),
    ];
    for (arguments, code, told) in cases {
        let outcome = stack.restore(&arguments, code);
        assert!(outcome.contains(told), "{told:?} is not in: {outcome}");
    }
    let nowhere =
        Stack { name: "hello-birthday-nowhere".to_owned(), ..Stack::new("there", REGION, 0) };
    let outcome = nowhere.restore(&["--to-time", "2026-01-31T12:00:00Z"], 1);
    assert!(outcome.contains("there is no group hello-birthday-nowhere"), "{outcome}");
}

/// Makes a host run its command: copy a SQLite file that AWS Backup has restored.
fn copies_the_newest_file(told: &Told, file_system: &str) {
    let host = Host::new();
    // The newest folder is the one that was restored into.
    for (folder, born) in
        [("2026-01-30T10-00-00", "1999-01-01"), ("2026-01-31T09-00-00", "2000-02-29")]
    {
        let folder = host.path(&format!("efs/aws-backup-restore_{folder}/birthdays/backup"));
        fs::create_dir_all(&folder).unwrap();
        host.make_database(
            &folder.join("hello-birthday.db"),
            &[("ann", born), ("ben", "1980-06-01")],
        );
    }
    host.make_database(
        &host.path("data/hello-birthday.db"),
        &[("ann", "2001-01-01"), ("cid", "1990-01-01")],
    );
    host.write("etc/hello-birthday/host", "HELLO_BIRTHDAY_DRAIN_TIMEOUT=20s\n");
    host.add(
        "mount",
        &format!(
            r#"[[ $* == "-t efs -o tls,iam,ro,nosuid,nodev,noexec,accesspoint=fsap-"*" {file_system}:/ "* ]]
            /usr/bin/mount --bind /efs "${{!#}}""#
        ),
    );
    let outcome = host.run(told, 0);
    assert!(outcome.contains("found aws-backup-restore_2026-01-31T09-00-00"), "{outcome}");
    assert!(outcome.contains("2 users are in both databases"), "{outcome}");
    let users = [("ann", "2000-02-29"), ("ben", "1980-06-01"), ("cid", "1990-01-01")];
    assert_eq!(host.users("data/hello-birthday.db"), users.map(own));
    host.expect_clean();
}

/// Makes a host that is still starting run its command: copy the users of a cluster.
fn copies_once_it_knows_its_database(told: &Told) {
    // SQLite stands in for both: what is copied does not depend on where it comes from.
    let host = Host::new();
    host.make_database(
        &host.path("data/restored.db"),
        &[("ann", "2000-02-29"), ("ben", "1980-06-01")],
    );
    host.make_database(&host.path("data/used.db"), &[("cid", "1990-01-01")]);
    host.add(
        "aws",
        &format!(
            r#"[[ $* == "ssm get-parameter --region {REGION} --name /hello-birthday/aurora/copy-from --with-decryption --query Parameter.Value --output text" ]]
            echo sqlite:/srv/birthdays/restored.db"#
        ),
    );
    // The host is still starting: cloud-init names the file, and a timer fills it.
    host.add(
        "cloud-init",
        r#"[[ $* == "status --wait" ]]
        echo HELLO_BIRTHDAY_DATABASE_URL_FILE=/run/hello-birthday/database-url >/etc/hello-birthday/host
        exit 1"#,
    );
    host.add("sleep", "echo sqlite:/srv/birthdays/used.db >/run/hello-birthday/database-url");
    let outcome = host.run(told, 0);
    assert!(outcome.contains("2 users are in both databases"), "{outcome}");
    let users = [("ann", "2000-02-29"), ("ben", "1980-06-01"), ("cid", "1990-01-01")];
    assert_eq!(host.users("data/used.db"), users.map(own));
    host.expect_clean();

    // Another date is kept, and reported.
    host.make_database(&host.path("data/used.db"), &[("ann", "2001-01-01")]);
    let outcome = host.run(told, 1);
    assert!(outcome.contains("1 of 2 users have a different date"), "{outcome}");
    host.expect_clean();
}

/// What instances run.
const IMAGE: &str = "ami-00000000000000001";

static EMULATOR: LazyLock<Emulator> = LazyLock::new(Emulator::start);

/// What a stack has that a restore needs, each of its own name.
struct Stack {
    environment: &'static str,
    region: &'static str,
    name: String,
    template: Value,
    role: Value,
    security_group: Value,
    subnets: Vec<String>,
}

impl Stack {
    /// A stack with this many instances, a vault, and no database yet.
    fn new(environment: &'static str, region: &'static str, size: usize) -> Stack {
        let name = format!("hello-birthday-{environment}");
        let mut stack = Stack {
            environment,
            region,
            name: name.clone(),
            template: Value::Null,
            role: Value::Null,
            security_group: Value::Null,
            subnets: Vec::new(),
        };
        let subnets = stack.aws("ec2.describe_subnets", json!({}));
        let subnets = subnets["Subnets"].as_array().unwrap().iter();
        stack.subnets =
            subnets.map(|subnet| subnet["SubnetId"].as_str().unwrap().to_owned()).take(2).collect();
        let profile = json!({ "InstanceProfileName": format!("{name}-{region}-instance") });
        let profile = stack.aws("iam.create_instance_profile", profile);
        let security_group = json!({ "GroupName": name, "Description": "all" });
        let security_group = stack.aws("ec2.create_security_group", security_group);
        stack.security_group = security_group["GroupId"].clone();
        let data = json!({
            "ImageId": IMAGE,
            "InstanceType": "t4g.small",
            "IamInstanceProfile": { "Arn": profile["InstanceProfile"]["Arn"] },
            "NetworkInterfaces": [{
                "DeviceIndex": 0,
                "AssociatePublicIpAddress": true,
                "Groups": [stack.security_group],
            }],
            "TagSpecifications": [
                { "ResourceType": "instance", "Tags": [{ "Key": "Name", "Value": name }] },
            ],
        });
        let template = json!({ "LaunchTemplateName": name, "LaunchTemplateData": data });
        let template = stack.aws("ec2.create_launch_template", template);
        stack.template = template["LaunchTemplate"]["LaunchTemplateId"].clone();
        let group = json!({
            "AutoScalingGroupName": name,
            "MinSize": 0,
            "MaxSize": 9,
            "DesiredCapacity": size,
            "VPCZoneIdentifier": stack.subnets.join(","),
            "LaunchTemplate": { "LaunchTemplateId": stack.template, "Version": "1" },
        });
        stack.aws("autoscaling.create_auto_scaling_group", group);
        let role = json!({
            "RoleName": format!("{name}-{region}-backup"),
            "AssumeRolePolicyDocument": "{}",
        });
        stack.role = stack.aws("iam.create_role", role)["Role"]["Arn"].clone();
        stack.aws("backup.create_backup_vault", json!({ "BackupVaultName": name }));
        stack
    }

    #[track_caller]
    fn aws(&self, action: &str, parameters: Value) -> Value {
        self.aws_in(self.region, action, parameters)
    }

    #[track_caller]
    fn aws_in(&self, region: &str, action: &str, parameters: Value) -> Value {
        EMULATOR.aws_in(region, action, parameters)
    }

    fn make_cluster(&self, version: &str) {
        let subnets = json!({
            "DBSubnetGroupName": self.name,
            "DBSubnetGroupDescription": "all",
            "SubnetIds": self.subnets,
        });
        self.aws("rds.create_db_subnet_group", subnets);
        for major in ["14", "15"] {
            let group = json!({
                "DBClusterParameterGroupName": format!("{}-postgres{major}", self.name),
                "DBParameterGroupFamily": format!("aurora-postgresql{major}"),
                "Description": "all",
            });
            self.aws("rds.create_db_cluster_parameter_group", group);
        }
        self.make_cluster_named(&self.name, version);
    }

    fn make_cluster_named(&self, name: &str, version: &str) {
        let major = &version[..2];
        let cluster = json!({
            "DBClusterIdentifier": name,
            "Engine": "aurora-postgresql",
            "EngineVersion": version,
            "DatabaseName": "hello",
            "MasterUsername": "hello_admin",
            "ManageMasterUserPassword": true,
            "DBSubnetGroupName": self.name,
            "DBClusterParameterGroupName": format!("{}-postgres{major}", self.name),
            "VpcSecurityGroupIds": ["sg-00000000000000001"],
            "ServerlessV2ScalingConfiguration": { "MinCapacity": 0.5, "MaxCapacity": 4.0 },
            "BackupRetentionPeriod": 7,
        });
        self.aws("rds.create_db_cluster", cluster);
    }

    /// Upgrades the cluster to PostgreSQL 15.
    fn upgrade_cluster(&self) {
        let upgrade = json!({
            "DBClusterIdentifier": self.name,
            "EngineVersion": "15.4",
            "AllowMajorVersionUpgrade": true,
            "DBClusterParameterGroupName": format!("{}-postgres15", self.name),
            "ApplyImmediately": true,
        });
        self.aws("rds.modify_db_cluster", upgrade);
    }

    fn make_file_system(&self) -> String {
        let made = self.aws("efs.create_file_system", json!({ "CreationToken": self.name }));
        let access_point = json!({
            "ClientToken": self.name,
            "FileSystemId": made["FileSystemId"],
            "RootDirectory": { "Path": "/" },
        });
        self.aws("efs.create_access_point", access_point);
        made["FileSystemId"].as_str().unwrap().to_owned()
    }

    /// Backs up the database that was made last.
    fn back_up(&self) -> String {
        let made = self.aws("efs.describe_file_systems", json!({ "CreationToken": self.name }));
        if made["FileSystems"] == json!([]) {
            self.back_up_cluster()
        } else {
            self.back_up_file_system()
        }
    }

    fn back_up_cluster(&self) -> String {
        let named = json!({ "DBClusterIdentifier": self.name });
        let made = self.aws("rds.describe_db_clusters", named);
        self.back_up_resource(&made["DBClusters"][0]["DBClusterArn"])
    }

    fn back_up_file_system(&self) -> String {
        let made = self.aws("efs.describe_file_systems", json!({ "CreationToken": self.name }));
        self.back_up_resource(&made["FileSystems"][0]["FileSystemArn"])
    }

    fn back_up_resource(&self, resource: &Value) -> String {
        let back_up = json!({
            "BackupVaultName": self.name,
            "ResourceArn": resource,
            "IamRoleArn": self.role,
        });
        let job = self.aws("backup.start_backup_job", back_up);
        let job = json!({ "BackupJobId": job["BackupJobId"] });
        let job = self.aws("backup.describe_backup_job", job);
        job["RecoveryPointArn"].as_str().unwrap().to_owned()
    }

    fn take_role_from_template(&self) {
        let data = json!({ "ImageId": IMAGE, "InstanceType": "t4g.small" });
        let version = json!({ "LaunchTemplateId": self.template, "LaunchTemplateData": data });
        self.aws("ec2.create_launch_template_version", version);
        let group = json!({
            "AutoScalingGroupName": self.name,
            "LaunchTemplate": { "LaunchTemplateId": self.template, "Version": "2" },
        });
        self.aws("autoscaling.update_auto_scaling_group", group);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut restore = command("terraform/restore");
        let environment = self.name.strip_prefix("hello-birthday-").unwrap();
        restore.args(["--environment", environment, "--region", self.region]).args(arguments);
        EMULATOR.enter(&mut restore).env("POLL_SECONDS", "0");
        restore
    }

    /// Runs a restore to its end, which must be with this exit code.
    #[track_caller]
    fn restore(&self, arguments: &[&str], code: i32) -> String {
        let output = self.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        said(&output)
    }

    /// What instances of this stack were told to run, in order.
    fn commands(&self) -> Vec<Told> {
        let commands = self.aws("ssm.list_commands", json!({}));
        let mut commands: Vec<_> =
            commands["Commands"].as_array().unwrap().iter().map(told).collect();
        let parameter = format!("PARAMETER=/hello-birthday/{}/", self.environment);
        commands.retain(|told| told.script().contains(&parameter));
        commands
    }

    fn instances(&self) -> Vec<String> {
        let named = json!({ "AutoScalingGroupNames": [self.name] });
        let groups = self.aws("autoscaling.describe_auto_scaling_groups", named);
        let instances = groups["AutoScalingGroups"][0]["Instances"].as_array().unwrap().iter();
        instances.map(|one| one["InstanceId"].as_str().unwrap().to_owned()).collect()
    }

    fn one_off(&self) -> String {
        format!("restore-{}", self.name)
    }

    /// The instances that a restore has started.
    fn one_offs(&self) -> Vec<Value> {
        let filter = json!({ "Name": "tag:Name", "Values": [self.one_off()] });
        let found = self.aws("ec2.describe_instances", json!({ "Filters": [filter] }));
        let reservations = found["Reservations"].as_array().unwrap().iter();
        reservations.flat_map(|one| one["Instances"].as_array().unwrap().clone()).collect()
    }

    /// The clusters of this stack and of a restore of it.
    fn clusters(&self) -> Vec<String> {
        let clusters = self.aws("rds.describe_db_clusters", json!({}));
        let clusters = clusters["DBClusters"].as_array().unwrap().iter();
        let names = clusters.map(|one| one["DBClusterIdentifier"].as_str().unwrap().to_owned());
        names.filter(|name| name.ends_with(&self.name)).collect()
    }

    #[track_caller]
    fn expect_nothing_left(&self) {
        assert!(!self.clusters().contains(&self.one_off()));
        let servers = self.aws("rds.describe_db_instances", json!({}));
        let server = format!("{}-1", self.one_off());
        let servers = servers["DBInstances"].as_array().unwrap().iter();
        assert!(servers.clone().all(|one| one["DBInstanceIdentifier"] != server));
        let prefix = format!("/hello-birthday/{}/", self.environment);
        let parameters = json!({ "Path": prefix, "Recursive": true });
        let parameters = self.aws("ssm.get_parameters_by_path", parameters);
        assert_eq!(parameters["Parameters"], json!([]));
        for one_off in self.one_offs() {
            assert_eq!(one_off["State"]["Name"], "terminated");
        }
    }
}

/// What Systems Manager told an instance to run.
struct Told {
    instance: String,
    command: String,
}

fn told(command: &Value) -> Told {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Told {
        instance: text(&command["InstanceIds"][0]),
        command: text(&command["Parameters"]["commands"][0]),
    }
}

impl Told {
    /// The script that it carries.
    fn script(&self) -> String {
        let encoded = self.command.split(' ').nth(3).unwrap();
        run(command("bash").args(["-c", "base64 -d <<<\"$0\"", encoded]))
    }
}

/// A host of the image, as far as the script sees it: a root of folders, which only it is in.
struct Host {
    root: TempDir,
}

/// Puts this machine's programs into the root, with those that are made up before them, and
/// runs a command in it.
const ENTER: &str = r#"
    set -euo pipefail
    for folder in bin sbin lib lib64; do
        if [ -L /$folder ]; then cp -d /$folder .; elif [ -d /$folder ]; then mkdir $folder; mount --rbind /$folder $folder; fi
    done
    mount --rbind /usr usr
    mount --rbind /dev dev
    mount --rbind /proc proc
    mount --bind data srv/birthdays
    mount --bind programs usr/local/bin
    export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
    exec chroot . /bin/sh -c "$0"
"#;

impl Host {
    fn new() -> Host {
        let host = Host { root: TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap() };
        for folder in [
            "data",
            "dev",
            "efs",
            "etc/hello-birthday",
            "proc",
            "programs",
            "run/hello-birthday",
            "srv/birthdays",
            "usr",
            "var/tmp",
        ] {
            fs::create_dir_all(host.path(folder)).unwrap();
        }
        fs::copy(env!("CARGO_BIN_EXE_hello-birthday"), host.path("programs/hello-birthday"))
            .unwrap();
        // There is no such user.
        host.add("runuser", r#"[[ "$1 $2 $3" == "-u hello-birthday --" ]]; shift 3; exec "$@""#);
        host.add("chown", r#"[[ "$1 $2" == "-R hello-birthday:hello-birthday" && -d $3 ]]"#);
        host
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    /// Makes up a program.
    fn add(&self, name: &str, script: &str) {
        let program = format!("programs/{name}");
        self.write(&program, &format!("#!/bin/bash\nset -euo pipefail\n{script}\n"));
        fs::set_permissions(self.path(&program), Permissions::from_mode(0o755)).unwrap();
    }

    /// Makes a database of these users, in place of the one that is there.
    fn make_database(&self, path: &Path, users: &[(&str, &str)]) {
        // What is not there need not go.
        let _ = fs::remove_file(path);
        let mut migrate = command(env!("CARGO_BIN_EXE_hello-birthday"));
        migrate.args(["migrate", "--database-url"]);
        run(migrate.arg(format!("sqlite:{}", path.display())));
        let database = Connection::open(path).unwrap();
        for (username, born) in users {
            database.execute("insert into users values (?1, ?2)", [username, born]).unwrap();
        }
    }

    fn users(&self, path: &str) -> Vec<(String, String)> {
        let database = Connection::open(self.path(path)).unwrap();
        let mut users = database.prepare("select * from users order by username").unwrap();
        let users = users.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        users.map(Result::unwrap).collect()
    }

    /// Runs what an instance was told to, which must end with this exit code.
    #[track_caller]
    fn run(&self, told: &Told, code: i32) -> String {
        let mut enter = command("unshare");
        enter.args(["--user", "--map-root-user", "--mount", "bash", "-c", ENTER, &told.command]);
        let output = enter.current_dir(self.root.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        said(&output)
    }

    /// Expects that no copy of the users lies about.
    #[track_caller]
    fn expect_clean(&self) {
        assert_eq!(fs::read_dir(self.path("var/tmp")).unwrap().count(), 0);
    }
}

fn own((username, born): (&str, &str)) -> (String, String) {
    (username.to_owned(), born.to_owned())
}
