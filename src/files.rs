//! Names of files: beside others, through links, and of the same file.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Links that may lead to one another, as on Linux (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// The file system and the number that a file has in it: the same for as long
/// as it is the same file.
pub type FileId = (u64, u64);

pub fn file_id(path: &Path) -> io::Result<FileId> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Whether both paths name one file, or will do once it is created.
pub fn is_same(one: &Path, other: &Path) -> bool {
    let is_same = |one, other| file_id(one).is_ok_and(|id| file_id(other).is_ok_and(|it| it == id));
    let is_same_name = one.file_name() == other.file_name();
    is_same(one, other) || is_same_name && is_same(folder_of(one), folder_of(other))
}

/// Where `path` leads through links, even if no file is there.
pub fn follow(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(target) => path.set_file_name(target),
            Err(_) => break,
        }
    }
    path
}

/// `file` with `ending` after its name.
pub fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut path = OsString::from(file);
    path.push(ending);
    path.into()
}

pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != "" => folder,
        _ => Path::new("."),
    }
}
