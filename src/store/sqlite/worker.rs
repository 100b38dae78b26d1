//! A thread that executes batches for the event loop, which must not wait for a disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::store::batch::{Backend, BatchError};

/// Executes batches where it may block. What fails or panics leaves nothing behind that the next
/// batch would meet.
pub(super) trait BlockingBackend<Q, A>: Sized + Send + 'static {
    /// Dropping it rolls it back.
    type Transaction;

    /// Waits for the file's lock, so that requests can join the batch until then.
    fn begin(&mut self) -> Result<Self::Transaction, BatchError>;

    /// Answers all `requests`, in their order, or none. Fails if the lock was granted only after
    /// `deadline`, when the first of them has expired: a save that was given up must not overtake a
    /// later one that another instance has acknowledged.
    fn run(
        &mut self,
        transaction: Self::Transaction,
        requests: Vec<Q>,
        deadline: Instant,
    ) -> Result<Vec<A>, BatchError>;

    /// Does what is left to do after a batch. Called again after the time it returns, unless
    /// another batch comes first.
    fn clean_up(&mut self) -> Option<Duration> {
        None
    }

    /// Closes what it has open, after its last batch.
    fn close(self) {}
}

/// A thread with a backend of its own, which executes one batch at a time.
pub(super) struct WorkerThread<Q, A> {
    jobs: SyncSender<Job<Q, A>>,
    begin: Begin,
    ended: oneshot::Receiver<()>,
}

/// When a batch begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// Before it runs, which takes one more hand-over to the thread. Requests join the batch while
    /// it waits for the lock, and those that expire meanwhile are dropped.
    Apart,
    /// When it runs.
    WithRun,
}

enum Job<Q, A> {
    Begin(oneshot::Sender<Result<(), BatchError>>),
    Run(Vec<Q>, Instant, oneshot::Sender<Result<Vec<A>, BatchError>>),
}

impl<Q: Send + 'static, A: Send + 'static> WorkerThread<Q, A> {
    /// Starts a thread.
    pub fn start(
        name: &str,
        begin: Begin,
        mut backend: impl BlockingBackend<Q, A>,
    ) -> std::io::Result<Self> {
        let (jobs, received) = sync_channel(1);
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut transaction = None;
            let mut clean_up_after = None;
            loop {
                let job = match clean_up_after {
                    Some(pause) => received.recv_timeout(pause),
                    None => received.recv().map_err(RecvTimeoutError::from),
                };
                // A batch whose worker is gone has no receiver.
                clean_up_after = match job {
                    Err(RecvTimeoutError::Timeout) => clean_up(&mut backend),
                    // The sender was dropped.
                    Err(RecvTimeoutError::Disconnected) => break,
                    Ok(Job::Begin(begun)) => {
                        let begin = || {
                            transaction = Some(backend.begin()?);
                            Ok(())
                        };
                        drop(begun.send(unless_panic(begin)));
                        // The batch is not over.
                        None
                    }
                    Ok(Job::Run(requests, deadline, answers)) => {
                        let run = || {
                            let begun = transaction.take().map_or_else(|| backend.begin(), Ok)?;
                            backend.run(begun, requests, deadline)
                        };
                        drop(answers.send(unless_panic(run)));
                        clean_up(&mut backend)
                    }
                }
            }
            drop(transaction);
            backend.close();
            let _ = end.send(());
        })?;
        Ok(WorkerThread { jobs, begin, ended })
    }

    async fn execute<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, BatchError>>) -> Job<Q, A>,
    ) -> Result<T, BatchError> {
        let (sender, outcome) = oneshot::channel();
        // Never blocks: the thread has taken the job before. Where it has ended, `outcome` has too.
        let _ = self.jobs.send(job(sender));
        outcome.await?
    }
}

impl<Q: Send + 'static, A: Send + 'static> Backend<Q, A> for WorkerThread<Q, A> {
    async fn begin(&mut self) -> Result<(), BatchError> {
        match self.begin {
            Begin::Apart => self.execute(Job::Begin).await,
            Begin::WithRun => Ok(()),
        }
    }

    /// Nothing is retried: SQLite itself waits for what is transient.
    async fn run(&mut self, requests: Vec<Q>, deadline: Instant) -> Result<Vec<A>, BatchError> {
        self.execute(|answers| Job::Run(requests, deadline, answers)).await
    }

    async fn close(self) {
        drop(self.jobs);
        // Either way the thread has ended.
        let _ = self.ended.await;
    }
}

fn clean_up<Q, A>(backend: &mut impl BlockingBackend<Q, A>) -> Option<Duration> {
    // One that panics is not called again until the next batch.
    unless_panic(|| Ok(backend.clean_up())).unwrap_or(None)
}

fn unless_panic<T>(work: impl FnOnce() -> Result<T, BatchError>) -> Result<T, BatchError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(anyhow!("the batch panicked")))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Longer than anything takes on the slowest machine.
    const PATIENCE: Duration = Duration::from_secs(120);

    #[derive(Debug, PartialEq, Eq)]
    enum Call {
        Begin,
        Run,
        CleanUp,
        Close,
    }

    /// Tells of its calls. After each batch it cleans up three times, of which the last one panics.
    struct Tells {
        calls: Sender<Call>,
        clean_ups: usize,
    }

    impl BlockingBackend<u32, u32> for Tells {
        type Transaction = ();

        fn begin(&mut self) -> Result<(), BatchError> {
            self.calls.send(Call::Begin)?;
            Ok(())
        }

        fn run(&mut self, (): (), requests: Vec<u32>, _: Instant) -> Result<Vec<u32>, BatchError> {
            self.calls.send(Call::Run)?;
            self.clean_ups = 0;
            Ok(requests)
        }

        fn clean_up(&mut self) -> Option<Duration> {
            self.calls.send(Call::CleanUp).unwrap();
            self.clean_ups += 1;
            assert!(self.clean_ups < 3, "as a bug would");
            Some(Duration::from_millis(1))
        }

        fn close(self) {
            self.calls.send(Call::Close).unwrap();
        }
    }

    #[tokio::test]
    async fn a_backend_cleans_up_after_each_batch_and_is_closed_in_the_end() {
        let (calls, called) = channel();
        let mut worker =
            WorkerThread::start("test", Begin::Apart, Tells { calls, clean_ups: 0 }).unwrap();
        let expect = |expected: &[Call]| {
            for expected in expected {
                assert_eq!(called.recv_timeout(PATIENCE).as_ref(), Ok(expected));
            }
        };
        for request in [1, 2] {
            worker.begin().await.unwrap();
            let answers = worker.run(vec![request], Instant::now() + PATIENCE).await;
            assert_eq!(answers.unwrap(), [request]);
            expect(&[Call::Begin, Call::Run, Call::CleanUp, Call::CleanUp, Call::CleanUp]);
        }
        worker.close().await;
        expect(&[Call::Close]);
    }
}
