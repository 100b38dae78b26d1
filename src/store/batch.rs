//! Many requests, one trip: whatever has queued while the last trip to the
//! database was under way makes the next one together.
//!
//! There is no timer and no batch window. A lone request sets out at once, a
//! burst shares a trip, and a read that starts after a write was acknowledged
//! sees it. A trip is handed over, and its answers handed out, once for all the
//! requests in it, because waking a thread costs more than answering a request.

use std::collections::VecDeque;
use std::error::Error;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::StoreError;
use crate::metrics::TripMetrics;

/// One way to the database, which carries one batch at a time.
pub(super) trait Trip<Q, A>: Send + 'static {
    /// Answers every request, in their order, or none of them.
    fn make(&mut self, requests: Vec<Q>) -> impl Future<Output = Result<Vec<A>, TripError>> + Send;

    /// Gives the connection back; what was answered is durable by then.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Why a trip failed, for the operator. It names no user.
pub(super) type TripError = Box<dyn Error + Send + Sync>;

/// What bounds a batcher.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Requests that may wait for a trip; one more is refused at once.
    pub queue_max: usize,
    /// Requests in one trip.
    pub trip_max: NonZeroUsize,
    /// Time from a request's arrival to its answer, whatever the database does.
    pub deadline: Duration,
}

/// Gathers requests into trips.
pub(super) struct Batcher<Q, A> {
    queue: Arc<Queue<Q, A>>,
    lanes: Mutex<JoinSet<()>>,
}

/// A request's answer, on its way back.
type Reply<A> = oneshot::Sender<Result<A, StoreError>>;

struct Queue<Q, A> {
    limits: Limits,
    metrics: TripMetrics,
    state: Mutex<State<Q, A>>,
    arrived: Notify,
}

struct State<Q, A> {
    waiting: Batch<Q, A>,
    closed: bool,
    /// Whether the last trip failed: the log tells when that changes.
    failing: bool,
}

/// Requests and, at the same places, who waits for their answers.
struct Batch<Q, A> {
    requests: Vec<Q>,
    /// In order of arrival, so also of their deadlines.
    pending: VecDeque<Pending<A>>,
}

struct Pending<A> {
    deadline: Instant,
    reply: Reply<A>,
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Starts one lane for each of `trips`; all of them serve one queue.
    pub fn start<T: Trip<Q, A>>(limits: Limits, metrics: TripMetrics, trips: Vec<T>) -> Self {
        let queue = Arc::new(Queue {
            limits,
            metrics,
            state: Mutex::new(State {
                waiting: Batch::with_capacity(0),
                closed: false,
                failing: false,
            }),
            arrived: Notify::new(),
        });
        let mut lanes = JoinSet::new();
        for trip in trips {
            lanes.spawn(drive(queue.clone(), trip));
        }
        Batcher { queue, lanes: Mutex::new(lanes) }
    }

    /// Answers `request` with the next trip.
    pub async fn ask(&self, request: Q) -> Result<A, StoreError> {
        let answer = self.queue.push(request)?;
        // A lane that died took the request with it.
        answer.await.unwrap_or(Err(StoreError::Unavailable))
    }

    /// Refuses new requests, answers those that wait and closes the lanes.
    pub async fn close(&self) {
        self.queue.state().closed = true;
        self.queue.arrived.notify_waiters();
        let mut lanes = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *lanes)
        };
        while let Some(ended) = lanes.join_next().await {
            if let Err(error) = ended {
                tracing::error!(store.kind = self.queue.metrics.kind, %error, "store lane died");
            }
        }
    }
}

/// Makes trips until the queue is closed and empty.
async fn drive<Q: Send + 'static, A: Send + 'static>(
    queue: Arc<Queue<Q, A>>,
    mut trip: impl Trip<Q, A>,
) {
    while let Some(Batch { requests, mut pending }) = queue.next_batch().await {
        let size = pending.len();
        let started = Instant::now();
        let outcome = {
            let mut answers = pin!(trip.make(requests));
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut answers => break outcome,
                    () = sleep_until(queue.next_deadline(&pending)) => queue.answer_late(&mut pending),
                }
            }
        };
        queue.metrics.observe_trip(started.elapsed(), size);
        queue.log_change(&outcome);
        match outcome {
            Ok(answers) => {
                // Those in front were answered when their deadline passed.
                let late = answers.len().saturating_sub(pending.len());
                for (answer, pending) in answers.into_iter().skip(late).zip(pending) {
                    pending.answer(Ok(answer));
                }
            }
            Err(_) => {
                pending.into_iter().for_each(|pending| pending.answer(Err(StoreError::Unavailable)))
            }
        }
    }
    trip.close().await;
}

impl<A> Pending<A> {
    fn answer(self, answer: Result<A, StoreError>) {
        // A client that went away does not wait for its answer.
        let _ = self.reply.send(answer);
    }
}

impl<Q, A> Queue<Q, A> {
    fn push(&self, request: Q) -> Result<oneshot::Receiver<Result<A, StoreError>>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + self.limits.deadline;
        let mut state = self.state();
        if state.closed {
            return Err(StoreError::Closed);
        }
        if state.waiting.len() >= self.limits.queue_max {
            self.metrics.overloaded.inc();
            return Err(StoreError::Overloaded);
        }
        state.waiting.requests.push(request);
        state.waiting.pending.push_back(Pending { deadline, reply });
        let waiting = state.waiting.len();
        self.metrics.show_queue(waiting);
        drop(state);
        // Those behind the first join its trip.
        if waiting == 1 {
            self.arrived.notify_one();
        }
        Ok(answer)
    }

    /// Waits for requests; `None` once the queue is closed and empty.
    async fn next_batch(&self) -> Option<Batch<Q, A>> {
        loop {
            // Made before the queue is looked at, so that no arrival is missed.
            let arrived = self.arrived.notified();
            let (empty, closed) = {
                let state = self.state();
                (state.waiting.len() == 0, state.closed)
            };
            if empty {
                if closed {
                    return None;
                }
                arrived.await;
                continue;
            }
            self.gather().await;
            let batch = self.take();
            if batch.len() > 0 {
                return Some(batch);
            }
        }
    }

    /// Lets the event loop turn for as long as every turn brings more requests:
    /// those being read right now join this trip. For a lone one, that is once.
    async fn gather(&self) {
        let mut gathered = 0;
        loop {
            let waiting = self.state().waiting.len();
            if waiting <= gathered || waiting >= self.limits.trip_max.get() {
                return;
            }
            gathered = waiting;
            tokio::task::yield_now().await;
        }
    }

    fn take(&self) -> Batch<Q, A> {
        let mut state = self.state();
        let batch = state.waiting.take(self.limits.trip_max.get());
        let left = state.waiting.len();
        self.metrics.show_queue(left);
        drop(state);
        if left > 0 {
            self.arrived.notify_one();
        }
        batch
    }

    /// When the next of the requests under way and in the queue runs out of time.
    fn next_deadline(&self, under_way: &VecDeque<Pending<A>>) -> Instant {
        let first = under_way.front().map(|pending| pending.deadline);
        first
            .or_else(|| self.state().waiting.pending.front().map(|pending| pending.deadline))
            .unwrap_or_else(|| Instant::now() + self.limits.deadline)
    }

    /// Answers those whose time has run out, under way or in the queue.
    fn answer_late(&self, under_way: &mut VecDeque<Pending<A>>) {
        let now = Instant::now();
        let mut late = take_late(under_way, now);
        let mut state = self.state();
        let late_in_queue = take_late(&mut state.waiting.pending, now);
        state.waiting.requests.drain(..late_in_queue.len());
        let left = state.waiting.len();
        self.metrics.show_queue(left);
        drop(state);
        late.extend(late_in_queue);
        for pending in late {
            self.metrics.late.inc();
            pending.answer(Err(StoreError::DeadlinePassed));
        }
    }

    /// Logs a failing store once, and once that it answers again.
    fn log_change<T>(&self, outcome: &Result<T, TripError>) {
        let kind = self.metrics.kind;
        let was_failing = std::mem::replace(&mut self.state().failing, outcome.is_err());
        match outcome {
            Ok(_) if was_failing => tracing::info!(store.kind = kind, "the store answers again"),
            Ok(_) => {}
            Err(error) => {
                self.metrics.errors.inc();
                if !was_failing {
                    tracing::error!(store.kind = kind, error = %describe(error.as_ref()), "the store fails");
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<Q, A>> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q, A> Batch<Q, A> {
    fn with_capacity(capacity: usize) -> Batch<Q, A> {
        Batch { requests: Vec::with_capacity(capacity), pending: VecDeque::with_capacity(capacity) }
    }

    fn len(&self) -> usize {
        self.pending.len()
    }

    /// Takes the first `size`, or all if there are fewer.
    fn take(&mut self, size: usize) -> Batch<Q, A> {
        if self.len() <= size {
            // The next batch will most likely be as large.
            let next = Batch::with_capacity(self.len());
            return std::mem::replace(self, next);
        }
        Batch {
            requests: self.requests.drain(..size).collect(),
            pending: self.pending.drain(..size).collect(),
        }
    }
}

/// Takes those in front whose deadline has passed.
fn take_late<A>(pending: &mut VecDeque<Pending<A>>, now: Instant) -> Vec<Pending<A>> {
    let late = pending.iter().take_while(|pending| pending.deadline <= now).count();
    pending.drain(..late).collect()
}

/// The error and its causes on one line.
fn describe(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
