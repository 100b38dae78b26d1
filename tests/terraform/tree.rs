//! A copy of the project's Terraform, and what Terraform makes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::providers::{Provider, required_provider};
use crate::{command, run};

/// A root module that has been initialized.
pub struct Tree {
    _folder: TempDir,
    root: PathBuf,
    plugins: String,
}

impl Tree {
    /// Copies all of `terraform/` and what it reads beside it, and initializes its root
    /// module or the one below it.
    pub fn new(module: &str, provider: &Provider) -> Tree {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for part in ["terraform", "ansible/roles/hello_birthday/files"] {
            let to = folder.path().join(part);
            fs::create_dir_all(&to).unwrap();
            copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(part), &to);
        }
        let root = folder.path().join("terraform").join(module);
        // State is kept here, and one version of the provider is used.
        let backend = "terraform {\n  backend \"local\" {}\n}\n";
        let provider_block = required_provider(&provider.version);
        fs::write(root.join("tests_override.tf"), backend.to_owned() + &provider_block).unwrap();
        let plugins = format!("-plugin-dir={}", provider.folder.display());
        let tree = Tree { _folder: folder, root, plugins };
        run(&mut tree.init());
        tree
    }

    /// A file of the module.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn init(&self) -> Command {
        let mut init = self.terraform("init");
        init.arg(&self.plugins);
        init
    }

    /// Terraform in the tree, with what it needs to run by itself.
    pub fn terraform(&self, subcommand: &str) -> Command {
        let mut terraform = command("terraform");
        self.isolate(&mut terraform).args([subcommand, "-no-color"]).current_dir(&self.root);
        terraform
    }

    /// Makes Terraform, where `command` runs it, depend on nothing of this machine.
    pub fn isolate<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            // The user's settings could put another provider in place of this one.
            .env("TF_CLI_CONFIG_FILE", "/dev/null")
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_INPUT", "0")
            .env("CHECKPOINT_DISABLE", "1")
            // It ends soon, and so does the provider: they need not save memory.
            .env("GOGC", "400")
    }
}

/// Copies a folder without what Terraform has made in it.
pub fn copy(from: &Path, to: &Path) {
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
