//! A thread that makes trips for the event loop, which must not wait for a disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use crate::store::batch::{Trip, TripError};

/// Makes one trip at a time, on a thread of its own.
pub(super) struct TripThread<Q, A> {
    jobs: mpsc::Sender<Job<Q, A>>,
    ended: oneshot::Receiver<()>,
}

struct Job<Q, A> {
    requests: Vec<Q>,
    answers: oneshot::Sender<Result<Vec<A>, TripError>>,
}

impl<Q: Send + 'static, A: Send + 'static> TripThread<Q, A> {
    /// Starts a thread that answers requests with `make`.
    pub fn start(
        name: &str,
        mut make: impl FnMut(Vec<Q>) -> Result<Vec<A>, TripError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel::<Job<Q, A>>();
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            for Job { requests, answers } in waiting {
                let outcome = catch_unwind(AssertUnwindSafe(|| make(requests)))
                    .unwrap_or_else(|_| Err("the trip panicked".into()));
                // After its deadline no one waits for a trip any more.
                let _ = answers.send(outcome);
            }
            drop(make);
            // The lane may have been dropped with the runtime.
            let _ = end.send(());
        })?;
        Ok(TripThread { jobs, ended })
    }
}

impl<Q: Send + 'static, A: Send + 'static> Trip<Q, A> for TripThread<Q, A> {
    async fn make(&mut self, requests: Vec<Q>) -> Result<Vec<A>, TripError> {
        let (answers, outcome) = oneshot::channel();
        self.jobs.send(Job { requests, answers }).map_err(|_| "the trip's thread is gone")?;
        outcome.await?
    }

    async fn close(self) {
        drop(self.jobs);
        // Either way the thread has ended.
        let _ = self.ended.await;
    }
}
