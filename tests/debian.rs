//! Folders that hold a Debian.

use std::path::{Path, PathBuf};

use crate::commands::{command, run};

/// The name of this machine's release, which the folders are of too.
pub fn suite() -> String {
    let suite = run(command("sh").args(["-c", ". /etc/os-release; echo $VERSION_CODENAME"]));
    suite.trim().to_owned()
}

/// Makes a minimal one with `packages`, from this machine's own package sources.
pub fn make_debian(packages: &str, options: &[&str], folder: &Path) {
    run(command("mmdebstrap")
        .args(["--quiet", "--variant=minbase"])
        .arg(format!("--include={packages}"))
        .args(options)
        .arg(suite())
        .arg(folder)
        .arg(package_sources()));
}

/// Where this machine gets its own packages from.
fn package_sources() -> PathBuf {
    let apt = Path::new("/etc/apt");
    ["sources.list.d/debian.sources", "sources.list.d/ubuntu.sources", "sources.list"]
        .map(|name| apt.join(name))
        .into_iter()
        .find(|path| path.exists())
        .expect("a machine with apt has package sources")
}
