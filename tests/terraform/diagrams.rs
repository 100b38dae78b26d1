//! The pictures: in step with what they are drawn from, and with what they show.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::{command, run};

const PICTURES: [&str; 4] = ["system", "request", "roll", "pipeline"];

/// More would be slow to open, and no picture needs it.
const PICTURE_BYTES_MAX: usize = 500 * 1024;

/// Where AWS is set up: the stack, its databases, and what comes before it.
const FOLDERS: [&str; 4] = ["", "sqlite", "postgres", "bootstrap"];

/// What joins and guards that which is drawn, and would be lost in a picture.
const NOT_DRAWN: [&str; 8] = [
    "aws_db",
    "aws_eip",
    "aws_flow",
    "aws_iam",
    "aws_internet",
    "aws_nat",
    "aws_route",
    "aws_security",
];

#[test]
fn pictures_are_what_would_be_drawn_now() {
    let folder = TempDir::new().unwrap();
    run(command("diagrams/draw").arg(folder.path()));
    for name in PICTURES {
        let drawn = fs::read_to_string(folder.path().join(name).with_extension("svg")).unwrap();
        assert_eq!(parts(&picture(name)), parts(&drawn), "run diagrams/draw: {name} is outdated");
    }
}

#[test]
fn what_the_pictures_show_is_there() {
    for name in PICTURES {
        for address in shown(name) {
            let (folder, resource) = address.rsplit_once("aws_").unwrap();
            let made = resources(folder.trim_end_matches('.'));
            assert!(made.contains(&format!("aws_{resource}")), "{name} shows {address}");
        }
    }
}

#[test]
fn what_is_there_is_in_the_picture_of_the_system() {
    let shown: BTreeSet<_> = shown("system")
        .iter()
        .map(|address| family(&address[address.find("aws_").unwrap()..]))
        .collect();
    for folder in FOLDERS {
        for resource in resources(folder) {
            let family = family(&resource);
            assert!(
                shown.contains(&family) || NOT_DRAWN.contains(&family.as_str()),
                "{resource} is in no picture: draw it, or say that it is a detail"
            );
        }
    }
}

#[test]
fn pictures_need_nothing_beside_them() {
    for name in PICTURES {
        let picture = picture(name);
        assert!(picture.len() < PICTURE_BYTES_MAX, "{name}: {} bytes", picture.len());
        for reference in picture.split("href=\"").skip(1) {
            assert!(reference.starts_with("data:image/png;base64,"), "{name}: {reference:.80}");
        }
    }
}

fn picture(name: &str) -> String {
    fs::read_to_string(Path::new("diagrams").join(name).with_extension("svg")).unwrap()
}

/// What a picture says, in order: its sources' digest, words, icons and arrows, and what
/// they are of. The exact places of letters differ between versions of Graphviz.
fn parts(svg: &str) -> Vec<String> {
    let tags = svg.split('<').filter_map(|tag| tag.split_once('>'));
    tags.filter_map(|(tag, text)| match tag.split_whitespace().next()? {
        "metadata" | "text" => Some(plain(text)),
        "g" if tag.contains(" id=") || tag.contains("class=\"edge\"") => Some(plain(tag)),
        "image" => Some("icon".to_owned()),
        // Of these, the place is what they say.
        "line" | "rect" => Some(tag.to_owned()),
        _ => None,
    })
    .collect()
}

/// Text as it is read; versions of Graphviz differ in what they escape.
fn plain(text: &str) -> String {
    text.replace("&#45;", "-").replace("&#39;", "'").replace("&#160;", " ").replace("&amp;", "&")
}

/// The addresses of what a picture's parts depict.
fn shown(name: &str) -> Vec<String> {
    let picture = picture(name);
    let ids = picture.split(" id=\"").skip(1).filter_map(|rest| rest.split_once('"'));
    let addresses: Vec<_> =
        ids.map(|(id, _)| id.to_owned()).filter(|id| id.contains("aws_")).collect();
    assert!(!addresses.is_empty() || name == "roll", "{name} depicts nothing");
    addresses
}

/// What the folder of Terraform makes, as in `aws_lb.this`.
pub fn resources(folder: &str) -> BTreeSet<String> {
    let mut made = BTreeSet::new();
    for text in texts(folder) {
        for line in text.lines() {
            let words: Vec<_> = line.split('"').collect();
            if let ["resource ", kind, " ", name, ..] = words[..] {
                made.insert(format!("{kind}.{name}"));
            }
        }
    }
    made.retain(|resource| resource.starts_with("aws_"));
    made
}

/// The files of the folder of Terraform.
pub fn texts(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new("terraform").join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "tf"));
    files.map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// The service that a resource belongs to, as in `aws_lb`.
fn family(resource: &str) -> String {
    let words: Vec<_> = resource.split(['_', '.']).take(2).collect();
    words.join("_")
}
