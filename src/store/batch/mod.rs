//! Group commit: many requests share one batch.
//!
//! Batches form by themselves: whatever queues while one batch runs becomes the next. There is no
//! timer, so a lone request is not delayed. A batch that must wait before it can run, for example
//! for a file lock, accepts requests until it has what it waits for; otherwise the clients that one
//! batch answered would split into halves that take turns. Requests are handed to a worker, and
//! answers handed back, once per batch, because waking a thread costs more than answering a
//! request.

mod queue;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use self::queue::{Batch, Queue};
use super::StoreError;
use super::outage::Outage;
use crate::metrics::BatchMetrics;
use crate::reporting::report_store_failure;

/// Executes batches, one at a time. An empty batch changes nothing, and succeeds where one with
/// requests would.
pub(super) trait Backend<Q, A>: Send + 'static {
    /// Waits for what a batch may have to wait for, such as a file lock. Requests that arrive until
    /// this returns join the batch, so an answer to a read must be as new as the moment after.
    /// Once it has succeeded, `run` follows, even if every request has expired.
    fn begin(&mut self) -> impl Future<Output = Result<(), BatchError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Answers all `requests`, in their order, or none. The first of them expires at `deadline`:
    /// what fails is not retried after that.
    fn run(
        &mut self,
        requests: Vec<Q>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Vec<A>, BatchError>> + Send;

    /// Releases the connection; what was answered is durable by then.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Why a batch failed, for the operator. It names no user.
pub(super) type BatchError = anyhow::Error;

/// What bounds a batcher.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    /// Requests that may wait for a batch; one more is rejected at once.
    pub queue_max: usize,
    /// Requests in one batch.
    pub batch_max: NonZeroUsize,
    /// Longest predicted queueing delay once a full batch waits; beyond it a request is rejected.
    pub queue_delay_max: Duration,
    /// Time from a request's arrival to its answer, whatever the backend waits for.
    pub timeout: Duration,
    /// How often a worker whose last batch failed runs an empty one, if no requests come, to find
    /// out whether batches succeed again. `None` if nobody asks for that.
    pub recovery_probe: Option<Duration>,
}

/// Gathers requests into batches, and has workers execute these.
pub(super) struct Batcher<Q, A> {
    queue: Arc<Queue<Q, A>>,
    workers: Mutex<JoinSet<()>>,
}

struct Worker<Q, A, B> {
    queue: Arc<Queue<Q, A>>,
    outage: Arc<Outage>,
    backend: B,
    /// Whether its last batch failed, or has not been answered in time.
    failing: bool,
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Starts one worker for each of `backends`; all of them serve one queue.
    pub fn start<B: Backend<Q, A>>(
        limits: BatchLimits,
        metrics: BatchMetrics,
        outage: &Arc<Outage>,
        backends: Vec<B>,
    ) -> Self {
        let queue = Arc::new(Queue::new(limits, metrics, backends.len()));
        let mut workers = JoinSet::new();
        for backend in backends {
            let (queue, outage) = (queue.clone(), outage.clone());
            workers.spawn(Worker { queue, outage, backend, failing: false }.run());
        }
        Batcher { queue, workers: Mutex::new(workers) }
    }

    /// Answers `request` with the next batch.
    pub async fn submit(&self, request: Q) -> Result<A, StoreError> {
        let answer = self.queue.enqueue(request)?;
        // The sender is dropped if the batch returned too few answers or the runtime ended.
        answer.await.unwrap_or(Err(StoreError::Unavailable))
    }

    /// Whether the last batch of a worker failed, or has not been answered in time.
    pub fn is_failing(&self) -> bool {
        self.queue.is_failing()
    }

    /// Rejects new requests, answers those that wait, and closes the backends.
    pub async fn close(&self) {
        self.queue.close();
        // Nothing panics while it holds the lock.
        let mut workers =
            std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(store.kind = self.queue.kind(), %error, "store worker panicked");
                report_store_failure("store worker panicked", Some(self.queue.kind()), None);
            }
        }
    }
}

impl<Q: Send, A: Send, B: Backend<Q, A>> Worker<Q, A, B> {
    /// Executes batches until the queue is closed and empty.
    async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            self.execute(batch).await;
        }
        self.backend.close().await;
    }

    /// Waits for requests, or until it is time for an empty batch.
    async fn next_batch(&mut self) -> Option<Batch<Q, A>> {
        match self.queue.recovery_probe() {
            Some(pause) if self.failing => {
                let batch = timeout(pause, self.queue.next_batch()).await;
                batch.unwrap_or_else(|_| Some(Batch::empty()))
            }
            _ => self.queue.next_batch().await,
        }
    }

    async fn execute(&mut self, mut batch: Batch<Q, A>) {
        let started = Instant::now();
        let is_probe = batch.waiters.is_empty();
        self.outage.record_start(started);
        let Batch { requests, waiters } = &mut batch;
        let begin = self.backend.begin();
        let (begun, expired_waiting) =
            self.queue.expire_during(begin, waiters, &mut self.failing).await;
        // An expired request is not carried out.
        requests.drain(..expired_waiting);
        let (outcome, expired_running) = match begun {
            Ok(()) => {
                self.queue.join(&mut batch);
                let Batch { requests, waiters } = &mut batch;
                let deadline = self.queue.next_deadline(waiters);
                let run = self.backend.run(std::mem::take(requests), deadline);
                self.queue.expire_during(run, waiters, &mut self.failing).await
            }
            Err(error) => (Err(error), 0),
        };
        let size = expired_waiting + expired_running + batch.waiters.len();
        let elapsed = started.elapsed();
        self.queue.record(&outcome, elapsed, size, &mut self.failing);
        let is_answer = is_probe || !batch.waiters.is_empty();
        self.outage.record_end(started + elapsed, outcome.is_ok() && is_answer);
        match outcome {
            Ok(answers) => {
                for (answer, waiter) in answers.into_iter().skip(expired_running).zip(batch.waiters)
                {
                    waiter.answer(Ok(answer));
                }
            }
            Err(_) => batch
                .waiters
                .into_iter()
                .for_each(|waiter| waiter.answer(Err(StoreError::Unavailable))),
        }
    }
}
