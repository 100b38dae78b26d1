//! SQLite's online backup (<https://www.sqlite.org/backup.html>).

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::SqliteError;
use super::bulk::journal_in_use;
use super::file::{DatabaseFile, set};
use crate::store::database_url::SqliteUrl;

/// How long to wait for writers. Each of them holds the lock for milliseconds.
const WRITER_WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Copies the database to `new`, which must not exist, and checks the copy. Saves go on meanwhile
/// with a write-ahead log; with a rollback journal they wait until the file is read.
pub fn backup(url: &SqliteUrl, new: &Path) -> anyhow::Result<()> {
    let url = SqliteUrl { may_create: false, ..url.clone() };
    let file = DatabaseFile::locate(&url, journal_in_use(&url.path))?;
    let source = file.reader()?;
    let cannot = || format!("cannot write {}", new.display());
    // It holds personal data.
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new);
    drop(created.with_context(cannot)?);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(new, flags).with_context(cannot)?;
    // Nobody else uses it, so that it needs no shared memory, which NFS does not have.
    set(&copy, "locking_mode", "exclusive")?;
    let explain = |error: rusqlite::Error| match error.sqlite_error_code() {
        // Only the copy is written.
        Some(ErrorCode::DiskFull) => SqliteError::DiskFull(new.to_owned()),
        _ => file.explain(error),
    };
    let began = Instant::now();
    let backup = Backup::new(&source, &mut copy)?;
    // All pages at once: a backup in steps starts again whenever another process writes.
    while backup.step(-1).map_err(explain)? != StepResult::Done {
        ensure!(began.elapsed() < WRITER_WAIT_TIMEOUT, "the database stayed locked: try again");
        sleep(Duration::from_millis(10));
    }
    drop(backup);
    // One file, whatever the journal of the source is.
    let mode: String = copy
        .pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0))
        .with_context(cannot)?;
    ensure!(mode == "delete", "the copy has the journal {mode}");
    let check: String = copy.query_row("pragma integrity_check(1)", [], |row| row.get(0))?;
    if check != "ok" {
        bail!("the copy is damaged, as the database most likely is: restore an earlier backup");
    }
    copy.close().map_err(|(_, error)| error).with_context(cannot)
}
