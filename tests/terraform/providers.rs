//! The versions of AWS's provider that the tests use, from wherever this machine has them.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

use rustix::process::{Pid, Signal, kill_process};

use crate::{command, run, said};

/// What terraform/versions.tf asks for.
const RANGE: &str = ">= 5.100, < 7";

/// The lower end of the range, or what comes close to it.
const OLDEST: [&str; 2] = ["5.100.0", ">= 5.100, < 6"];

/// One version of the provider.
pub struct Provider {
    pub version: String,
    /// Where it is, laid out as a mirror.
    pub folder: PathBuf,
}

impl Provider {
    /// Starts it as a server of its own. Terraform otherwise starts it again for each plan of a
    /// test, only to ask for its schema where it is mocked.
    pub fn start(&self) -> RunningProvider {
        let mut find = command("find");
        let found = run(find
            .arg("-L")
            .arg(&self.folder)
            .args(["-path", &format!("*/hashicorp/aws/{}/*", self.version)])
            .args(["-name", "terraform-provider-aws*", "-type", "f"]));
        let mut provider = command(found.lines().next().expect("a mirror holds the provider"));
        let mut process = provider
            .arg("-debug")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // It traces every request there.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let mark = "TF_REATTACH_PROVIDERS='";
        let address =
            said.by_ref().lines().map(Result::unwrap).find_map(|line| {
                Some(line.trim().strip_prefix(mark)?.strip_suffix('\'')?.to_owned())
            });
        let address = address.expect("the provider prints its address");
        RunningProvider { process, _said: said, address }
    }
}

/// A provider that any Terraform can attach to, until this is dropped.
/// <https://developer.hashicorp.com/terraform/plugin/debugging>
pub struct RunningProvider {
    process: Child,
    // Kept open: later output would fail.
    _said: BufReader<ChildStdout>,
    address: String,
}

impl RunningProvider {
    /// Makes Terraform use it.
    pub fn attach<'a>(&self, terraform: &'a mut Command) -> &'a mut Command {
        terraform.env("TF_REATTACH_PROVIDERS", &self.address)
    }
}

impl Drop for RunningProvider {
    fn drop(&mut self) {
        // Passed on by what bounds its time. It may have ended already.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}

pub struct Providers {
    /// The oldest one: what works with it works with those that come after it, as far as
    /// they accept the configuration.
    pub oldest: Provider,
    pub newer: Vec<Provider>,
}

/// The oldest and the newest version that there is.
pub fn providers() -> &'static Providers {
    static FOUND: LazyLock<Result<Providers, String>> = LazyLock::new(find);
    FOUND.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

fn find() -> Result<Providers, String> {
    // First as the user has set up Terraform, which knows mirrors and the registry.
    let mut mirrors = Vec::new();
    let newest = install("newest", RANGE, &mirrors).or_else(|error| {
        mirrors = usual_mirrors();
        if mirrors.is_empty() { Err(error) } else { install("newest", RANGE, &mirrors) }
    });
    let newest = newest.map_err(|error| {
        format!(
            "no AWS provider {RANGE}: let Terraform reach its registry, or run `terraform providers mirror \
             ~/.terraform.d/plugins` in terraform/ where it does and copy that folder here\n{error}"
        )
    })?;
    let mut newer = Vec::new();
    let oldest = OLDEST.iter().find_map(|constraint| install("oldest", constraint, &mirrors).ok());
    let oldest = match oldest {
        Some(oldest) if oldest.version != newest.version => {
            newer.push(newest);
            oldest
        }
        _ => newest,
    };
    let mut told = vec![oldest.version.clone()];
    told.extend(newer.iter().map(|provider| provider.version.clone()));
    if newer.is_empty()
        && let Some(stand_in) = stand_in()
    {
        told.push(format!("a stand-in for {}", stand_in.version));
        newer.push(stand_in);
    }
    // Past what captures the output of tests: it concerns all of them.
    let _ = writeln!(io::stderr(), "versions of the AWS provider: {}", told.join(", "));
    Ok(Providers { oldest, newer })
}

/// The oldest one alone, in a folder of this name: another suite may be installing its own.
#[allow(dead_code, reason = "no test target needs all of it")]
pub fn oldest_in(name: &str) -> Provider {
    let mut found = Err(String::new());
    for mirrors in [Vec::new(), usual_mirrors()] {
        for constraint in OLDEST {
            found = found.or_else(|_: String| install(name, constraint, &mirrors));
        }
    }
    found.unwrap_or_else(|error| panic!("no AWS provider {RANGE}: {error}"))
}

/// Makes Terraform find and install the newest version within `constraint`, from `mirrors`
/// alone if there are any.
fn install(name: &str, constraint: &str, mirrors: &[PathBuf]) -> Result<Provider, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("terraform-providers").join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("main.tf"), required_provider(constraint)).unwrap();
    // The user's settings hold here, and nowhere else. If TF_CLI_CONFIG_FILE names a file
    // that is missing, Terraform warns and goes on with its defaults.
    let mut init = command("terraform");
    init.args(["init", "-no-color", "-input=false", "-upgrade"]).current_dir(&folder);
    init.args(mirrors.iter().map(|mirror| format!("-plugin-dir={}", mirror.display())));
    init.env("CHECKPOINT_DISABLE", "1");
    // A registry that is away is noticed soon.
    init.env("TF_REGISTRY_DISCOVERY_RETRY", "0").env("TF_REGISTRY_CLIENT_TIMEOUT", "15");
    let output = init.output().unwrap();
    if !output.status.success() {
        return Err(said(&output));
    }
    let lock = fs::read_to_string(folder.join(".terraform.lock.hcl")).unwrap();
    let version = lock.lines().find_map(|line| line.trim().strip_prefix("version")).unwrap();
    Ok(Provider {
        version: version.trim_matches([' ', '=', '"']).to_owned(),
        folder: folder.join(".terraform/providers"),
    })
}

/// The block that asks for one.
pub fn required_provider(constraint: &str) -> String {
    format!(
        "terraform {{\n  required_providers {{\n    aws = {{\n      source  = \"hashicorp/aws\"\n      \
         version = \"{constraint}\"\n    }}\n  }}\n}}\n"
    )
}

/// Prints what is laid out as a mirror, in the places that Terraform looks in unless it is
/// told otherwise and in those where people put such things.
const FIND_MIRRORS: &str = r#"
    places=/opt:/usr/local:/srv:$PWD/terraform:${XDG_DATA_DIRS:-/usr/local/share:/usr/share}
    places=$places:$HOME:${XDG_DATA_HOME:-$HOME/.local/share}
    IFS=:
    for place in $places; do printf '%s\n' "$place"/{,*/,*/*/}*/hashicorp/aws; done"#;

/// The folders that hold HOST/hashicorp/aws.
fn usual_mirrors() -> Vec<PathBuf> {
    let mut bash = command("bash");
    let found = run(bash.args(["-O", "nullglob", "-O", "dotglob", "-c", FIND_MIRRORS]));
    found
        .lines()
        .filter_map(|path| Path::new(path).ancestors().nth(3))
        .map(Path::to_owned)
        .collect()
}

/// What may lie beside the project, for machines that have no newer provider: it knows
/// what that accepts, and no more.
fn stand_in() -> Option<Provider> {
    let install =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/terraform-aws-stub/install.sh");
    if !install.exists() {
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("terraform-stand-in");
    let installed = command(install.to_str().unwrap()).arg(&folder).output().unwrap();
    if !installed.status.success() {
        return None;
    }
    let version = fs::read_to_string(folder.join("lib/version")).unwrap();
    Some(Provider { version: version.trim().to_owned(), folder: folder.join("mirror") })
}
