//! A thread that makes trips for the event loop, which must not wait for a disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::store::batch::{Boarding, Trip, TripError};

/// Makes one trip at a time, on a thread of its own.
pub(super) struct TripThread<Q, A> {
    next: Arc<Mutex<Next<Q, A>>>,
    thread: Thread,
    ended: oneshot::Receiver<()>,
}

/// What the thread is to do next. It parks while that is nothing: with one
/// sender and one receiver, that wakes it for less than a channel does.
enum Next<Q, A> {
    Nothing,
    Trip(Job<Q, A>),
    End,
}

struct Job<Q, A> {
    boarding: Boarding<Q, A>,
    answers: oneshot::Sender<Result<Vec<A>, TripError>>,
}

impl<Q: Send + 'static, A: Send + 'static> TripThread<Q, A> {
    /// Starts a thread that makes trips with `make`.
    pub fn start(
        name: &str,
        mut make: impl FnMut(Boarding<Q, A>) -> Result<Vec<A>, TripError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let next = Arc::new(Mutex::new(Next::Nothing));
        let (end, ended) = oneshot::channel();
        let told = next.clone();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            loop {
                match swap(&told, Next::Nothing) {
                    Next::Nothing => thread::park(),
                    Next::Trip(Job { boarding, answers }) => {
                        let outcome = catch_unwind(AssertUnwindSafe(|| make(boarding)))
                            .unwrap_or_else(|_| Err("the trip panicked".into()));
                        // After its deadline no one waits for a trip any more.
                        let _ = answers.send(outcome);
                    }
                    Next::End => break,
                }
            }
            drop(make);
            // The lane may have been dropped with the runtime.
            let _ = end.send(());
        })?;
        Ok(TripThread { next, thread: thread.thread().clone(), ended })
    }
}

impl<Q, A> TripThread<Q, A> {
    fn tell(&self, next: Next<Q, A>) {
        swap(&self.next, next);
        self.thread.unpark();
    }
}

impl<Q, A> Drop for TripThread<Q, A> {
    fn drop(&mut self) {
        self.tell(Next::End);
    }
}

impl<Q: Send + 'static, A: Send + 'static> Trip<Q, A> for TripThread<Q, A> {
    /// Nothing is tried again: SQLite itself waits for what may pass.
    async fn make(&mut self, boarding: Boarding<Q, A>, _: Instant) -> Result<Vec<A>, TripError> {
        let (answers, outcome) = oneshot::channel();
        self.tell(Next::Trip(Job { boarding, answers }));
        outcome.await?
    }

    async fn close(mut self) {
        self.tell(Next::End);
        // Either way the thread has ended.
        let _ = (&mut self.ended).await;
    }
}

/// Puts down what comes next, and takes what was put down before.
fn swap<Q, A>(next: &Mutex<Next<Q, A>>, then: Next<Q, A>) -> Next<Q, A> {
    // Nothing panics while it holds the lock.
    std::mem::replace(&mut *next.lock().unwrap_or_else(PoisonError::into_inner), then)
}
