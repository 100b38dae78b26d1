//! Two releases: the binary under test, and the one that comes after it.
//!
//! The next release is built from the same source with the edits below: one more migration,
//! as its authors would have added it, and faults that `FAULT` turns on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::cargo;
use crate::group::Release;
use crate::harness::BINARY;

pub fn previous() -> Release<'static> {
    Release { binary: Path::new(BINARY), flags: &[], fault: "" }
}

pub fn next() -> Release<'static> {
    static NEXT: LazyLock<PathBuf> = LazyLock::new(build);
    Release { binary: &NEXT, flags: &[], fault: "" }
}

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// A file of the source, a text in it, and what the next release has in its place.
const EDITS: &[(&str, &str, &str)] = &[
    ("Cargo.toml", "version = \"0.1.0\"\n", "version = \"0.2.0\"\n"),
    (
        "Cargo.toml",
        "[profile.release]\n",
        "[[bin]]\nname = \"next-release\"\npath = \"src/main.rs\"\n\n[profile.release]\n",
    ),
    // As tests are built, so that the packages that are built for them are built for it too.
    ("Cargo.toml", "[dev-dependencies]\n", "[target.'cfg(all())'.dependencies]\n"),
    ("src/store/sqlite/migrate.rs", LAST_MIGRATION, ONE_MORE_MIGRATION),
    ("src/store/postgres/migrate.rs", LAST_MIGRATION, ONE_MORE_MIGRATION),
    ("src/lib.rs", "mod clock;\n", "mod clock;\nmod fault;\n"),
    ("src/commands/serve.rs", "    systemd::ready(&status);\n", READY),
];

const LAST_MIGRATION: &str = ", works_with: 1 },\n];\n";
const ONE_MORE_MIGRATION: &str = ", works_with: 1 },
    Migration { sql: include_str!(\"migrations/9999_language.sql\"), works_with: 1 },\n];\n";
const READY: &str = "    crate::fault::begin();
    if crate::fault::is_unready() {
        lifecycle.stop();
    }
    systemd::ready(&status);\n";

/// Files that are new in the next release.
const ADDITIONS: &[(&str, &str)] = &[
    ("src/fault.rs", include_str!("next_release/fault.rs")),
    ("src/store/sqlite/migrations/9999_language.sql", include_str!("next_release/sqlite.sql")),
    ("src/store/postgres/migrations/9999_language.sql", include_str!("next_release/postgres.sql")),
];

/// Builds the next release with the packages of the previous one.
fn build() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join("next-release");
    write_source(&source);
    let manifest = source.join("Cargo.toml");
    let mut arguments = vec!["build", "--offline", "--bin=next-release"];
    arguments.extend(["--manifest-path", manifest.to_str().unwrap()]);
    arguments.extend(["--target-dir", target.to_str().unwrap()]);
    if !cfg!(debug_assertions) {
        arguments.push("--release");
    }
    cargo::build(&arguments)
}

/// Writes what changed since the last time, so that no more than that is built.
fn write_source(folder: &Path) {
    let mut files = BTreeMap::new();
    for path in ["Cargo.toml", "Cargo.lock", "src"] {
        read(Path::new(HERE), Path::new(path), &mut files);
    }
    for (path, old, new) in EDITS {
        let text = files.get_mut(Path::new(path)).unwrap();
        assert_eq!(text.matches(old).count(), 1, "{path} has not once {old:?}");
        *text = text.replace(old, new);
    }
    for (path, text) in ADDITIONS {
        files.insert(path.into(), (*text).to_owned());
    }
    // Cargo checks that every target's file is there, built or not.
    let tests = folder.join("tests");
    let _ = fs::remove_file(&tests);
    fs::create_dir_all(folder).unwrap();
    symlink(Path::new(HERE).join("tests"), tests).unwrap();
    // A file that was renamed since the last time would stand beside its new name.
    let mut last_time = BTreeMap::new();
    read(folder, Path::new("src"), &mut last_time);
    for path in last_time.keys().filter(|path| !files.contains_key(*path)) {
        fs::remove_file(folder.join(path)).unwrap();
    }
    for (path, text) in files {
        let path = folder.join(path);
        if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
}

/// Reads a file or a folder below `root`.
fn read(root: &Path, path: &Path, files: &mut BTreeMap<PathBuf, String>) {
    let there = root.join(path);
    if there.is_dir() {
        for entry in fs::read_dir(&there).unwrap() {
            read(root, &path.join(entry.unwrap().file_name()), files);
        }
    } else if there.exists() {
        files.insert(path.to_owned(), fs::read_to_string(there).unwrap());
    }
}
