//! A root folder, made into an image as Packer makes one.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::load::TODAY;
use crate::static_binary::BINARY;
use crate::{command, debian, run};

/// The image, made once for all tests: the layers that it consists of, as overlayfs
/// takes them.
static IMAGE: LazyLock<String> = LazyLock::new(|| {
    assert!(
        rustix::process::geteuid().is_root(),
        "run this as root: only root can make an image and boot it"
    );
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
    // Of an earlier run.
    let _ = command("umount").arg("--lazy").arg(folder.join("root")).output();
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    let debian = debian::root();
    let root = lay_over(&debian.display().to_string(), &folder);
    // It is there for others; the role needs none.
    run(command("dpkg").arg("--root").arg(&root).args(["--purge", "sqlite3"]));
    bake(&root, &folder);
    run(command("umount").arg(&root));
    format!("{}:{}", folder.join("changed").display(), debian.display())
});

/// The CA certificates that the image trusts for Postgres, in place of RDS's, which no
/// test can download.
pub static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
    let pem = authority(4000) + &authority(4000);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres-ca.pem");
    fs::write(&file, &pem).unwrap();
    Bundle { sha256: hex_sha256(pem.as_bytes()), file, pem }
});

pub struct Bundle {
    pub file: PathBuf,
    pub sha256: String,
    pub pem: String,
}

/// The certificate of a CA that expired, or will, with the year before `year`.
pub fn authority(year: i32) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// Makes an image of the folder `root`; uses `folder` for the rest.
fn bake(root: &Path, folder: &Path) {
    let settings_file = folder.join("settings.json");
    fs::write(&settings_file, settings().to_string()).unwrap();
    let manifest = folder.join("manifest.json");
    let mut packer = command("packer");
    run(clean_environment(&mut packer, folder)
        .args(["build", "-color=false"])
        .args(["-var", &format!("root={}", root.display())])
        .args(["-var", &format!("binary={}", release(folder))])
        .args(["-var", &format!("settings={}", settings_file.display())])
        .args(["-var", &format!("manifest={}", manifest.display())])
        .arg("tests/image/packer")
        .env("PACKER_CONFIG_DIR", folder));
    let manifest = fs::read_to_string(manifest).unwrap();
    assert!(manifest.contains(&sha256()), "{manifest}");
}

/// Copies the binary to `folder`, with its checksum beside it, as a release has them.
pub fn release(folder: &Path) -> String {
    let binary = folder.join("hello-birthday");
    fs::copy(&*BINARY, &binary).unwrap();
    let line = format!("{}  hello-birthday\n", sha256());
    fs::write(folder.join("hello-birthday.sha256"), line).unwrap();
    binary.display().to_string()
}

fn sha256() -> String {
    hex_sha256(&fs::read(&*BINARY).unwrap())
}

pub fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The settings of the image. Its mount is a folder that each machine is given.
pub fn settings() -> Value {
    json!({
        "hello_birthday_binary": *BINARY,
        "hello_birthday_binary_sha256": sha256(),
        "hello_birthday_postgres_ca_url": format!("file://{}", BUNDLE.file.display()),
        "hello_birthday_postgres_ca_sha256": BUNDLE.sha256,
        "hello_birthday_mount_source": "/mounted",
        "hello_birthday_mount_type": "none",
        "hello_birthday_started": false,
        "hello_birthday_sealed": true,
    })
}

/// Plays `playbook` on the root in `folder`. In place of chroot, Ansible runs the one in
/// the folder `chroot`, if there is one.
pub fn play(playbook: &str, folder: &Path, settings: &Value, chroot: Option<&Path>) -> Output {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    play_in(project, playbook, folder, settings, chroot)
}

/// Plays one file of the role's tasks, which takes a tenth of the time of all.
pub fn play_tasks(tasks: &str, copy: &Copy, settings: &Value) -> Output {
    play_tasks_in(Path::new(env!("CARGO_MANIFEST_DIR")), tasks, copy, settings)
}

/// The same with the role in `project`.
pub fn play_tasks_in(project: &Path, tasks: &str, copy: &Copy, settings: &Value) -> Output {
    let playbook = copy.beside("tasks.yml");
    let role = json!({ "name": "hello_birthday", "tasks_from": tasks });
    let play = json!([{
        "hosts": "all",
        "tasks": [{ "ansible.builtin.import_role": role }],
    }]);
    fs::write(&playbook, play.to_string()).unwrap();
    play_in(project, playbook.to_str().unwrap(), &copy.root(), settings, None)
}

fn play_in(
    project: &Path,
    playbook: &str,
    folder: &Path,
    settings: &Value,
    chroot: Option<&Path>,
) -> Output {
    let home = TempDir::new().unwrap();
    let mut ansible = command("ansible-playbook");
    clean_environment(&mut ansible, home.path())
        .arg("--inventory")
        .arg(format!("{},", folder.display()))
        .args(["--connection=chroot", "--extra-vars"])
        .arg(settings.to_string())
        .arg(playbook)
        .current_dir(project)
        .env("ANSIBLE_ROLES_PATH", "ansible/roles")
        .env("ANSIBLE_CONNECTION_PLUGINS", "ansible/connection_plugins");
    if let Some(chroot) = chroot {
        let path = std::env::var("PATH").unwrap();
        ansible.env("PATH", format!("{}:{path}", chroot.display()));
    }
    ansible.output().unwrap()
}

/// A file as the role would write it, with its defaults where `settings` has nothing else.
pub fn render(name: &str, settings: &Value) -> String {
    let folder = TempDir::new().unwrap();
    let rendered = folder.path().join(name);
    let role = Path::new(env!("CARGO_MANIFEST_DIR")).join("ansible/roles/hello_birthday");
    let mut ansible = command("ansible");
    run(clean_environment(&mut ansible, folder.path())
        .args(["localhost", "--module-name=ansible.builtin.template", "--extra-vars"])
        .arg(format!("@{}", role.join("defaults/main.yml").display()))
        .args(["--extra-vars", &settings.to_string()])
        .arg("--args")
        .arg(format!(
            "src={} dest={}",
            role.join("templates").join(format!("{name}.j2")).display(),
            rendered.display()
        ))
        .env("ANSIBLE_LOCALHOST_WARNING", "false"));
    fs::read_to_string(rendered).unwrap()
}

/// None of the user's own settings.
fn clean_environment<'a>(ansible: &'a mut Command, home: &Path) -> &'a mut Command {
    ansible
        .env("ANSIBLE_HOME", home)
        .env("ANSIBLE_NOCOLOR", "true")
        .env("ANSIBLE_PIPELINING", "true")
        .env("ANSIBLE_PYTHON_INTERPRETER", "auto_silent")
}

/// As the role's defaults have it.
pub const UID: u32 = 590;

/// A copy of the image that a test may change: what it changes is laid over it.
pub struct Copy {
    folder: TempDir,
}

impl Copy {
    pub fn of_image() -> Copy {
        Copy::of(&IMAGE)
    }

    /// A Debian without the service.
    pub fn of_debian() -> Copy {
        Copy::of(&debian::root().display().to_string())
    }

    fn of(image: &str) -> Copy {
        let copy = Copy { folder: TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap() };
        lay_over(image, copy.folder.path());
        fs::create_dir(copy.mounted()).unwrap();
        chown(copy.mounted(), Some(UID), Some(UID)).unwrap();
        copy
    }

    /// The same, with a service that serves on a day that clients know.
    pub fn of_image_for_load() -> Copy {
        let copy = Copy::of_image();
        let start = format!("/usr/local/bin/hello-birthday --today {TODAY}");
        let drop_in = "/etc/systemd/system/hello-birthday.service.d/today.conf";
        copy.write(drop_in, &format!("[Service]\nExecStart=\nExecStart={start}\n"), 0o644);
        copy
    }

    /// A name that no other copy has.
    pub fn name(&self) -> &str {
        self.folder.path().file_name().unwrap().to_str().unwrap()
    }

    /// The root folder.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A file or folder in it; `path` begins with a slash.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.strip_prefix('/').expect("paths of a machine are absolute"))
    }

    /// Writes a file in it, with the folders above.
    pub fn write(&self, path: &str, text: &str, mode: u32) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
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

/// Mounts a root folder in `folder` that consists of `layers` and of what is changed.
fn lay_over(layers: &str, folder: &Path) -> PathBuf {
    let [changed, work, root] = ["changed", "work", "root"].map(|name| folder.join(name));
    for folder in [&changed, &work, &root] {
        fs::create_dir(folder).unwrap();
    }
    let options =
        format!("lowerdir={layers},upperdir={},workdir={}", changed.display(), work.display());
    run(command("mount").args(["-t", "overlay", "image", "-o", &options]).arg(&root));
    root
}
