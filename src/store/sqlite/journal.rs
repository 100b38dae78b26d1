//! Which journal a file system allows.
//!
//! WAL keeps its index in shared memory, which two hosts that mount a network
//! file system do not share (<https://www.sqlite.org/wal.html>, "Overview").
//! There SQLite's rollback journal is right, and truncating it is the cheapest
//! way to commit.

use std::path::Path;

use super::SqliteError;

/// How SQLite makes a transaction durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// A write-ahead log.
    Wal,
    /// A rollback journal, truncated at commit.
    Truncate,
}

/// The value of `--sqlite-journal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JournalChoice {
    /// The one that suits the file system.
    #[default]
    Auto,
    /// A write-ahead log; refused where the file system is not known to be local.
    Wal,
    /// A rollback journal, truncated at commit.
    Truncate,
}

impl Journal {
    /// Chooses a journal; `None` if the chosen one would lose data.
    pub(super) fn choose(choice: JournalChoice, is_local: bool) -> Option<Journal> {
        match (choice, is_local) {
            (JournalChoice::Truncate, _) | (JournalChoice::Auto, false) => Some(Journal::Truncate),
            (JournalChoice::Wal | JournalChoice::Auto, true) => Some(Journal::Wal),
            (JournalChoice::Wal, false) => None,
        }
    }

    /// Its name in SQLite.
    pub fn as_str(self) -> &'static str {
        match self {
            Journal::Wal => "wal",
            Journal::Truncate => "truncate",
        }
    }
}

/// Whether `file` is on a file system whose users all share one memory.
pub(super) fn is_local(file: &Path) -> Result<bool, SqliteError> {
    match rustix::fs::statfs(file) {
        Ok(file_system) => Ok(is_local_type(file_system.f_type)),
        Err(error) => Err(SqliteError::Folder(file.into(), error.into())),
    }
}

/// The numbers are those of statfs(2). An unknown one counts as a network file system,
/// where the rollback journal is right and WAL may lose data.
fn is_local_type(file_system_type: rustix::fs::FsWord) -> bool {
    const LOCAL: [i64; 8] = [
        0xEF53,      // ext2, ext3, ext4
        0x5846_5342, // XFS
        0x9123_683E, // Btrfs
        0x2FC1_2FC1, // ZFS
        0xF2F5_2010, // F2FS
        0xCA45_1A4E, // bcachefs
        0x0102_1994, // tmpfs
        0x794C_7630, // overlayfs, as in containers
    ];
    #[allow(clippy::useless_conversion, reason = "the word is narrower on some machines")]
    // Some types have their top bit set, which a 32-bit word carries as a sign.
    let file_system_type = i64::from(file_system_type) & 0xFFFF_FFFF;
    LOCAL.contains(&file_system_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_file_systems_are_local() {
        for (name, file_system_type, local) in [
            ("ext4", 0xEF53, true),
            ("xfs", 0x5846_5342, true),
            ("btrfs", 0x9123_683E, true),
            ("tmpfs", 0x0102_1994, true),
            ("overlayfs", 0x794C_7630, true),
            ("nfs", 0x6969, false),
            ("cifs", 0xFF53_4D42, false),
            ("fuse", 0x6573_5546, false),
            ("9p", 0x0102_1997, false),
            ("OrangeFS", 0x2003_0528, false),
            ("one that is yet to come", 0x1234_5678, false),
        ] {
            assert_eq!(is_local_type(file_system_type), local, "{name}");
        }
    }
}
