//! Checkpoints of the write-ahead log, beside the commits rather than in them.
//!
//! SQLite would copy thousands of pages back into the database within the commit that fills the
//! log, and every save of that batch would wait. Here a thread copies most of them while commits go
//! on (<https://www.sqlite.org/c3ref/wal_checkpoint_v2.html>, "PASSIVE"). A commit then copies the
//! few that were added meanwhile, since only a log that is copied whole starts again from its
//! beginning.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::file::{CHECKPOINT_FRAMES, DatabaseFile};

/// Frames that a commit may copy: about what the commits during a checkpoint add.
const REST_FRAMES_MAX: c_int = 1000;

/// Frames in the log, 64 MiB of pages, after which every commit tries to copy them all: where the
/// thread is too slow or fails, the log must not grow without bound.
const LOG_FRAMES_MAX: c_int = 16_000;

/// A thread that makes checkpoints. Dropping it waits for its end.
pub(super) struct Checkpointer {
    /// Taken when it is dropped, which ends the thread.
    wake: Option<SyncSender<()>>,
    /// Frames of the log that are in the database too.
    copied: Arc<AtomicI32>,
    thread: Option<JoinHandle<()>>,
}

/// What a commit does about a log.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    WakeThread,
    CopyRest,
}

impl Checkpointer {
    pub fn start(file: &DatabaseFile) -> anyhow::Result<Checkpointer> {
        let connection = file.writer()?;
        let (wake, woken) = sync_channel(1);
        let copied = Arc::new(AtomicI32::new(0));
        let result = copied.clone();
        let work = move || {
            for () in woken {
                match checkpoint(&connection) {
                    Ok(frames) => result.store(frames, Ordering::Relaxed),
                    // The next commit wakes it again, or copies the pages itself in the end.
                    Err(error) => tracing::warn!(%error, "a checkpoint failed"),
                }
            }
        };
        let thread = thread::Builder::new().name("checkpointer".into()).spawn(work)?;
        Ok(Checkpointer { wake: Some(wake), copied, thread: Some(thread) })
    }

    /// Looks after the log that `writer` fills, in place of SQLite.
    pub fn attach(&self, writer: &mut Connection) -> rusqlite::Result<()> {
        let (wake, copied) = (self.wake.clone(), self.copied.clone());
        // An error here would be taken for one of the commit, which is done.
        writer.wal_hook(Some(move |log: &mut Wal, frames: c_int| {
            match next_step(frames, copied.load(Ordering::Relaxed)) {
                // The log may have begun again.
                Step::Nothing => copied.store(0, Ordering::Relaxed),
                // If it is awake, it will be woken again.
                Step::WakeThread => drop(wake.as_ref().map(|wake| wake.try_send(()))),
                Step::CopyRest => {
                    if log.checkpoint().is_ok() {
                        copied.store(0, Ordering::Relaxed);
                    }
                }
            }
            Ok(())
        }))
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // A panic of it was logged.
            let _ = thread.join();
        }
    }
}

/// Copies what can be copied without waiting. Returns how many frames are in the database then.
fn checkpoint(connection: &Connection) -> rusqlite::Result<c_int> {
    const COPIED: usize = 2;
    connection.query_row("pragma wal_checkpoint(passive)", [], |row| row.get(COPIED))
}

fn next_step(frames: c_int, copied: c_int) -> Step {
    if frames < CHECKPOINT_FRAMES {
        Step::Nothing
    } else if frames - copied <= REST_FRAMES_MAX || frames >= LOG_FRAMES_MAX {
        Step::CopyRest
    } else {
        Step::WakeThread
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use tempfile::TempDir;

    use super::super::JournalChoice;
    use super::super::queries::Writer;
    use super::super::turns::Turns;
    use super::super::worker::BlockingBackend;
    use super::*;
    use crate::domain::{DateOfBirth, Username};
    use crate::store::{Migrate, User};

    #[test]
    fn a_commit_copies_no_more_than_the_rest_unless_the_log_is_too_long() {
        for (frames, copied, step) in [
            (CHECKPOINT_FRAMES - 1, 0, Step::Nothing),
            (CHECKPOINT_FRAMES, 0, Step::WakeThread),
            (CHECKPOINT_FRAMES + REST_FRAMES_MAX, CHECKPOINT_FRAMES, Step::CopyRest),
            (CHECKPOINT_FRAMES + REST_FRAMES_MAX + 1, CHECKPOINT_FRAMES, Step::WakeThread),
            (LOG_FRAMES_MAX, 0, Step::CopyRest),
        ] {
            assert_eq!(next_step(frames, copied), step, "{frames} frames, {copied} copied");
        }
    }
    #[test]
    fn a_log_stays_within_its_limit_under_steady_writes() {
        const USERS: usize = 1000;
        const FRAME_BYTES: u64 = 4096 + 24;
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("users.db");
        let file = DatabaseFile::prepare(&path, JournalChoice::Wal, Migrate::Auto).unwrap();
        let mut writer = Writer::open(file, Turns::default()).unwrap();
        // Long names, so that a batch changes as many pages as possible.
        let name = |user: usize| {
            let digits = format!("{user:05}");
            let letter = |digit: u8| char::from(b'a' + (digit - b'0'));
            digits
                .bytes()
                .map(letter)
                .chain(std::iter::repeat_n('\u{20000}', 59))
                .collect::<String>()
        };
        for round in 0..40 {
            for part in 0..if round == 0 { 15 } else { 1 } {
                let born = DateOfBirth::from_stored(date(1950 + round, 5, 20));
                let user = |number| Username::parse(&name(number * 15 + part)).unwrap();
                let saves = (0..USERS).map(|number| User { username: user(number), born });
                writer.run(saves.collect()).unwrap();
            }
            let log = std::fs::metadata(folder.path().join("users.db-wal")).unwrap().len();
            let limit = u64::try_from(LOG_FRAMES_MAX).unwrap() + 2 * USERS as u64;
            assert!(log <= limit * FRAME_BYTES, "{log} bytes after {round} rounds");
        }
        let pages = std::fs::metadata(&path).unwrap().len() / 4096;
        assert!(pages > USERS as u64 / 2, "too few pages for this test: {pages}");
    }
}
