//! The requests that wait for a batch.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use futures_util::FutureExt;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::{BatchError, BatchLimits};
use crate::metrics::BatchMetrics;
use crate::reporting::report_store_failure;
use crate::store::{StoreError, cause_of};

/// Where requests wait; all workers take from it.
pub(super) struct Queue<Q, A> {
    limits: BatchLimits,
    metrics: BatchMetrics,
    state: Mutex<QueueState<Q, A>>,
    arrived: Notify,
    /// Batches that may run at once.
    workers: u32,
}

struct QueueState<Q, A> {
    waiting: Batch<Q, A>,
    closed: bool,
    /// Whether requests were rejected since the queue was last empty: only the first is logged.
    rejecting: bool,
    /// Workers whose last batch failed. Logged when the first one fails, and when none does.
    failing_workers: usize,
    /// How long the last two batches took.
    recent_batch_times: [Duration; 2],
}

/// Requests and, at the same places, those that wait for their answers.
pub(super) struct Batch<Q, A> {
    pub requests: Vec<Q>,
    /// In order of arrival, so also of their deadlines.
    pub waiters: VecDeque<Waiter<A>>,
}

/// A request's end of a batch: it receives the answer, or expires.
pub(super) struct Waiter<A> {
    deadline: Instant,
    response: ResponseSender<A>,
}

type ResponseSender<A> = oneshot::Sender<Result<A, StoreError>>;

impl<A> Waiter<A> {
    pub fn answer(self, answer: Result<A, StoreError>) {
        // Whoever asked may have stopped waiting, as `/health` does.
        let _ = self.response.send(answer);
    }
}

impl<Q, A> Queue<Q, A> {
    pub fn new(limits: BatchLimits, metrics: BatchMetrics, workers: usize) -> Queue<Q, A> {
        Queue {
            limits,
            metrics,
            state: Mutex::new(QueueState {
                waiting: Batch::with_capacity(0),
                closed: false,
                rejecting: false,
                failing_workers: 0,
                recent_batch_times: [Duration::ZERO; 2],
            }),
            arrived: Notify::new(),
            workers: u32::try_from(workers).expect("there are a few"),
        }
    }

    /// `read`, `write`, `ping` or `rates`.
    pub fn kind(&self) -> &'static str {
        self.metrics.kind
    }

    pub fn recovery_probe(&self) -> Option<Duration> {
        self.limits.recovery_probe
    }

    /// Whether the last batch of a worker failed, or has not been answered in time.
    pub fn is_failing(&self) -> bool {
        self.state().failing_workers > 0
    }

    /// Rejects requests from now on.
    pub fn close(&self) {
        self.state().closed = true;
        self.arrived.notify_waiters();
    }

    /// Adds `request`, unless it would wait too long.
    pub fn enqueue(
        &self,
        request: Q,
    ) -> Result<oneshot::Receiver<Result<A, StoreError>>, StoreError> {
        let (response, answer) = oneshot::channel();
        let deadline = Instant::now() + self.limits.timeout;
        let mut state = self.state();
        if state.closed {
            return Err(StoreError::Closed);
        }
        let waiting = state.waiting.len();
        if waiting >= self.limits.queue_max || self.would_wait_too_long(&state) {
            self.metrics.overloaded.inc();
            if !std::mem::replace(&mut state.rejecting, true) {
                tracing::warn!(
                    store.kind = self.kind(),
                    waiting,
                    "rejecting requests: the store is overloaded"
                );
            }
            return Err(StoreError::Overloaded);
        }
        state.waiting.requests.push(request);
        state.waiting.waiters.push_back(Waiter { deadline, response });
        self.metrics.set_queue_length(waiting + 1);
        drop(state);
        // Only the first needs to wake a worker.
        if waiting == 0 {
            self.arrived.notify_one();
        }
        Ok(answer)
    }

    /// Whether a full batch already waits and, at the recent pace, one more request would wait
    /// longer than the limit.
    fn would_wait_too_long(&self, state: &QueueState<Q, A>) -> bool {
        let waiting = state.waiting.len() / self.limits.batch_max.get();
        // The shorter time counts, since one batch may be held up once, as by a lock.
        let [one, other] = state.recent_batch_times;
        // With the batch that is running, and its own.
        let batches = u32::try_from(waiting + 2).unwrap_or(u32::MAX);
        let delay = one.min(other).saturating_mul(batches) / self.workers;
        waiting > 0 && delay > self.limits.queue_delay_max
    }

    /// Waits for requests; `None` once the queue is closed and empty.
    pub async fn next_batch(&self) -> Option<Batch<Q, A>> {
        loop {
            // Made before the queue is looked at, so that no arrival is missed.
            let arrived = self.arrived.notified();
            self.coalesce().await;
            // Expired requests would shorten the batch's deadline.
            self.expire(&mut VecDeque::new());
            let (batch, closed) = self
                .dequeue(|state| (state.waiting.take(self.limits.batch_max.get()), state.closed));
            if batch.len() > 0 {
                return Some(batch);
            }
            if closed {
                return None;
            }
            arrived.await;
        }
    }

    /// Yields to the event loop while every turn of it brings more requests: those being read
    /// right now join this batch. For a lone request, that is once.
    async fn coalesce(&self) {
        let mut seen = 0;
        loop {
            let waiting = self.state().waiting.len();
            if waiting <= seen || waiting >= self.limits.batch_max.get() {
                return;
            }
            seen = waiting;
            tokio::task::yield_now().await;
        }
    }

    /// Moves waiting requests into `batch`, as many as there is room for.
    pub fn join(&self, batch: &mut Batch<Q, A>) {
        let room = self.limits.batch_max.get() - batch.len();
        self.dequeue(|QueueState { waiting, .. }| {
            let joining = room.min(waiting.len());
            batch.requests.extend(waiting.requests.drain(..joining));
            batch.waiters.extend(waiting.waiters.drain(..joining));
        });
    }

    fn dequeue<T>(&self, take: impl FnOnce(&mut QueueState<Q, A>) -> T) -> T {
        let mut state = self.state();
        let taken = take(&mut state);
        let left = state.waiting.len();
        state.rejecting &= left > 0;
        self.metrics.set_queue_length(left);
        drop(state);
        if left > 0 {
            self.arrived.notify_one();
        }
        taken
    }

    /// When the first of `waiters` and of the queue expires.
    pub fn next_deadline(&self, waiters: &VecDeque<Waiter<A>>) -> Instant {
        let first = waiters.front().map(|waiter| waiter.deadline);
        first
            .or_else(|| self.state().waiting.waiters.front().map(|waiter| waiter.deadline))
            .unwrap_or_else(|| Instant::now() + self.limits.timeout)
    }

    /// Waits for `work`, and meanwhile answers those that expire, of `waiters` and of the queue.
    /// Returns how many of `waiters`, all of them in front, did.
    pub async fn expire_during<T>(
        &self,
        work: impl Future<Output = Result<T, BatchError>>,
        waiters: &mut VecDeque<Waiter<A>>,
        failing: &mut bool,
    ) -> (Result<T, BatchError>, usize) {
        // A panic fails the batch, not the worker.
        let mut work = pin!(AssertUnwindSafe(work).catch_unwind());
        let before = waiters.len();
        loop {
            tokio::select! {
                biased;
                outcome = &mut work => {
                    let outcome = outcome.unwrap_or_else(|_| Err(anyhow!("the batch panicked")));
                    return (outcome, before - waiters.len());
                }
                () = sleep_until(self.next_deadline(waiters)) => {
                    if self.expire(waiters) && self.mark_failing(failing) {
                        tracing::error!(
                            store.kind = self.kind(),
                            "the store does not answer in time"
                        );
                        let kind = Some(self.kind());
                        report_store_failure("the store does not answer in time", kind, None);
                    }
                }
            }
        }
    }

    /// Answers those that have expired, of `waiters` and of the queue. Returns whether any had.
    fn expire(&self, waiters: &mut VecDeque<Waiter<A>>) -> bool {
        let now = Instant::now();
        let mut expired = drain_expired(waiters, now);
        let mut state = self.state();
        let queued = drain_expired(&mut state.waiting.waiters, now);
        state.waiting.requests.drain(..queued.len());
        self.metrics.set_queue_length(state.waiting.len());
        drop(state);
        expired.extend(queued);
        let any = !expired.is_empty();
        for waiter in expired {
            self.metrics.expired.inc();
            waiter.answer(Err(StoreError::DeadlinePassed));
        }
        any
    }

    /// Records how a batch ended.
    pub fn record<T>(
        &self,
        outcome: &Result<T, BatchError>,
        elapsed: Duration,
        size: usize,
        failing: &mut bool,
    ) {
        // An empty batch is no measure of the others.
        if size > 0 {
            self.metrics.observe_batch(elapsed, size);
            self.state().note_batch_time(elapsed);
        }
        match outcome {
            Ok(_) => {
                if self.mark_working(failing) {
                    tracing::info!(store.kind = self.kind(), "the store answers again");
                }
            }
            Err(error) => {
                if size > 0 {
                    self.metrics.errors.inc();
                }
                if self.mark_failing(failing) {
                    let kind = self.kind();
                    tracing::error!(store.kind = kind, error = %format_args!("{error:#}"), "the store fails");
                    report_store_failure("the store fails", Some(kind), cause_of(error));
                }
            }
        }
    }

    /// Counts a worker as failing; returns whether none was.
    fn mark_failing(&self, failing: &mut bool) -> bool {
        if std::mem::replace(failing, true) {
            return false;
        }
        let mut state = self.state();
        state.failing_workers += 1;
        state.failing_workers == 1
    }

    /// Counts a worker as working; returns whether it was the last that failed.
    fn mark_working(&self, failing: &mut bool) -> bool {
        if !std::mem::replace(failing, false) {
            return false;
        }
        let mut state = self.state();
        state.failing_workers -= 1;
        state.failing_workers == 0
    }

    fn state(&self) -> MutexGuard<'_, QueueState<Q, A>> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q, A> QueueState<Q, A> {
    fn note_batch_time(&mut self, elapsed: Duration) {
        self.recent_batch_times = [self.recent_batch_times[1], elapsed];
    }
}

impl<Q, A> Batch<Q, A> {
    fn with_capacity(capacity: usize) -> Batch<Q, A> {
        Batch { requests: Vec::with_capacity(capacity), waiters: VecDeque::with_capacity(capacity) }
    }

    pub fn empty() -> Batch<Q, A> {
        Batch::with_capacity(0)
    }

    fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Takes the first `size`, or all if there are fewer.
    fn take(&mut self, size: usize) -> Batch<Q, A> {
        if (1..=size).contains(&self.len()) {
            // The next batch will most likely be as large.
            let next = Batch::with_capacity(self.len());
            return std::mem::replace(self, next);
        }
        let size = size.min(self.len());
        Batch {
            requests: self.requests.drain(..size).collect(),
            waiters: self.waiters.drain(..size).collect(),
        }
    }
}

/// Takes those in front whose deadline has passed.
fn drain_expired<A>(waiters: &mut VecDeque<Waiter<A>>, now: Instant) -> Vec<Waiter<A>> {
    let expired = waiters.iter().take_while(|waiter| waiter.deadline <= now).count();
    waiters.drain(..expired).collect()
}
