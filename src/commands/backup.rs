//! Makes a consistent copy of the SQLite file, while it is served.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use indicatif::HumanCount;
use jiff::SignedDuration;

use crate::cli::BackupPlan;
use crate::files::{beside, folder_of, follow, is_same};
use crate::store::{DatabaseUrl, backup_sqlite};

/// How long to wait for another host's backup, which most likely makes this one unnecessary.
const BACKUP_LOCK_TIMEOUT: Duration = Duration::from_mins(15);

/// What SQLite appends to the name of a database: nothing, and the endings of the files beside it.
const DATABASE_ENDINGS: [&str; 4] = ["", "-journal", "-wal", "-shm"];

/// Carries out `plan`. Returns a sentence about the result.
pub fn backup(plan: &BackupPlan) -> anyhow::Result<String> {
    let DatabaseUrl::Sqlite(database) = plan.database.read()? else {
        bail!("backup copies a SQLite file: use pg_dump for a Postgres database");
    };
    // The backup is meant for the disk that a link leads to.
    let file = &follow(&plan.file);
    let new = beside(file, ".new");
    let lock_file = beside(file, ".lock");
    for path in files_of(&new).chain([file.clone(), lock_file.clone()]) {
        ensure_writable(&path, &database.path)?;
    }
    // On NFS it excludes all hosts. A process that dies releases it.
    let _lock = lock(&lock_file)?;
    if let Some(age) = plan.unless_newer
        && is_newer(file, age)
    {
        let age = SignedDuration::try_from(age)?;
        return Ok(format!("{} is newer than {age:#}: nothing to do", file.display()));
    }
    remove_left_over(&new)?;
    let copied = backup_sqlite(&database, &new).and_then(|()| replace(file, &new));
    if copied.is_err() {
        // The incomplete copy is of no use. The first error is the one to report.
        let _ = remove_left_over(&new);
    }
    let bytes = copied?;
    Ok(format!("backed up {} bytes to {}", HumanCount(bytes), file.display()))
}

/// `database` and the files that SQLite keeps beside it.
fn files_of(database: &Path) -> impl Iterator<Item = PathBuf> {
    DATABASE_ENDINGS.iter().map(|ending| beside(database, ending))
}

/// Fails if `path` is a file of the database, or one that a copy must not replace, such as a device.
fn ensure_writable(path: &Path, database: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    if files_of(&follow(database)).any(|file| is_same(path, &file)) {
        bail!("cannot write {shown}, which belongs to the database: name another FILE");
    }
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        bail!("cannot write {shown}, which is not a regular file: name another FILE");
    }
    Ok(())
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    let file = File::options().write(true).create(true).truncate(false).open(path);
    let file = file.with_context(|| {
        format!("cannot write {shown}: create its folder, and allow this user to write in it")
    })?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < BACKUP_LOCK_TIMEOUT => {
                sleep(Duration::from_millis(100));
            }
            Err(TryLockError::WouldBlock) => {
                bail!("another backup has held {shown} for {BACKUP_LOCK_TIMEOUT:?}: stop it")
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {shown}"));
            }
        }
    }
}

/// Whether `file` is a SQLite file that was written less than `age` ago.
fn is_newer(file: &Path, age: Duration) -> bool {
    // <https://www.sqlite.org/fileformat.html>, "Magic Header String".
    const HEADER: &[u8; 16] = b"SQLite format 3\0";
    let mut header = [0; HEADER.len()];
    let modified = File::open(file).and_then(|mut file| {
        file.read_exact(&mut header)?;
        file.metadata()?.modified()
    });
    let is_recent = |modified: SystemTime| modified.elapsed().is_ok_and(|elapsed| elapsed < age);
    modified.is_ok_and(is_recent) && header == *HEADER
}

/// Removes what an interrupted backup left, and what SQLite keeps beside it.
fn remove_left_over(new: &Path) -> anyhow::Result<()> {
    for path in files_of(new) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Puts `new` in place of `file`: readers see the old backup or the new one, never half of it.
fn replace(file: &Path, new: &Path) -> anyhow::Result<u64> {
    let cannot = || format!("cannot write {}", file.display());
    let copy = File::open(new).with_context(cannot)?;
    copy.sync_all().with_context(cannot)?;
    let bytes = copy.metadata().with_context(cannot)?.len();
    fs::rename(new, file).with_context(cannot)?;
    File::open(folder_of(file)).and_then(|folder| folder.sync_all()).with_context(cannot)?;
    Ok(bytes)
}
