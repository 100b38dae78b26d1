//! A thread that runs only while all others leave a processor idle.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
};
use thread_priority::{ThreadPriority, thread_native_id};

/// Works on one job at a time, and gives it back.
///
/// Where other threads keep the processors busy, such a thread may not run for seconds, whatever it
/// was doing. If it held a lock, whoever needs the lock would wait for as long (priority
/// inversion). So its work takes none that other threads take: it begins and ends no transaction,
/// for which SQLite locks what all connections to a file share, and frees no memory that others
/// allocated, for which the allocator may lock their arena.
pub(super) struct IdleThread<J> {
    jobs: SyncSender<J>,
    finished: Receiver<J>,
    is_busy: bool,
}

impl<J: Send + 'static> IdleThread<J> {
    /// Starts a thread that calls `work` with each job.
    pub fn start(name: &str, work: impl Fn(&mut J) + Send + 'static) -> io::Result<IdleThread<J>> {
        let (jobs, received) = sync_channel(1);
        let (done, finished) = sync_channel(1);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            lower_priority();
            // Ends when the sender is dropped.
            for mut job in received {
                // The job shows that it was not finished.
                let _ = catch_unwind(AssertUnwindSafe(|| work(&mut job)));
                if done.send(job).is_err() {
                    break;
                }
            }
        })?;
        Ok(IdleThread { jobs, finished, is_busy: false })
    }

    /// Whether it has a job that it has not given back.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Has it work on `job`. Call it only if the thread is not busy.
    pub fn begin(&mut self, job: J) {
        assert!(!self.is_busy, "the last job was not given back");
        // The thread ends only when `self` is dropped.
        let _ = self.jobs.send(job);
        self.is_busy = true;
    }

    /// Waits for the job, but no longer than `timeout`.
    pub fn finish(&mut self, timeout: Duration) -> Option<J> {
        let job = self.finished.recv_timeout(timeout).ok();
        self.is_busy &= job.is_none();
        job
    }

    /// Waits for the job, if there is one, and ends the thread.
    pub fn close(self) {
        drop(self.jobs);
        // What is not asked for any more is dropped here rather than there.
        self.finished.into_iter().for_each(drop);
    }
}

/// Makes this a thread of SCHED_IDLE (sched(7)). The lowest nice value is not enough: Linux lets a
/// thread that runs finish its slice of some milliseconds before one that wakes up, unless it is of
/// this policy. Where that is not allowed, it competes with the rest.
fn lower_priority() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_comes_back_even_if_its_work_panics() {
        /// Longer than anything takes on the slowest machine.
        const PATIENCE: Duration = Duration::from_secs(120);
        let mut thread = IdleThread::start("idle", |job: &mut i32| {
            *job += 1;
            assert!(*job != 3, "as a bug would");
        })
        .unwrap();
        for job in [1, 2, 3] {
            assert!(!thread.is_busy());
            thread.begin(job);
            assert!(thread.is_busy());
            assert_eq!(thread.finish(PATIENCE), Some(job + 1));
        }
        thread.close();
    }
}
