//! What the roles of bootstrap/ may do, with the policies that Terraform makes, judged as
//! IAM does: see permissions/.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::emulator::Emulator;
use crate::providers::providers;
use crate::tree::Tree;
use crate::{command, run, said};

const FOLDER: &str = "tests/terraform/permissions";

/// All of bootstrap/ that is IAM's, which is made in a fraction of the time.
const ROLES: [&str; 8] = [
    "aws_iam_policy.boundary",
    "aws_iam_role_policy.apply",
    "aws_iam_role_policy.bake",
    "aws_iam_role_policy.bake_instance",
    "aws_iam_role_policy.plan",
    "aws_iam_role_policy_attachment.apply_read",
    "aws_iam_role_policy_attachment.change",
    "aws_iam_role_policy_attachment.plan",
];

#[test]
fn policies_are_judged_as_iam_documents_it() {
    let judged = python("documented.py").output().unwrap();
    expect_success(&judged);
}

#[test]
fn each_role_is_allowed_its_work_and_nothing_else() {
    let account = Account::new();
    let classes =
        ["ApplyRole", "AwsRoles", "BakeRole", "Known", "MadeRole", "PlanRole", "Quotas", "Trust"];
    account.expect(&classes);
}

#[test]
fn a_stack_is_made_and_rolled_with_the_rights_of_its_role() {
    let account = Account::new();
    let gate = Gate::new(&account.emulator);
    let stack = Tree::new("", &providers().oldest);
    let terraform = |role: &str, subcommand: &str, settings: &[&str]| {
        let mut terraform = stack.terraform(subcommand);
        account.enter(role, &gate, &mut terraform).env("POLL_SECONDS", "0");
        terraform.args(["-var-file=environments/staging.tfvars", "-var=rate_limit=1000"]);
        terraform.arg(format!("-var=permissions_boundary={}", account.boundary("staging")));
        terraform.args(settings);
        terraform.output().unwrap()
    };
    let [first, second] = ["first", "second"]
        .map(|name| format!("-var=ami_id={}", account.emulator.register_image(name)));

    // With either database.
    let beside = "-var=database_beside=postgres";
    expect_success(&terraform("apply-staging", "apply", &["-auto-approve", beside, &first]));
    let released = terraform("apply-staging", "apply", &["-auto-approve", beside, &second]);
    expect_success(&released);
    assert!(said(&released).contains("the group runs version 2"), "{}", said(&released));
    assert_eq!(gate.ask("refused"), json!([]));
    let allowed = gate.ask("allowed").as_array().unwrap().len();
    assert!(allowed > 150, "only {allowed} actions went through the gate");

    // Whoever plans needs no more than to read.
    let plan = terraform("plan", "plan", &["-lock=false", "-detailed-exitcode", beside, &second]);
    assert_eq!(plan.status.code(), Some(0), "{}", said(&plan));

    account.expect(&["StackRoles"]);

    // The gate does refuse.
    let wanted = ["-auto-approve", "-var=size={ min = 2, max = 5 }", beside, &second];
    for role in ["apply-production", "plan"] {
        let refused = terraform(role, "apply", &wanted);
        assert!(!refused.status.success(), "{}", said(&refused));
        let refusals = gate.ask("refused").to_string();
        assert!(refusals.contains("autoscaling:UpdateAutoScalingGroup"), "{refusals}");
    }
}

/// An account in which bootstrap/ was applied.
pub struct Account {
    pub emulator: Arc<Emulator>,
    zones: Value,
}

impl Account {
    pub fn new() -> Account {
        let emulator = Arc::new(Emulator::start());
        let zone = |name: &str| {
            let zone = json!({ "Name": name, "CallerReference": name });
            let made = emulator.aws("route53.create_hosted_zone", zone);
            made["HostedZone"]["Id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
        };
        let zones =
            json!({ "production": zone("example.com"), "staging": zone("staging.example.com") });
        let tree = Tree::new("bootstrap", &providers().oldest);
        let mut apply = tree.terraform("apply");
        emulator
            .enter(&mut apply)
            .args(["-auto-approve", "-var=repository=example/hello-birthday"]);
        let listed = ["production", "staging"].map(|name| format!("{name} = [{}]", zones[name]));
        apply.arg(format!("-var=hosted_zones={{ {} }}", listed.join(", ")));
        apply.args(ROLES.map(|role| format!("-target={role}")));
        run(&mut apply);
        Account { emulator, zones }
    }

    /// Has permissions/cases.py judge requests.
    #[track_caller]
    fn expect(&self, classes: &[&str]) {
        let mut cases = python("cases.py");
        self.emulator.enter(&mut cases).env("HOSTED_ZONES", self.zones.to_string());
        let judged = cases.args(classes).output().unwrap();
        expect_success(&judged);
        println!("{}", said(&judged));
    }

    /// Has `command` be a job of GitHub's with this role.
    pub fn enter<'a>(&self, role: &str, gate: &Gate, command: &'a mut Command) -> &'a mut Command {
        let role = json!({
            "RoleArn": format!("arn:aws:iam::123456789012:role/terraform/hello-birthday-{role}"),
            "RoleSessionName": "GitHubActions",
        });
        let session = &self.emulator.aws("sts.assume_role", role)["Credentials"];
        let key = |name: &str| session[name].as_str().unwrap();
        self.emulator
            .enter(command)
            .env("AWS_ENDPOINT_URL", &gate.url)
            .env("AWS_ACCESS_KEY_ID", key("AccessKeyId"))
            .env("AWS_SECRET_ACCESS_KEY", key("SecretAccessKey"))
            .env("AWS_SESSION_TOKEN", key("SessionToken"))
    }

    pub fn boundary(&self, environment: &str) -> String {
        format!("arn:aws:iam::123456789012:policy/terraform/hello-birthday-boundary-{environment}")
    }
}

/// What stands before the emulator and refuses what IAM would: permissions/gate.py.
pub struct Gate {
    process: Child,
    url: String,
}

impl Gate {
    pub fn new(emulator: &Emulator) -> Gate {
        let mut gate = Command::new("python3");
        gate.arg(format!("{}/{FOLDER}/gate.py", env!("CARGO_MANIFEST_DIR")));
        gate.env("PYTHONDONTWRITEBYTECODE", "1");
        let gate = emulator.enter(&mut gate).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = gate.spawn().expect("python3 is there");
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let port: u16 = port.trim().parse().expect("the gate says why it did not start");
        Gate { process, url: format!("http://127.0.0.1:{port}") }
    }

    /// What it tells of the requests so far.
    pub fn ask(&self, what: &str) -> Value {
        let script = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())";
        let url = format!("{}/gate/{what}", self.url);
        serde_json::from_str(&run(command("python3").args(["-c", script, &url]))).unwrap()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn python(script: &str) -> Command {
    let mut python = command("python3");
    python.arg(format!("{FOLDER}/{script}")).env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

#[track_caller]
fn expect_success(output: &Output) {
    assert!(output.status.success(), "{}", said(output));
}
