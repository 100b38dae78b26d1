//! A thread of the lowest priority, for work that may wait until a processor is idle.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
};
use thread_priority::{ThreadPriority, thread_native_id};

/// Works on one job at a time, and gives it back. Dropping it ends the thread once that has finished
/// its job, which is leaked then.
///
/// Where other threads keep the processors busy, such a thread may not run for seconds, whatever it
/// was doing. If it holds a lock then, every thread that needs the lock waits for as long (priority
/// inversion). So its work must not begin or end a transaction, for which SQLite locks what all
/// connections to a file share, nor drop what others allocated, and its owner waits for no lock that
/// the two share. A limit remains: a file system may lock a file while it reads from it. XFS does
/// (`xfs_ilock` with `XFS_IOLOCK_SHARED`, around a buffered read), so that a thread that writes to
/// the file may wait for this one.
pub(super) struct IdleThread<J> {
    shared: Arc<Shared<J>>,
    thread: Thread,
    is_busy: bool,
}

struct Shared<J> {
    /// The thread locks it only while it has a job, so that its owner can always give it one.
    state: Mutex<State<J>>,
    is_ready: AtomicBool,
    is_closed: AtomicBool,
}

enum State<J> {
    Empty,
    /// A job, and the thread to wake once it is finished.
    Ready(J, Thread),
    Finished(J),
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
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Empty),
            is_ready: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        });
        let own = shared.clone();
        let handle = thread::Builder::new().name(name.to_owned()).spawn(move || {
            prepare();
            own.work_until_closed(work);
            // To drop a job that nobody has taken would lock what others need.
            std::mem::forget(own);
        })?;
        Ok(IdleThread { shared, thread: handle.thread().clone(), is_busy: false })
    }

    /// Whether it has a job that it has not given back.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Gives it `job`, unless it has one.
    pub fn begin(&mut self, job: J) -> Result<(), J> {
        if self.is_busy {
            return Err(job);
        }
        *self.shared.lock() = State::Ready(job, thread::current());
        self.shared.is_ready.store(true, Ordering::Release);
        self.thread.unpark();
        self.is_busy = true;
        Ok(())
    }

    /// Waits for the job, and after each `timeout` only if it `goes_on`.
    pub fn finish(&mut self, timeout: Duration, mut goes_on: impl FnMut() -> bool) -> Option<J> {
        let mut began = Instant::now();
        loop {
            if let Ok(mut state) = self.shared.state.try_lock()
                && let State::Finished(_) = *state
                && let State::Finished(job) = std::mem::replace(&mut *state, State::Empty)
            {
                self.is_busy = false;
                return Some(job);
            }
            if began.elapsed() >= timeout {
                if !goes_on() {
                    return None;
                }
                began = Instant::now();
            }
            // Returns at once if the thread has finished meanwhile.
            thread::park_timeout(timeout.saturating_sub(began.elapsed()));
        }
    }
}

impl<J> Drop for IdleThread<J> {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl<J> Shared<J> {
    fn work_until_closed(&self, work: impl Fn(&mut J)) {
        while !self.is_closed.load(Ordering::Acquire) {
            if !self.is_ready.swap(false, Ordering::Acquire) {
                thread::park();
            } else if let State::Ready(mut job, owner) = self.replace(State::Empty) {
                // A panic fails the job, not the thread.
                let _ = catch_unwind(AssertUnwindSafe(|| work(&mut job)));
                self.replace(State::Finished(job));
                owner.unpark();
            }
        }
    }

    fn replace(&self, state: State<J>) -> State<J> {
        std::mem::replace(&mut self.lock(), state)
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

    use super::*;

    /// Longer than anything takes on the slowest machine.
    const PATIENCE: Duration = Duration::from_secs(120);

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
        for job in 0..1000 {
            assert!(!thread.is_busy());
            thread.begin(job).unwrap();
            assert!(thread.is_busy());
            assert_eq!(thread.begin(job), Err(job));
            assert_eq!(thread.finish(PATIENCE, || false), Some(job + 1));
        }
    }

    /// A thread whose jobs take until the sender is dropped. The receiver fails once it has ended.
    fn start_held() -> (IdleThread<i32>, Sender<()>, Receiver<()>) {
        let (release, released) = channel::<()>();
        let (alive, ended) = channel::<()>();
        let work = move |_: &mut i32| {
            let _alive = &alive;
            let _ = released.recv();
        };
        (IdleThread::start_with("test", || (), work).unwrap(), release, ended)
    }

    #[test]
    fn a_job_is_waited_for_while_it_goes_on() {
        let (mut thread, release, _ended) = start_held();
        thread.begin(1).unwrap();
        let mut asked = 0;
        let mut goes_on = || {
            asked += 1;
            asked % 3 != 0
        };
        assert_eq!(thread.finish(Duration::ZERO, &mut goes_on), None);
        assert_eq!(asked, 3);
        assert!(thread.is_busy());
        let mut release = Some(release);
        let mut goes_on = || {
            release = None;
            true
        };
        assert_eq!(thread.finish(Duration::ZERO, &mut goes_on), Some(1));
    }

    #[test]
    fn a_thread_that_is_dropped_ends_after_its_job() {
        for is_busy in [false, true].repeat(100) {
            let (mut thread, release, ended) = start_held();
            thread.begin(1).unwrap();
            let release = is_busy.then_some(release);
            if !is_busy {
                thread.finish(PATIENCE, || false).unwrap();
            }
            drop(thread);
            drop(release);
            assert_eq!(ended.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
        }
    }
}
