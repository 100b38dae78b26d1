//! A thread that runs only while all others leave a processor idle.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
};
use thread_priority::{ThreadPriority, thread_native_id};

/// Works on one job at a time, and gives it back.
///
/// Where other threads keep the processors busy, such a thread may not run for seconds, whatever it
/// was doing. If it holds a lock then, every thread that needs the lock waits for as long (priority
/// inversion). So its work must not begin or end a transaction, for which SQLite locks what all
/// connections to a file share, nor drop what others allocated, and its owner only tries to lock
/// what the two share.
pub(super) struct IdleThread<J> {
    shared: Arc<Mutex<State<J>>>,
    thread: Thread,
    is_busy: bool,
}

enum State<J> {
    Empty,
    /// For the thread, which then wakes the other one.
    Ready(J, Thread),
    Finished(J),
    Closed,
}

impl<J: Send + 'static> IdleThread<J> {
    /// Starts a thread that calls `work` with each job.
    pub fn start(name: &str, work: impl Fn(&mut J) + Send + 'static) -> io::Result<IdleThread<J>> {
        Self::start_with(name, lower_priority, work)
    }

    /// Starts it with a call of `prepare`. A test has a thread that need not wait for an idle
    /// processor.
    pub fn start_with(
        name: &str,
        prepare: fn(),
        work: impl Fn(&mut J) + Send + 'static,
    ) -> io::Result<IdleThread<J>> {
        let shared = Arc::new(Mutex::new(State::Empty));
        let states = shared.clone();
        let handle = thread::Builder::new().name(name.to_owned()).spawn(move || {
            prepare();
            loop {
                let mut state = states.lock().unwrap_or_else(PoisonError::into_inner);
                match std::mem::replace(&mut *state, State::Empty) {
                    State::Ready(mut job, owner) => {
                        drop(state);
                        // A job that is not finished shows that.
                        let _ = catch_unwind(AssertUnwindSafe(|| work(&mut job)));
                        *states.lock().unwrap_or_else(PoisonError::into_inner) =
                            State::Finished(job);
                        owner.unpark();
                    }
                    State::Closed => break,
                    other => {
                        *state = other;
                        drop(state);
                        thread::park();
                    }
                }
            }
        })?;
        Ok(IdleThread { shared, thread: handle.thread().clone(), is_busy: false })
    }

    /// Whether it has a job that it has not given back.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Gives it `job`, unless it has one or cannot take one at once.
    pub fn begin(&mut self, job: J) -> Result<(), J> {
        match self.shared.try_lock() {
            Ok(mut state) if !self.is_busy => {
                *state = State::Ready(job, thread::current());
            }
            _ => return Err(job),
        }
        self.thread.unpark();
        self.is_busy = true;
        Ok(())
    }

    /// Waits for the job, but no longer than `timeout`.
    pub fn finish(&mut self, timeout: Duration) -> Option<J> {
        let began = Instant::now();
        loop {
            if let Ok(mut state) = self.shared.try_lock()
                && let State::Finished(_) = *state
                && let State::Finished(job) = std::mem::replace(&mut *state, State::Empty)
            {
                self.is_busy = false;
                return Some(job);
            }
            let left = timeout.checked_sub(began.elapsed()).filter(|left| !left.is_zero())?;
            // Returns at once if the thread has finished meanwhile.
            thread::park_timeout(left);
        }
    }

    /// Ends the thread, unless it has a job that it does not finish within `timeout`.
    pub fn close(mut self, timeout: Duration) {
        if self.is_busy && self.finish(timeout).is_none() {
            return;
        }
        if let Ok(mut state) = self.shared.try_lock() {
            *state = State::Closed;
        }
        self.thread.unpark();
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

    /// Longer than anything takes on the slowest machine.
    const PATIENCE: Duration = Duration::from_secs(120);

    fn begin(thread: &mut IdleThread<i32>, job: i32) {
        let began = Instant::now();
        // It may still be giving back the last one.
        while thread.begin(job).is_err() {
            assert!(began.elapsed() < PATIENCE, "it takes no job");
            thread::yield_now();
        }
    }

    #[test]
    fn every_job_comes_back_even_if_its_work_panics() {
        let mut thread = IdleThread::start_with(
            "test",
            || (),
            |job: &mut i32| {
                *job += 1;
                assert!(*job != 3, "as a bug would");
            },
        )
        .unwrap();
        for job in [1, 2, 3] {
            assert!(!thread.is_busy());
            begin(&mut thread, job);
            assert!(thread.is_busy());
            assert_eq!(thread.begin(job), Err(job));
            assert_eq!(thread.finish(PATIENCE), Some(job + 1));
        }
        thread.close(PATIENCE);
    }

    #[test]
    fn a_job_that_is_not_finished_is_not_waited_for() {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let mut thread = IdleThread::start_with(
            "test",
            || (),
            move |_| {
                // Until the sender is dropped.
                let _ = released.recv();
            },
        )
        .unwrap();
        begin(&mut thread, 1);
        assert_eq!(thread.finish(Duration::ZERO), None);
        assert!(thread.is_busy());
        thread.close(Duration::ZERO);
        drop(release);
    }
}
