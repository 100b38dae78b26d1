//! An account as an administrator leaves it to the pipeline: the runbook's first deploy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::emulator::Emulator;
use crate::github::GitHub;
use crate::harness::{BINARY, Service};
use crate::patience::PATIENCE;
use crate::providers::{Provider, oldest_in};
use crate::run;
use crate::tree::Tree;

pub const ENVIRONMENTS: [&str; 2] = ["staging", "production"];

/// The smallest stack, and without a name to be reached by.
const SETTINGS: &str = r#"
region              = "eu-central-1"
database            = "sqlite"
plain_http          = true
egress              = "public"
zone_count          = 2
deletion_protection = false
"#;

/// Always open, and never.
pub const OPEN: &str = r#"{"time_zone": "UTC", "holidays": [], "hours": {"mon": "00:00-24:00", "tue": "00:00-24:00",
    "wed": "00:00-24:00", "thu": "00:00-24:00", "fri": "00:00-24:00", "sat": "00:00-24:00", "sun": "00:00-24:00"}}"#;
pub const CLOSED: &str = r#"{"time_zone": "UTC", "hours": {"mon": "00:00-24:00"}, "holidays": ["2020-01-01/2120-01-01"]}"#;

/// An emulated AWS with the pipeline's roles, and a GitHub whose workflows use them.
pub struct Account {
    pub emulator: Emulator,
    pub github: GitHub,
    /// Baked before all releases, and none of them.
    pub first_image: String,
    /// What bootstrap says.
    outputs: Value,
    // What all balancers stand for.
    _service: Service,
    _folder: TempDir,
}

impl Account {
    pub fn new() -> Account {
        let emulator = Emulator::start();
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let provider = oldest_in("pipeline");
        let bootstrap = Tree::new("bootstrap", &provider);
        let mut apply = bootstrap.terraform("apply");
        apply.args(["-auto-approve", "-var=repository=example/hello-birthday"]);
        run(emulator.enter(&mut apply));
        let outputs: Value =
            serde_json::from_str(&run(emulator.enter(bootstrap.terraform("output").arg("-json"))))
                .unwrap();
        let backend = outputs["backend"]["value"].as_str().unwrap();
        // It asks for TLS, which the emulator does not speak.
        let bucket = backend.split('"').nth(3).unwrap();
        emulator.aws("s3.delete_bucket_policy", json!({ "Bucket": bucket }));

        let service = Service::start(&[]);
        let settings = settings(&emulator, &outputs, &rc_file(&folder, &provider));
        let mut github = GitHub::of_project(settings);
        github.ask(json!({ "do": "service", "address": service.address.to_string() }));
        let first_image = emulator.register_image("forgotten");
        Account { first_image, outputs, emulator, github, _service: service, _folder: folder }
    }

    /// The settings of an environment, as they are committed.
    pub fn tfvars(&self, environment: &str) -> String {
        tfvars(&self.outputs, environment)
    }
}

fn tfvars(outputs: &Value, environment: &str) -> String {
    let boundary = &outputs["permissions_boundaries"]["value"][environment];
    format!("environment = \"{environment}\"{SETTINGS}permissions_boundary = {boundary}\n")
}

/// How Terraform finds its provider.
fn rc_file(folder: &TempDir, provider: &Provider) -> PathBuf {
    let file = folder.path().join("terraformrc");
    let mirror = provider.folder.display();
    fs::write(
        &file,
        format!(
            "provider_installation {{\n  filesystem_mirror {{\n    path = \"{mirror}\"\n  }}\n}}\n"
        ),
    )
    .unwrap();
    file
}

/// The repository: what the runbook has people set up at GitHub, and commit.
fn settings(emulator: &Emulator, outputs: &Value, terraform: &Path) -> Value {
    let mut files = json!({
        ".github/window.json": OPEN,
        // They have a test of their own, which is this.
        ".ci/run": "#!/bin/sh\n",
        ".ci/coverage": "#!/bin/sh\necho 'covered'\n",
    });
    let mut environments = json!({ "approval": { "reviewers": ["owners"] } });
    for name in ENVIRONMENTS {
        files[format!("terraform/environments/{name}.tfvars")] = json!(tfvars(outputs, name));
        files[format!("terraform/environments/{name}.tfbackend")] = json!(format!(
            "{}use_path_style = true\n",
            outputs["backends"]["value"][name].as_str().unwrap()
        ));
        environments[name] = json!({
            "branches": ["main"],
            "vars": {
                "APPLY_ROLE": outputs["apply_roles"]["value"][name]["role-to-assume"],
            },
        });
    }
    json!({
        "files": files,
        "environments": environments,
        "vars": {
            "AWS_REGION": "eu-central-1",
            "BAKE_ROLE": outputs["bake_role"]["value"]["role-to-assume"],
            "PLAN_ROLE": outputs["plan_role"]["value"],
            "RETIRE_ROLE": outputs["retire_role"]["value"],
        },
        "hooks": { "CHANNEL_WEBHOOK": "channel", "OWNERS_WEBHOOK": "owners" },
        "aws": url_of(emulator),
        "environment": {
            "BINARY": BINARY,
            "TF_CLI_CONFIG_FILE": terraform,
            "CHECKPOINT_DISABLE": "1",
            "GOGC": "400",
            // Nothing changes a stack behind its state's back, but for the drift that a test makes.
            "TF_CLI_ARGS_plan": "-refresh=false",
            // The scripts need not wait for AWS.
            "POLL_SECONDS": "0",
            // A machine that is busy is no release that is broken.
            "SMOKE_SECONDS": PATIENCE.as_secs().to_string(),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        },
    })
}

/// Where the emulator is.
fn url_of(emulator: &Emulator) -> String {
    let mut command = Command::new("true");
    let variables = emulator.enter(&mut command).get_envs();
    let mut urls = variables.filter(|(name, _)| *name == "AWS_ENDPOINT_URL");
    urls.next().unwrap().1.unwrap().to_str().unwrap().to_owned()
}
