//! The root folder of a Debian, made once for all suites.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::commands::{command, run};

/// What is in it beside a minimal Debian: what makes it boot, what Ansible needs on a
/// host, and what guests with NFS use.
const PACKAGES: &str = "ca-certificates,dbus,iproute2,kmod,nfs-kernel-server,python3,python3-apt,\
     sqlite3,strace,systemd,systemd-sysv";

/// Guests start the NFS server themselves, and machines that boot have none.
const DISABLE_NFS: &str =
    r#"chroot "$1" systemctl --quiet disable nfs-server nfs-client.target rpcbind rpcbind.socket"#;

/// The root folder, made from this machine's own package sources and kept for the next
/// run. It is shared, so it is only read: changes are laid over it.
pub fn root() -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let [root, made_of, lock] =
        ["debian", "debian.made-of", "debian.lock"].map(|name| kept.join(name));
    // Another suite may be making it. The lock is released when the file is closed.
    let lock = File::create(lock).unwrap();
    lock.lock().unwrap();
    let release = run(command("sh").args(["-c", ". /etc/os-release; echo $VERSION_CODENAME"]));
    let recipe = format!("{} {PACKAGES} {DISABLE_NFS}\n", release.trim());
    if !fs::read_to_string(&made_of).is_ok_and(|made_of| made_of == recipe) {
        // Made of something else, or not whole because a run was interrupted.
        let _ = fs::remove_file(&made_of);
        let _ = fs::remove_dir_all(&root);
        run(command("mmdebstrap")
            .args(["--quiet", "--variant=minbase"])
            .arg(format!("--include={PACKAGES}"))
            .arg(format!("--customize-hook={DISABLE_NFS}"))
            // More packages are installed in what is laid over it.
            .arg("--skip=cleanup/apt/lists")
            // Nobody misses it after a power cut.
            .arg("--dpkgopt=force-unsafe-io")
            .arg(release.trim())
            .arg(&root)
            .arg(package_sources()));
        fs::write(made_of, recipe).unwrap();
    }
    root
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
