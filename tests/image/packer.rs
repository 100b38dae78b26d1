//! What Packer makes of the same playbooks.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::harness::Client;
use crate::image::{Copy, make_root, settings};
use crate::machine::Machine;
use crate::static_binary::BINARY;
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

#[test]
fn a_folder_that_packer_baked_boots_and_serves() {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = folder.path().join("root");
    make_root(&root);
    let settings_file = folder.path().join("settings.json");
    fs::write(&settings_file, settings().to_string()).unwrap();
    let manifest = folder.path().join("manifest.json");
    run(command("packer")
        .args(["build", "-color=false"])
        .args(["-var", &format!("root={}", root.display())])
        .args(["-var", &format!("binary={}", release(folder.path()))])
        .args(["-var", &format!("settings={}", settings_file.display())])
        .args(["-var", &format!("manifest={}", manifest.display())])
        .arg("packer/local")
        .env("ANSIBLE_HOME", folder.path().join("ansible"))
        .env("PACKER_CONFIG_DIR", folder.path()));
    let manifest = fs::read_to_string(manifest).unwrap();
    let sha256 = settings()["hello_birthday_binary_sha256"].as_str().unwrap().to_owned();
    assert!(manifest.contains(&sha256), "{manifest}");

    let machine = Machine::boot(Copy::of(&root));
    machine.wait_until_healthy();
    let mut client = Client::new(machine.address);
    let born = r#"{"dateOfBirth":"1990-05-20"}"#;
    client.send("PUT", "/hello/John", born).unwrap().expect_status(204);
    client.send("GET", "/hello/John", "").unwrap().expect_status(200);
}

/// The binary with its checksum beside it, as a release has them.
fn release(folder: &Path) -> String {
    let binary = folder.join("hello-birthday");
    fs::copy(&*BINARY, &binary).unwrap();
    let settings = settings();
    let sha256 = settings["hello_birthday_binary_sha256"].as_str().unwrap();
    fs::write(folder.join("hello-birthday.sha256"), format!("{sha256}  hello-birthday\n")).unwrap();
    binary.display().to_string()
}
