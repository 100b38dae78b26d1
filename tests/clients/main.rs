//! Clients that other people's tools generate from the OpenAPI description.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../commands.rs"]
mod commands;
#[allow(dead_code, reason = "no test target needs all of it")]
#[path = "../service/harness.rs"]
mod harness;
#[path = "../service/openapi.rs"]
mod openapi;
#[path = "../patience.rs"]
mod patience;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use commands::{command, run};
use harness::Service;
use tempfile::TempDir;

const DESCRIPTION: &str = "src/http/openapi.json";

/// The database of processes in `folder`: by default a file there.
fn database_url(_folder: &Path) -> Option<String> {
    None
}

fn service() -> (Service, String) {
    let service = Service::start(&["--today", "2025-05-20"]);
    let url = format!("http://{}", service.address);
    (service, url)
}

#[test]
fn the_description_is_valid() {
    let said = run(command("openapi-spec-validator").arg(DESCRIPTION));
    assert!(said.contains("OK"), "{said}");
}

#[test]
fn pythons_jsonschema_takes_the_pattern_of_usernames_and_agrees_on_ascii() {
    let said = run(command("python3").arg("tests/clients/usernames.py").arg(DESCRIPTION));
    assert_eq!(said, "256 checked\n");
}

#[test]
fn a_generated_python_client_saves_and_greets() {
    let (_service, url) = service();
    let folder = TempDir::new().unwrap();
    let client = folder.path().join("hello_birthday_client");
    run(command("openapi-python-client")
        .args(["generate", "--meta=none", "--path", DESCRIPTION, "--output-path"])
        .arg(&client));
    let said = run(command("python3").arg("tests/clients/greet.py").arg(folder.path()).arg(url));
    assert_eq!(said, "saved and greeted\n");
}

#[test]
fn a_generated_rust_client_saves_and_greets() {
    let (_service, url) = service();
    // Kept, so that what it needs is built once.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("client");
    let folder = TempDir::new().unwrap();
    run(command("openapi-generator-cli")
        .args(["generate", "--input-spec", DESCRIPTION, "--generator-name", "rust", "--output"])
        .arg(folder.path()));
    let manifest = folder.path().join("Cargo.toml");
    let mut edited = OpenOptions::new().append(true).open(&manifest).unwrap();
    let tokio = "tokio = { version = \"1\", features = [\"macros\", \"rt\"] }";
    write!(edited, "\n[dev-dependencies]\n{tokio}\n").unwrap();
    fs::create_dir(folder.path().join("examples")).unwrap();
    fs::copy("tests/clients/greet.rs", folder.path().join("examples/greet.rs")).unwrap();
    let said = run(command(env!("CARGO"))
        // It is built for one run.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        // Over plain HTTP, so without TLS.
        .args(["run", "--quiet", "--no-default-features", "--example=greet", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        .arg("--")
        .arg(url));
    assert_eq!(said, "saved and greeted\n");
}
