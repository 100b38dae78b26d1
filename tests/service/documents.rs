//! The READMEs: their links lead somewhere, and their commands do what they show.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::BINARY;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The day on which the greetings in the READMEs are right.
const TODAY: &str = "2026-11-20";

/// The dump that the README loads.
const RATES: &str = "\
COPY regions (slug, name, parent_slug) FROM stdin;
north\tNorth\t\\N
\\.
COPY ports (code, name, parent_slug) FROM stdin;
CNGGZ\tGuangzhou\tnorth
EETLL\tTallinn\tnorth
\\.
COPY prices (orig_code, dest_code, day, price) FROM stdin;
CNGGZ\tEETLL\t2016-01-31\t1154
CNGGZ\tEETLL\t2016-01-31\t1154
CNGGZ\tEETLL\t2016-01-31\t1155
\\.
";

/// Commands that are not run here, by how they begin.
const NOT_RUN: [(&str, &str); 2] = [
    ("HELLO_BIRTHDAY_TO=postgres:", "needs a server; the suite `postgres` copies to one"),
    ("cargo bench", "measures for minutes"),
];

/// Folders whose pages are about commands that other suites run.
const NOT_RUN_IN: [(&str, &str); 5] = [
    (".github", "needs GitHub"),
    ("ansible", "the suite `image` prepares and verifies hosts"),
    ("packer", "needs an AWS account; the suite `image` runs Packer without one"),
    ("terraform", "needs an AWS account; the suite `terraform` emulates one"),
    ("tests", "runs this test"),
];

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut links = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for target in local_links(&text) {
            links += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match path {
                "" => document.clone(),
                path => document.parent().unwrap().join(path),
            };
            let found = match anchor {
                "" => file.exists(),
                anchor => fs::read_to_string(&file)
                    .is_ok_and(|text| anchors(&text).any(|there| there == anchor)),
            };
            if !found {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(links > 10, "only {links} links are seen");
}

#[test]
fn commands_print_what_the_readmes_show() {
    let mut shown = 0;
    let elsewhere = NOT_RUN_IN.map(|(folder, _)| Path::new(ROOT).join(folder));
    for document in documents() {
        if elsewhere.iter().any(|folder| document.starts_with(folder)) {
            continue;
        }
        let text = fs::read_to_string(&document).unwrap();
        let examples: Vec<Example> = console_blocks(&text).flat_map(examples_of).collect();
        shown += expect_shown(&document, &examples);
    }
    assert!(shown >= 4, "only {shown} commands are run");
}

/// A command of a document and the lines that it prints there.
struct Example<'a> {
    command: &'a str,
    output: Vec<&'a str>,
}

/// Runs the examples of a document, in their order, in one shell, and returns how many there are.
fn expect_shown(document: &Path, examples: &[Example]) -> usize {
    let not_run = |example: &&Example| {
        !NOT_RUN.iter().any(|(beginning, _)| example.command.starts_with(beginning))
    };
    let examples: Vec<&Example> = examples.iter().filter(not_run).collect();
    let folder = TempDir::new().unwrap();
    let commands = folder.path().join("commands");
    fs::create_dir(&commands).unwrap();
    symlink(BINARY, commands.join("hello-birthday")).unwrap();
    fs::write(folder.path().join("rates.sql"), RATES).unwrap();
    for (number, example) in examples.iter().enumerate() {
        let file = folder.path().join(format!("{number}.sh"));
        fs::write(file, format!("{}\n", example.command)).unwrap();
    }
    // Ports of a network of its own, so that those of the documents are free.
    let script = format!(
        r#"ip link set lo up
           export PATH=$PWD/commands:$PATH
           cargo() {{
               [ "$*" = "run --release" ] || return 64
               hello-birthday --today {TODAY} >service.log 2>&1 &
               until hello-birthday health >/dev/null 2>&1; do kill -0 $! || return; done
           }}
           for number in $(seq 0 {}); do
               . ./$number.sh >$number.out 2>$number.err || echo failed >>$number.out
           done"#,
        examples.len() as i64 - 1
    );
    let status = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "bash",
            "-c",
        ])
        .arg(script)
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(status.success(), "{}: {status}", document.display());
    for (number, example) in examples.iter().enumerate() {
        let read = |suffix| fs::read_to_string(folder.path().join(format!("{number}.{suffix}")));
        let output = read("out").unwrap();
        let printed: Vec<&str> = output.lines().collect();
        let errors = read("err").unwrap();
        assert_eq!(
            printed,
            example.output,
            "{}: {}: {errors}",
            document.display(),
            example.command
        );
    }
    examples.len()
}

/// Every page of the repository.
fn documents() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"])
        .current_dir(ROOT)
        .output()
        .expect("git lists the files");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let pages = listed.split_terminator('\0').map(|path| Path::new(ROOT).join(path));
    let pages: Vec<PathBuf> = pages.filter(|path| path.exists()).collect();
    assert!(pages.contains(&Path::new(ROOT).join("README.md")), "{pages:?}");
    pages
}

/// The targets of links and pictures that are not on another site.
fn local_links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    targets.filter(|target| !target.contains("://"))
}

/// The anchors of the headings, as GitHub makes them.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    headings.map(|heading| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
    })
}

fn console_blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap())
}

fn examples_of(block: &str) -> Vec<Example<'_>> {
    let mut examples: Vec<Example> = Vec::new();
    for line in block.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match (line.strip_prefix("$ "), examples.last_mut()) {
            (Some(command), _) => examples.push(Example { command, output: Vec::new() }),
            (None, Some(example)) => example.output.push(line),
            (None, None) => panic!("{line}: a console block begins with a command"),
        }
    }
    examples
}
