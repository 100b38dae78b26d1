//! A control group for each container.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command;

/// The hierarchies that systemd uses, with the controllers that /proc/self/cgroup names for them:
/// version 2 alone, or beside version 1. See cgroups(7).
const HIERARCHIES: [(&str, &str); 3] = [
    ("/sys/fs/cgroup", ""),
    ("/sys/fs/cgroup/unified", ""),
    ("/sys/fs/cgroup/systemd", "name=systemd"),
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
        let make = |(root, controllers): (&str, &str)| {
            let path = path_in(&own, controllers)?;
            let parent = Path::new(root).join(path.trim_start_matches('/'));
            let folder = parent.join(name);
            parent.join("cgroup.procs").exists().then(|| {
                fs::create_dir(&folder).unwrap();
                folder
            })
        };
        let folders: Vec<_> = HIERARCHIES.into_iter().filter_map(make).collect();
        assert!(!folders.is_empty(), "no hierarchy of control groups is mounted: {own}");
        ControlGroup { folders }
    }

    /// The files that a process writes its id to, to be in the group.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs"))
    }
}

/// The path of the group in the hierarchy with these controllers, of lines such as `0::/path`.
fn path_in<'a>(groups: &'a str, controllers: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| match *line.splitn(3, ':').collect::<Vec<_>>() {
        [_, named, path] if named == controllers => Some(path),
        _ => None,
    })
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        for folder in &self.folders {
            // With the groups in it. One that is left behind is empty and holds up nothing.
            let _ = command("find").arg(folder).args(["-depth", "-type", "d", "-delete"]).output();
        }
    }
}
