//! The runbook, held against what it is about.

use std::fs;
use std::path::Path;

const RUNBOOK: &str = ".github/RUNBOOK.md";

#[test]
fn each_alarm_has_its_line_and_none_is_of_an_alarm_that_is_gone() {
    let mut alarms = Vec::new();
    for file in ["terraform/alarms.tf", "terraform/alarms_database.tf"] {
        let text = fs::read_to_string(file).unwrap();
        let names = text.lines().filter_map(|line| line.split_once("alarm_name "));
        let names = names.map(|(_, name)| name.split_once("${local.name}-").unwrap().1);
        alarms.extend(names.map(|name| name.trim_end_matches('"').to_owned()));
    }
    let runbook = fs::read_to_string(RUNBOOK).unwrap();
    let table = runbook.split("## Alarms").nth(1).unwrap().split("\n## ").next().unwrap();
    let lines = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let mut told: Vec<_> = lines.map(|(name, _)| name.to_owned()).collect();
    told.retain(|name| !name.starts_with("hello-birthday-"));
    alarms.sort();
    told.sort();
    assert_eq!(told, alarms);
}

#[test]
fn what_it_links_to_is_there() {
    let runbook = fs::read_to_string(RUNBOOK).unwrap();
    let links = runbook.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    for link in links.filter(|link| !link.starts_with("http")) {
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let path = if file.is_empty() { RUNBOOK.into() } else { Path::new(".github").join(file) };
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{link}: {error}"));
        let headings = text.lines().filter_map(|line| line.strip_prefix("## ")).map(anchor);
        assert!(heading.is_empty() || headings.into_iter().any(|known| known == heading), "{link}");
    }
}

#[test]
fn it_tells_of_every_variable_and_secret_that_the_workflows_use() {
    let runbook = fs::read_to_string(RUNBOOK).unwrap();
    for entry in fs::read_dir(".github/workflows").unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for kind in ["vars.", "secrets."] {
            for rest in text.split(kind).skip(1) {
                let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap();
                let name = &rest[..end];
                // The owners' is named by their file.
                let told = name == "OWNERS_WEBHOOK" || runbook.contains(&format!("`{name}`"));
                assert!(told, "{kind}{name}");
            }
        }
    }
}

/// A heading as GitHub links to it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect()
}
