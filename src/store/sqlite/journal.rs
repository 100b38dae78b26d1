//! Which journal a file system allows.
//!
//! WAL keeps its index in shared memory, which two hosts that mount a network
//! file system do not share (<https://www.sqlite.org/wal.html>, "Overview").
//! There SQLite's rollback journal is right, and truncating it is the cheapest
//! way to commit.

use std::path::Path;

use super::OpenError;

/// How SQLite makes a transaction durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// A write-ahead log.
    Wal,
    /// A rollback journal, truncated at commit.
    Truncate,
}

/// The journal that a user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum JournalChoice {
    /// The one that suits the file system.
    #[default]
    Auto,
    /// A write-ahead log; refused on a network file system.
    Wal,
    /// A rollback journal, truncated at commit.
    Truncate,
}

impl Journal {
    /// Chooses a journal for `file`.
    pub(super) fn choose(choice: JournalChoice, file: &Path) -> Result<Journal, OpenError> {
        let shared_memory = match rustix::fs::statfs(file) {
            Ok(file_system) => keeps_shared_memory(file_system.f_type),
            Err(error) => return Err(OpenError::Folder(file.into(), error.into())),
        };
        match (choice, shared_memory) {
            (JournalChoice::Truncate, _) | (JournalChoice::Auto, false) => Ok(Journal::Truncate),
            (JournalChoice::Wal | JournalChoice::Auto, true) => Ok(Journal::Wal),
            (JournalChoice::Wal, false) => Err(OpenError::WalOnNetwork(file.into())),
        }
    }

    /// The name SQLite knows it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Journal::Wal => "wal",
            Journal::Truncate => "truncate",
        }
    }
}

/// Whether all who open a file on a file system of this type share one memory.
/// The numbers are those of statfs(2). FUSE counts as remote: it says nothing
/// of what is behind it.
fn keeps_shared_memory(file_system_type: rustix::fs::FsWord) -> bool {
    const REMOTE: &[i64] = &[
        0x6969,      // NFS, so EFS too
        0xFF53_4D42, // CIFS
        0xFE53_4D42, // SMB 2 and 3
        0x517B,      // SMB 1
        0x6573_5546, // FUSE
        0x0102_1997, // 9P
        0x00C3_6400, // Ceph
        0x5346_414F, // AFS
        0x6B41_4653, // kAFS
        0x0BD0_0BD0, // Lustre
        0x0116_1970, // GFS2
        0x7461_636F, // OCFS2
        0x4750_4653, // GPFS
        0x1983_0326, // BeeGFS
        0x564C,      // NCP
        0x7375_7245, // Coda
        0x786F_4256, // VirtualBox shared folder
        0xBACB_ACBC, // VMware shared folder
    ];
    #[allow(clippy::useless_conversion, reason = "the word is narrower on some machines")]
    // Some types have their top bit set, which a 32-bit word carries as a sign.
    let file_system_type = i64::from(file_system_type) & 0xFFFF_FFFF;
    !REMOTE.contains(&file_system_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_share_no_memory() {
        for (name, file_system_type, shared) in [
            ("ext4", 0xEF53, true),
            ("xfs", 0x5846_5342, true),
            ("btrfs", 0x9123_683E, true),
            ("tmpfs", 0x0102_1994, true),
            ("overlayfs", 0x794C_7630, true),
            ("nfs", 0x6969, false),
            ("cifs", 0xFF53_4D42, false),
            ("fuse", 0x6573_5546, false),
            ("9p", 0x0102_1997, false),
        ] {
            assert_eq!(keeps_shared_memory(file_system_type), shared, "{name}");
        }
    }
}
