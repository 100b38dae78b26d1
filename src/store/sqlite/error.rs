//! What is wrong with a database file, and what to do about it.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use super::file::LOCK_TIMEOUT;
use super::journal::Journal;

/// Why a database file cannot be used, in one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// The path names a folder.
    #[error("{} is a folder: name a file in it, as in sqlite:{}", .0.display(), .0.join("hello-birthday.db").display())]
    IsAFolder(PathBuf),
    /// The folder is missing or inaccessible.
    #[error("cannot reach the folder {}: create it, or mount its file system, and allow this user into it", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// A file cannot be opened, and SQLite does not say why.
    #[error("cannot open {} or a file beside it: allow this user to write the file and its folder, and the process to open more files (ulimit -n)", .0.display())]
    CannotOpen(PathBuf),
    /// This user may not write the file or its folder.
    #[error("cannot write {}: allow this user to write the file and its folder", .0.display())]
    ReadOnly(PathBuf),
    /// Not a SQLite file.
    #[error("{} is not a SQLite database; it was not changed: name another file", .0.display())]
    NotADatabase(PathBuf),
    /// The database is corrupt.
    #[error("{} is damaged: restore it from a backup", .0.display())]
    Damaged(PathBuf),
    /// A database of another program.
    #[error("{} is the database of another program; it was not changed: name another file", .0.display())]
    NotOurs(PathBuf),
    /// The schema is of a newer release with which this one is incompatible.
    #[error("{} was migrated by a newer release that is incompatible with this one; it was not changed: run the newer release", .0.display())]
    MadeByNewerRelease(PathBuf),
    /// There is no file, and it must not be created.
    #[error("there is no file {}: name one that exists, or create it with hello-birthday migrate and without mode=rw", .0.display())]
    Missing(PathBuf),
    /// There is no file, but its log or its rollback journal.
    #[error("there is no file {}, but {} is left of it: put the file back, or delete what is left to start with an empty database", .0.display(), .1.display())]
    Lost(PathBuf, PathBuf),
    /// The schema is missing or outdated, and must not be migrated.
    #[error("{} lacks this release's schema: run hello-birthday migrate", .0.display())]
    NotMigrated(PathBuf),
    /// The journal cannot be opened or locked.
    #[error("cannot lock the journal of {}: allow this user to write it and its folder, on a file system with locks", .0.display())]
    Journal(PathBuf, #[source] io::Error),
    /// No room to write.
    #[error("no space is left on the disk of {}: free some", .0.display())]
    DiskFull(PathBuf),
    /// The lock was not granted in time.
    #[error("{} stayed locked for {} s: let the process that uses it finish, or stop it (fuser shows which)", .0.display(), LOCK_TIMEOUT.as_secs())]
    Locked(PathBuf),
    /// Other processes use another journal.
    #[error("other processes use {} with another journal than {}: stop them, or give every instance the same --sqlite-journal", .0.display(), .1.as_str())]
    JournalInUse(PathBuf, Journal),
    /// WAL was asked for where it loses data.
    #[error("{} is on a network file system, where WAL loses data, or on one not known as local: leave out --sqlite-journal wal", .0.display())]
    WalOnNetwork(PathBuf),
    /// The file was moved, replaced or deleted while in use.
    #[error("{file} was moved, replaced or deleted while in use: put it back; or, if you mean to use the new file, stop the service, delete {file}-wal, {file}-shm and {file}-journal, and start it again", file = .0.display())]
    Moved(PathBuf),
    /// Another load of rates began after this one.
    #[error("another load of rates into {} has begun: this one was stopped and changed nothing; load one dump at a time", .0.display())]
    LoadOvertaken(PathBuf),
    /// Users were erased, but others read an older state of the file.
    #[error("the users are erased, but the write-ahead log of {} still holds them, because somebody reads it: erase them once again", .0.display())]
    LogInUse(PathBuf),
    /// Anything else that SQLite reports.
    #[error("cannot use {}", .0.display())]
    Other(PathBuf, #[source] rusqlite::Error),
}

impl SqliteError {
    /// What an error of SQLite means for the file at `path`.
    pub(super) fn new(path: PathBuf, error: rusqlite::Error) -> SqliteError {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => SqliteError::NotADatabase(path),
            Some(ErrorCode::DatabaseCorrupt) => SqliteError::Damaged(path),
            Some(ErrorCode::CannotOpen) if path.try_exists().is_ok_and(|exists| !exists) => {
                SqliteError::Moved(path)
            }
            Some(ErrorCode::CannotOpen) => SqliteError::CannotOpen(path),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => SqliteError::ReadOnly(path),
            Some(ErrorCode::DiskFull) => SqliteError::DiskFull(path),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SqliteError::Locked(path),
            _ => SqliteError::Other(path, error),
        }
    }

    /// What is wrong, in words that name no file.
    pub fn kind(&self) -> &'static str {
        match self {
            SqliteError::IsAFolder(_) => "the file is a folder",
            SqliteError::Folder(..) => "the folder is inaccessible",
            SqliteError::CannotOpen(_) => "the file cannot be opened",
            SqliteError::ReadOnly(_) => "the file is read-only",
            SqliteError::NotADatabase(_) => "the file is not a database",
            SqliteError::Damaged(_) => "the file is damaged",
            SqliteError::NotOurs(_) => "the database is another program's",
            SqliteError::MadeByNewerRelease(_) => "the database was made by a newer release",
            SqliteError::Missing(_) => "the file is missing",
            SqliteError::Lost(..) => "the file is missing, but not its log",
            SqliteError::NotMigrated(_) => "the schema is missing or outdated",
            SqliteError::Journal(..) => "the journal cannot be locked",
            SqliteError::DiskFull(_) => "no space is left on the disk",
            SqliteError::Locked(_) => "the file stayed locked",
            SqliteError::JournalInUse(..) => "another journal is in use",
            SqliteError::WalOnNetwork(_) => "WAL on a network file system",
            SqliteError::Moved(_) => "the file was moved, replaced or deleted",
            SqliteError::LoadOvertaken(_) => "another load of rates overtook this one",
            SqliteError::LogInUse(_) => "the log still holds who was erased",
            SqliteError::Other(..) => "another error of SQLite",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_from_which_the_service_recovers_ask_for_no_restart() {
        for code in [rusqlite::ffi::SQLITE_FULL, rusqlite::ffi::SQLITE_BUSY] {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            let error = SqliteError::new("users.db".into(), error).to_string();
            assert!(!error.contains("start"), "{error}");
        }
    }
}
