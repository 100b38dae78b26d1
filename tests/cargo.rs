//! Binaries that tests have cargo build.

use std::path::PathBuf;
use std::process::Command;

/// Runs cargo with these arguments in the project's folder, and gives the binary that it
/// builds.
pub fn build(arguments: &[&str]) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // Cargo sets these for tests. Build scripts, such as ring's, would take them for a change and
    // run again, and what depends on them would be built again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || text == "OUT_DIR"
        {
            cargo.env_remove(name);
        }
    }
    let output = cargo
        .args(arguments)
        .arg("--message-format=json")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .expect("JSON is UTF-8")
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the binary")
}
