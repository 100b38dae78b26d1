//! A copy of the project's Terraform, and what Terraform makes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use tempfile::TempDir;

use crate::{command, run};

/// The version of AWS's provider that a tree is tried with.
#[derive(Clone, Copy)]
pub enum Provider {
    /// The oldest that it promises to work with.
    Oldest,
    /// The newest.
    Newest,
}

/// A root module that has been initialized.
pub struct Tree {
    _folder: TempDir,
    root: PathBuf,
    settings: PathBuf,
    plugins: Option<String>,
}

impl Tree {
    /// Copies all of `terraform/`, and initializes its root module or the one below it.
    pub fn new(module: &str, provider: Provider) -> Tree {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("terraform"), folder.path());
        let root = folder.path().join(module);
        let (version, settings, plugins) = match provider {
            Provider::Oldest => ("5.100.0", PathBuf::from("/dev/null"), PROVIDED.clone()),
            Provider::Newest => ("~> 6.25", STAND_IN.clone(), None),
        };
        // State is kept here, and one version of the provider is used.
        let text = format!(
            "terraform {{\n  backend \"local\" {{}}\n\n  required_providers {{\n    aws = {{\n      \
             source  = \"hashicorp/aws\"\n      version = \"{version}\"\n    }}\n  }}\n}}\n"
        );
        fs::write(root.join("tests_override.tf"), text).unwrap();
        let tree = Tree { _folder: folder, root, settings, plugins };
        // What is downloaded is kept for the next, which must not come at once.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock();
        run(tree.terraform("init").args(tree.plugins()));
        tree
    }

    /// A file of the module.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// What to tell `init`, if providers are not to be downloaded.
    pub fn plugins(&self) -> Option<String> {
        self.plugins.as_ref().map(|folder| format!("-plugin-dir={folder}"))
    }

    /// Terraform in the tree, with what it needs to run by itself.
    pub fn terraform(&self, subcommand: &str) -> Command {
        let mut terraform = command("terraform");
        terraform
            .args([subcommand, "-no-color"])
            .current_dir(&self.root)
            .env("TF_CLI_CONFIG_FILE", &self.settings)
            .env("TF_PLUGIN_CACHE_DIR", cache())
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_INPUT", "0")
            .env("CHECKPOINT_DISABLE", "1");
        terraform
    }
}

/// Copies a folder without what Terraform has made in it.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(".terraform") {
            continue;
        }
        let (from, to) = (entry.path(), to.join(name));
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// Where downloaded providers are kept.
fn cache() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("terraform-providers");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// What may lie beside the project, for machines that reach no registry.
fn beside(program: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(program);
    path.exists().then_some(path)
}

/// A folder with the oldest provider.
static PROVIDED: LazyLock<Option<String>> = LazyLock::new(|| {
    let folder = run(&mut command(beside("terraform-provider-dir")?.to_str()?));
    Some(folder.trim().to_owned())
});

/// Terraform's settings for the newest provider, or for what stands in for it.
static STAND_IN: LazyLock<PathBuf> = LazyLock::new(|| {
    let Some(install) = beside("terraform-aws-stub/install.sh") else {
        return PathBuf::from("/dev/null");
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("terraform-stand-in");
    run(command(install.to_str().unwrap()).arg(&folder));
    folder.join("terraformrc")
});
