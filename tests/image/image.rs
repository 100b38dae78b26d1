//! A Debian root folder, made into an image by the role.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::LazyLock;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::debian::make_debian;
use crate::static_binary::BINARY;
use crate::{command, run, said};

/// What Ansible needs on a host, and what makes one boot.
const PACKAGES: &str = "ca-certificates,dbus,iproute2,python3,python3-apt,systemd,systemd-sysv";

/// The image, made once for all tests.
pub static IMAGE: LazyLock<Image> = LazyLock::new(Image::make);

/// A root folder that the role has prepared.
pub struct Image {
    folder: PathBuf,
    /// How often the role changed something: at first, and when it ran again.
    pub changes: [u32; 2],
}

impl Image {
    fn make() -> Image {
        assert!(
            rustix::process::geteuid().is_root(),
            "run this as root: only root can make an image and boot it"
        );
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
        // Of an earlier run.
        let _ = fs::remove_dir_all(&folder);
        make_root(&folder);
        let changes = [(); 2].map(|()| {
            let output = play("image.yml", &folder, &settings());
            assert!(output.status.success(), "{}", said(&output));
            changes(&said(&output))
        });
        Image { folder, changes }
    }
}

/// Makes the root folder of a Debian that boots, and that nothing was done to.
pub fn make_root(folder: &Path) {
    // The role installs packages too.
    make_debian(PACKAGES, &["--skip=cleanup/apt/lists"], folder);
}

/// The settings of the image. Its mount is a folder that each machine is given.
pub fn settings() -> Value {
    let binary = fs::read(&*BINARY).unwrap();
    let sha256: String = Sha256::digest(binary).iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "hello_birthday_binary": *BINARY,
        "hello_birthday_binary_sha256": sha256,
        "hello_birthday_mount_source": "/mounted",
        "hello_birthday_mount_type": "none",
        "hello_birthday_started": false,
        "hello_birthday_sealed": true,
    })
}

/// Plays `playbook` on the root in `folder`.
pub fn play(playbook: &str, folder: &Path, settings: &Value) -> Output {
    let home = TempDir::new().unwrap();
    command("ansible-playbook")
        .arg("--inventory")
        .arg(format!("{},", folder.display()))
        .args(["--connection=community.general.chroot", "--extra-vars"])
        .arg(settings.to_string())
        .arg(Path::new("ansible").join(playbook))
        // Nothing of whoever runs the tests.
        .env("ANSIBLE_HOME", home.path())
        .env("ANSIBLE_NOCOLOR", "true")
        .env("ANSIBLE_PYTHON_INTERPRETER", "auto_silent")
        .output()
        .unwrap()
}

/// How often Ansible changed something, as it said at the end.
pub fn changes(said: &str) -> u32 {
    let (_, rest) = said.split_once("changed=").expect("Ansible counts its changes");
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// As the role's defaults have it.
pub const UID: u32 = 590;

/// A copy of the image that a test may change: what it changes is laid over it.
pub struct Copy {
    folder: TempDir,
}

impl Copy {
    pub fn of_image() -> Copy {
        Copy::of(&IMAGE.folder)
    }

    pub fn of(image: &Path) -> Copy {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let [changed, work, root] = ["changed", "work", "root"].map(|name| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            path.display().to_string()
        });
        let layers = format!("lowerdir={},upperdir={changed},workdir={work}", image.display());
        run(command("mount").args(["-t", "overlay", "image", "-o", &layers, &root]));
        let copy = Copy { folder };
        fs::create_dir(copy.mounted()).unwrap();
        chown(copy.mounted(), Some(UID), Some(UID)).unwrap();
        copy
    }

    /// The root folder.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A file or folder in it; `path` begins with a slash.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.strip_prefix('/').expect("paths of a machine are absolute"))
    }

    /// The file system that a machine mounts for its data.
    pub fn mounted(&self) -> PathBuf {
        self.beside("mounted")
    }

    /// A file or folder beside it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // A container that ended badly may hold it for a moment longer.
        let _ = command("umount").arg("--lazy").arg(self.root()).output();
    }
}
