//! The READMEs beside Terraform's and Packer's files: their tables are of these files.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::{command, run, said};

/// Folders whose README has tables of variables and outputs.
const FOLDERS: [&str; 2] = ["terraform", "packer"];

#[test]
fn tables_list_the_variables_and_outputs_that_there_are() {
    run(command("tests/terraform/documentation.py").args(FOLDERS));
}

#[test]
fn a_table_that_is_not_in_step_is_noticed_and_rewritten() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let variable = |default: &str| {
        format!(
            "variable \"size\" {{\n  type = object({{\n    min = number\n  }})\n  default     = {default}\n  \
             description = \"Number of \\\"things\\\" | more.\"\n\n  validation {{\n    condition     = true\n    \
             error_message = \"It is a number.\"\n  }}\n}}\n"
        )
    };
    fs::write(path("variables.tf"), variable("{ min = 1 }")).unwrap();
    fs::write(path("README.md"), "Before.\n<!-- variables -->\n<!-- /variables -->\nAfter.\n")
        .unwrap();

    let script = |arguments: &[&str]| {
        command("tests/terraform/documentation.py")
            .args(arguments)
            .arg(folder.path())
            .output()
            .unwrap()
    };
    let checked = script(&[]);
    assert!(!checked.status.success() && said(&checked).contains("--write"), "{}", said(&checked));
    let written = script(&["--write"]);
    assert!(written.status.success(), "{}", said(&written));
    let readme = fs::read_to_string(path("README.md")).unwrap();
    let row = "| `size` | Number of \"things\" \\| more. | <pre>object({<br/>  min = number<br/>})</pre> | `{ min = 1 }` | no |";
    assert!(readme.starts_with("Before.\n") && readme.ends_with("-->\nAfter.\n"), "{readme}");
    assert!(readme.lines().any(|line| line == row), "{readme}");
    assert!(script(&[]).status.success());

    fs::write(path("variables.tf"), variable("{ min = 2 }")).unwrap();
    assert!(!script(&[]).status.success(), "a new default is not noticed");
}

/// Asserts that `readme` holds `text` between its markers, or leaves one that does.
#[track_caller]
pub fn expect_in_step(readme: &str, marker: &str, text: &str) {
    let old = fs::read_to_string(readme).unwrap();
    let (start, end) = (format!("<!-- {marker} -->\n"), format!("<!-- /{marker} -->"));
    let (before, rest) = old.split_once(&start).expect("the README has the marker");
    let (_, after) = rest.split_once(&end).expect("the README has the end of the marker");
    let new = format!("{before}{start}{}\n{end}{after}", text.trim_end());
    if old != new {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(readme.replace('/', "-"));
        fs::write(&path, new).unwrap();
        panic!("{readme} is not in step: see and copy {}", path.display());
    }
}
