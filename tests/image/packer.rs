//! What Packer makes of the same playbooks.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::image::release;
use crate::{command, run, said};

/// What the AMI's build needs and Packer 1.6, which Debian has, does not know.
const NEWER: &[&str] = &[
    "  temporary_key_pair_type                   = \"ed25519\"\n",
    "  temporary_security_group_source_public_ip = var.ssh_interface == \"public_ip\"\n",
    "  imds_support = \"v2.0\"\n",
    "  metadata_options {
    http_endpoint               = \"enabled\"
    http_tokens                 = \"required\"
    http_put_response_hop_limit = 1
  }\n",
    "  ami_org_arns    = var.ami_org_arns\n",
    "  deprecate_at    = local.deprecate_at\n",
];

/// No repository is copied with the build.
const COMMIT: &str = "commit=0123456789abcdef0123456789abcdef01234567";

const ORGANIZATION: &str =
    r#"ami_org_arns=["arn:aws:organizations::123456789012:organization/o-abcdefghij"]"#;

#[test]
fn packer_would_change_no_space() {
    for folder in ["packer", "tests/image/packer"] {
        run(command("packer").args(["fmt", "-check", "-diff", folder]));
    }
}

#[test]
fn packer_accepts_the_build_of_an_ami() {
    let build = Build::new();
    let own_key = "kms_key_id=alias/images";
    let accounts = r#"ami_users=["123456789012", "210987654321"]"#;
    for variables in [
        &["architecture=arm64"][..],
        &["architecture=x86_64"],
        &["ssh_interface=public_ip"],
        &["instance_profile=baking", "subnet_id=subnet-0123456789abcdef0"],
        &[r#"ami_regions=["eu-west-1", "us-east-1"]"#, own_key],
        &[accounts, own_key],
        &[ORGANIZATION, own_key],
        &["deprecate_after=90"],
        &["committed=2026-01-31T12:00:00Z"],
    ] {
        let output = build.validate(variables);
        assert!(output.status.success(), "{variables:?}: {}", said(&output));
    }
}

#[test]
fn packer_refuses_with_a_sentence_what_cannot_work() {
    let build = Build::new();
    for (variables, sentence) in [
        (&["architecture=mips"][..], "The architecture is arm64 or x86_64."),
        (&["ssh_interface=private_dns"], "The ssh_interface is session_manager or public_ip."),
        (&[r#"ami_users=["1234"]"#], "The ami_users are account IDs of 12 digits."),
        (&[r#"ami_org_arns=["o-abcdefghij"]"#], "The ami_org_arns are ARNs of organizations"),
        (&["committed=yesterday"], "The committed is a time in UTC"),
        (&["deprecate_after=1.5"], "whole number of days from 0 to 3650"),
        (&["deprecate_after=-1"], "whole number of days from 0 to 3650"),
        (&[r#"ami_users=["123456789012"]"#], "To share the image, set kms_key_id"),
        (&[ORGANIZATION], "To share the image, set kms_key_id"),
        (
            &[ORGANIZATION, "kms_key_id=alias/images", r#"ami_regions=["eu-west-1"]"#],
            "bake it in each region without ami_regions",
        ),
    ] {
        let output = build.validate(variables);
        assert!(!output.status.success(), "{variables:?}");
        // However the lines are broken.
        let words = said(&output).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(sentence), "{variables:?}: {words}");
    }
}

#[test]
fn ansible_reaches_an_instance_without_a_port_through_a_session_of_its_own() {
    let build = Build::new();
    let mut console = command("packer");
    console.args(["console", "-var", COMMIT, "-var", &build.binary, "-var=region=eu-north-1"]);
    console.arg("packer").current_dir(build.folder.path()).stdin(Stdio::piped());
    let mut console = console.stdout(Stdio::piped()).spawn().unwrap();
    console.stdin.take().unwrap().write_all(b"local.inventory\n").unwrap();
    let template = String::from_utf8(console.wait_with_output().unwrap().stdout).unwrap();
    // As Packer fills it in.
    let inventory = template
        .replace("{{ .HostAlias }}", "default")
        .replace("{{ .ID }}", "i-0123456789abcdef0")
        .replace("{{ .User }}", "ec2-user");
    let file = build.folder.path().join("inventory");
    fs::write(&file, inventory.trim_end().to_owned() + "\n").unwrap();

    let hosts = run(command("ansible-inventory").arg("--list").arg("--inventory").arg(&file));
    let hosts: Value = serde_json::from_str(&hosts).unwrap();
    let host = &hosts["_meta"]["hostvars"]["default"];
    assert_eq!(host["ansible_host"], "i-0123456789abcdef0");
    assert_eq!(host["ansible_user"], "ec2-user");
    assert_eq!(
        host["ansible_ssh_common_args"],
        "-o ProxyCommand=\"aws ssm start-session --region eu-north-1 --target %h \
         --document-name AWS-StartSSHSession --parameters portNumber=%p\""
    );
}

/// The build of an AMI without what this Packer does not know.
struct Build {
    folder: TempDir,
    /// A variable.
    binary: String,
}

impl Build {
    fn new() -> Build {
        let folder = TempDir::new().unwrap();
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::copy(project.join("Cargo.toml"), folder.path().join("Cargo.toml")).unwrap();
        fs::create_dir(folder.path().join("packer")).unwrap();
        for name in ["variables.pkr.hcl", "image.pkr.hcl", "bake.yml"] {
            let mut text = fs::read_to_string(project.join("packer").join(name)).unwrap();
            for setting in NEWER.iter().filter(|_| name == "image.pkr.hcl") {
                assert!(text.contains(setting), "{setting} is missing");
                text = text.replace(setting, "");
            }
            fs::write(folder.path().join("packer").join(name), text).unwrap();
        }
        let binary = format!("binary={}", release(folder.path()));
        Build { folder, binary }
    }

    fn validate(&self, variables: &[&str]) -> Output {
        let mut packer = command("packer");
        packer.args(["validate", "-var", COMMIT, "-var", &self.binary]);
        for variable in variables {
            packer.args(["-var", variable]);
        }
        packer.arg("packer").current_dir(self.folder.path()).output().unwrap()
    }
}
