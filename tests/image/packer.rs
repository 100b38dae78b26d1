//! What Packer makes of the same playbooks.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::image::release;
use crate::{command, run};

/// What the AMI's build needs and Packer 1.6, which Debian has, does not know.
const NEWER: &[&str] = &[
    "  temporary_key_pair_type                   = \"ed25519\"\n",
    "  temporary_security_group_source_public_ip = true\n",
    "  imds_support = \"v2.0\"\n",
    "  metadata_options {
    http_endpoint               = \"enabled\"
    http_tokens                 = \"required\"
    http_put_response_hop_limit = 1
  }\n",
];

/// No repository is copied with the build.
const COMMIT: &str = "commit=0123456789abcdef0123456789abcdef01234567";

#[test]
fn packer_would_change_no_space() {
    for folder in ["packer", "packer/local"] {
        run(command("packer").args(["fmt", "-check", "-diff", folder]));
    }
}

#[test]
fn packer_accepts_the_build_of_an_ami() {
    let copy = TempDir::new().unwrap();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::copy(project.join("Cargo.toml"), copy.path().join("Cargo.toml")).unwrap();
    fs::create_dir(copy.path().join("packer")).unwrap();
    for name in ["variables.pkr.hcl", "image.pkr.hcl", "bake.yml"] {
        let mut text = fs::read_to_string(project.join("packer").join(name)).unwrap();
        for setting in NEWER.iter().filter(|_| name == "image.pkr.hcl") {
            assert!(text.contains(setting), "{setting} is missing");
            text = text.replace(setting, "");
        }
        fs::write(copy.path().join("packer").join(name), text).unwrap();
    }
    let binary = release(copy.path());
    for architecture in ["arm64", "x86_64"] {
        run(command("packer")
            .args(["validate", "-var", COMMIT])
            .args(["-var", &format!("architecture={architecture}")])
            .args(["-var", &format!("binary={binary}")])
            .arg("packer")
            .current_dir(copy.path()));
    }
    let refused = command("packer")
        .args(["validate", "-var", COMMIT])
        .args(["-var", "architecture=mips", "-var", &format!("binary={binary}")])
        .arg("packer")
        .current_dir(copy.path())
        .output()
        .unwrap();
    assert!(!refused.status.success(), "it would build for any processor");
}
