//! A control group for each container.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command;

/// The hierarchies that systemd uses, and how /proc/self/cgroup begins their lines: that of
/// version 2 alone, or beside one of version 1.
const HIERARCHIES: [(&str, &str); 3] = [
    ("/sys/fs/cgroup", "0::"),
    ("/sys/fs/cgroup/unified", "0::"),
    ("/sys/fs/cgroup/systemd", "name=systemd:"),
];

/// A group below that of this process. Without one, systemd-nspawn would have the systemds of all
/// containers share a group, where they would take each other's units for their own.
pub struct ControlGroup {
    folders: Vec<PathBuf>,
}

impl ControlGroup {
    /// `name` must be one that no other group has.
    pub fn new(name: &str) -> ControlGroup {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let make = |(root, mark): (&str, &str)| {
            let path = own.lines().find_map(|line| line.split_once(mark))?.1;
            let parent = Path::new(root).join(path.trim_start_matches('/'));
            let folder = parent.join(name);
            parent.join("cgroup.procs").exists().then(|| {
                fs::create_dir(&folder).unwrap();
                folder
            })
        };
        ControlGroup { folders: HIERARCHIES.into_iter().filter_map(make).collect() }
    }

    /// The files that a process writes its id to, to be in the group.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs"))
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        for folder in &self.folders {
            // With the groups in it. Its files cannot be deleted, and need not.
            let _ = command("find").arg(folder).args(["-depth", "-type", "d", "-delete"]).output();
        }
    }
}
