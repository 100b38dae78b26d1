//! What the roles of bootstrap/ may do, with the policies that Terraform makes, judged as
//! IAM does: see permissions/.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::emulator::Emulator;
use crate::providers::providers;
use crate::tree::Tree;
use crate::{command, run, said};

const FOLDER: &str = "tests/terraform/permissions";

/// All of bootstrap/ that is IAM's, which is made in a fraction of the time.
const ROLES: [&str; 9] = [
    "aws_iam_policy.boundary",
    "aws_iam_role_policy.apply",
    "aws_iam_role_policy.bake",
    "aws_iam_role_policy.bake_instance",
    "aws_iam_role_policy.plan",
    "aws_iam_role_policy.retire",
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
    let account = Account::shared();
    let classes = [
        "ApplyRole",
        "AwsRoles",
        "BakeRole",
        "Known",
        "MadeRole",
        "PlanRole",
        "Quotas",
        "RetireRole",
        "Trust",
    ];
    account.expect(&classes);
}

/// An account in which bootstrap/ was applied.
pub struct Account {
    pub emulator: Emulator,
    zones: Value,
}

impl Account {
    /// The one of all tests, which ends with them.
    pub fn shared() -> &'static Account {
        static ACCOUNT: LazyLock<Account> = LazyLock::new(Account::new);
        &ACCOUNT
    }

    fn new() -> Account {
        let emulator = Emulator::start();
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

    /// Makes permissions/cases.py judge requests.
    #[track_caller]
    pub fn expect(&self, classes: &[&str]) {
        let mut cases = python("cases.py");
        self.emulator.enter(&mut cases).env("HOSTED_ZONES", self.zones.to_string());
        let judged = cases.args(classes).output().unwrap();
        expect_success(&judged);
        println!("{}", said(&judged));
    }

    /// Makes `command` a job of GitHub's with this role.
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
