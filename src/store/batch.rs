//! Many requests, one trip: whatever has queued while the last trip to the
//! database was under way makes the next one together.
//!
//! There is no timer and no batch window. A lone request sets out at once, a
//! burst shares a trip, and a read that starts after a write was acknowledged
//! sees it. A trip that must wait before it can begin, as for a file's lock, takes
//! those along who come meanwhile: so clients that a trip has answered are all on
//! the next one, rather than half of them on every other. A trip is handed over,
//! and its answers handed out, once for all the requests in it, because waking a
//! thread costs more than answering a request.

use std::collections::VecDeque;
use std::error::Error;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::StoreError;
use crate::metrics::TripMetrics;

/// One way to the database, which carries one batch at a time.
pub(super) trait Trip<Q, A>: Send + 'static {
    /// Answers every request that boards, in their order, or none of them. The first
    /// of them runs out of time at `deadline`: what fails is not tried again after that.
    fn make(
        &mut self,
        boarding: Boarding<Q, A>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Vec<A>, TripError>> + Send;

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
    /// Time that a request may have to wait for others, once those fill a trip.
    pub wait_max: Duration,
    /// Time from a request's arrival to its answer, whatever the database does.
    pub deadline: Duration,
}

/// The requests of a trip, which others join until it is closed.
pub(super) struct Boarding<Q, A> {
    requests: Vec<Q>,
    riders: Arc<Mutex<Riders<A>>>,
    queue: Arc<Queue<Q, A>>,
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
    /// Trips that may be under way at once.
    lanes: u32,
}

struct State<Q, A> {
    waiting: Batch<Q, A>,
    closed: bool,
    /// Whether requests were refused since the queue was last empty, and whether
    /// the last trip failed: the log tells when that changes.
    full: bool,
    failing: bool,
    /// How long the last two trips took.
    paces: [Duration; 2],
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

/// Who is on a trip. Their lock is taken before that of the queue.
struct Riders<A> {
    pending: VecDeque<Pending<A>>,
    /// How many were in front, and were answered when their deadline passed.
    late: usize,
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
                full: false,
                failing: false,
                paces: [Duration::ZERO; 2],
            }),
            arrived: Notify::new(),
            lanes: u32::try_from(trips.len()).expect("a few"),
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
        // Its reply is dropped where a trip brings too few answers, or with the runtime.
        answer.await.unwrap_or(Err(StoreError::Unavailable))
    }

    /// Refuses new requests, answers those that wait and closes the lanes.
    pub async fn close(&self) {
        self.queue.state().closed = true;
        self.queue.arrived.notify_waiters();
        let mut lanes = std::mem::take(&mut *lock(&self.lanes));
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
    while let Some(Batch { requests, pending }) = queue.next_batch().await {
        let started = Instant::now();
        let riders = Arc::new(Mutex::new(Riders { pending, late: 0 }));
        let boarding = Boarding { requests, riders: riders.clone(), queue: queue.clone() };
        let mut next_deadline = queue.next_deadline(&lock(&riders));
        let outcome = {
            let answers = trip.make(boarding, next_deadline);
            // A panic fails its trip and not the lane, without which no one is answered.
            let mut answers = pin!(AssertUnwindSafe(answers).catch_unwind());
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut answers => {
                        break outcome.unwrap_or_else(|_| Err("the trip panicked".into()));
                    }
                    () = sleep_until(next_deadline) => {
                        let mut riders = lock(&riders);
                        queue.answer_late(&mut riders);
                        next_deadline = queue.next_deadline(&riders);
                    }
                }
            }
        };
        let took = started.elapsed();
        let Riders { pending, late } = std::mem::take(&mut *lock(&riders));
        queue.metrics.observe_trip(took, late + pending.len());
        queue.note_pace(took);
        queue.log_change(&outcome);
        match outcome {
            Ok(answers) => {
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

impl<Q, A> Boarding<Q, A> {
    /// The requests, with those that came until now. What answers a read among them must
    /// be as new as this moment.
    pub fn close(mut self) -> Vec<Q> {
        let mut riders = lock(&self.riders);
        let room = self.queue.limits.trip_max.get() - self.requests.len();
        self.queue.leave(|State { waiting, .. }| {
            let joining = room.min(waiting.len());
            self.requests.extend(waiting.requests.drain(..joining));
            riders.pending.extend(waiting.pending.drain(..joining));
        });
        drop(riders);
        self.requests
    }
}

impl<A> Default for Riders<A> {
    fn default() -> Riders<A> {
        Riders { pending: VecDeque::new(), late: 0 }
    }
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
        if state.waiting.len() >= self.limits.queue_max || self.is_standing(&state) {
            self.metrics.overloaded.inc();
            if !std::mem::replace(&mut state.full, true) {
                tracing::warn!(store.kind = self.metrics.kind, "the store's queue is full");
            }
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

    /// Whether one more request would only make the queue longer: a whole trip waits
    /// already, and by those ahead it would be kept for too long.
    fn is_standing(&self, state: &State<Q, A>) -> bool {
        let waiting = state.waiting.len() / self.limits.trip_max.get();
        // The quicker one counts, since a trip may be held up once, as by a lock.
        let pace = state.paces[0].min(state.paces[1]);
        // With the trip that is under way, and its own.
        let trips = u32::try_from(waiting + 2).unwrap_or(u32::MAX);
        waiting > 0 && pace.saturating_mul(trips) / self.lanes > self.limits.wait_max
    }

    fn note_pace(&self, took: Duration) {
        let paces = &mut self.state().paces;
        *paces = [paces[1], took];
    }

    /// Waits for requests; `None` once the queue is closed and empty.
    async fn next_batch(&self) -> Option<Batch<Q, A>> {
        loop {
            // Made before the queue is looked at, so that no arrival is missed.
            let arrived = self.arrived.notified();
            self.gather().await;
            // Those whom no trip can answer in time do not cut short the others'.
            self.answer_late(&mut Riders::default());
            let (batch, closed) = self.take();
            if batch.len() > 0 {
                return Some(batch);
            }
            if closed {
                return None;
            }
            arrived.await;
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

    /// Takes the next trip's requests, and tells whether the queue is closed.
    fn take(&self) -> (Batch<Q, A>, bool) {
        self.leave(|state| (state.waiting.take(self.limits.trip_max.get()), state.closed))
    }

    /// Lets requests leave the queue for a trip.
    fn leave<T>(&self, take: impl FnOnce(&mut State<Q, A>) -> T) -> T {
        let mut state = self.state();
        let taken = take(&mut state);
        let left = state.waiting.len();
        state.full &= left > 0;
        self.metrics.show_queue(left);
        drop(state);
        if left > 0 {
            self.arrived.notify_one();
        }
        taken
    }

    /// When the next of the requests on a trip and in the queue runs out of time.
    fn next_deadline(&self, riders: &Riders<A>) -> Instant {
        let first = riders.pending.front().map(|pending| pending.deadline);
        first
            .or_else(|| self.state().waiting.pending.front().map(|pending| pending.deadline))
            .unwrap_or_else(|| Instant::now() + self.limits.deadline)
    }

    /// Answers those whose time has run out, on a trip or in the queue.
    fn answer_late(&self, riders: &mut Riders<A>) {
        let now = Instant::now();
        let mut late = take_late(&mut riders.pending, now);
        riders.late += late.len();
        let mut state = self.state();
        let late_in_queue = take_late(&mut state.waiting.pending, now);
        state.waiting.requests.drain(..late_in_queue.len());
        late.extend(late_in_queue);
        self.metrics.show_queue(state.waiting.len());
        let newly = !late.is_empty() && !std::mem::replace(&mut state.failing, true);
        drop(state);
        if newly {
            tracing::error!(store.kind = self.metrics.kind, "the store does not answer in time");
        }
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
        lock(&self.state)
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
        if (1..=size).contains(&self.len()) {
            // The next batch will most likely be as large.
            let next = Batch::with_capacity(self.len());
            return std::mem::replace(self, next);
        }
        let size = size.min(self.len());
        Batch {
            requests: self.requests.drain(..size).collect(),
            pending: self.pending.drain(..size).collect(),
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::mpsc;
    use tokio::time::{advance, timeout};

    use super::*;
    use crate::metrics::Metrics;

    const LIMITS: Limits = Limits {
        queue_max: 8,
        trip_max: NonZeroUsize::new(4).unwrap(),
        wait_max: Duration::from_secs(1),
        deadline: Duration::from_secs(5),
    };
    const SECOND: Duration = Duration::from_secs(1);
    /// Longer than anything takes. Where nothing can happen any more, the paused
    /// clock leaps to its end.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A way to the database on which every trip waits for the test to close and end it.
    struct Held {
        trips: mpsc::UnboundedSender<Departing>,
        closed: Arc<AtomicUsize>,
    }

    impl Trip<u32, u32> for Held {
        async fn make(
            &mut self,
            boarding: Boarding<u32, u32>,
            _deadline: Instant,
        ) -> Result<Vec<u32>, TripError> {
            let (end, ended) = oneshot::channel();
            let _ = self.trips.send(Departing { boarding, end });
            ended.await.expect("the test does not want a panic")
        }

        async fn close(self) {
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Departing {
        boarding: Boarding<u32, u32>,
        end: oneshot::Sender<Result<Vec<u32>, TripError>>,
    }

    struct UnderWay {
        requests: Vec<u32>,
        end: oneshot::Sender<Result<Vec<u32>, TripError>>,
    }

    impl Departing {
        fn close(self) -> UnderWay {
            UnderWay { requests: self.boarding.close(), end: self.end }
        }
    }

    impl UnderWay {
        fn succeed(self) {
            let answers = self.requests.iter().copied().map(answer_to).collect();
            self.end.send(Ok(answers)).unwrap();
        }

        fn fail(self) {
            self.end.send(Err("the test wants it so".into())).unwrap();
        }

        fn panic(self) {
            drop(self.end);
        }
    }

    fn answer_to(request: u32) -> u32 {
        request + 1000
    }

    /// The trips of a batcher, and what it counts.
    struct Trips {
        departing: mpsc::UnboundedReceiver<Departing>,
        closed: Arc<AtomicUsize>,
        metrics: TripMetrics,
    }

    impl Trips {
        async fn next(&mut self) -> UnderWay {
            self.depart().await.close()
        }

        async fn depart(&mut self) -> Departing {
            within(self.departing.recv()).await.expect("the lanes live")
        }

        fn closed(&self) -> usize {
            self.closed.load(Ordering::Relaxed)
        }
    }

    fn start(limits: Limits, lanes: usize) -> (Batcher<u32, u32>, Trips) {
        let (trips, departing) = mpsc::unbounded_channel();
        let closed = Arc::new(AtomicUsize::new(0));
        let lane = || Held { trips: trips.clone(), closed: closed.clone() };
        let lanes = std::iter::repeat_with(lane).take(lanes).collect();
        let metrics = Metrics::new();
        let batcher = Batcher::start(limits, metrics.trips("read"), lanes);
        (batcher, Trips { departing, closed, metrics: metrics.trips("read") })
    }

    /// Puts a request into the queue; what is returned waits for the answer.
    fn send(
        batcher: &Batcher<u32, u32>,
        request: u32,
    ) -> impl Future<Output = Result<u32, StoreError>> + Unpin {
        let mut answer = Box::pin(batcher.ask(request));
        assert_eq!(answer.as_mut().now_or_never(), None, "request {request}");
        answer
    }

    async fn within<T>(waiting: impl Future<Output = T>) -> T {
        timeout(PATIENCE, waiting).await.expect("something happens")
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_request_sets_out_at_once() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let sent = Instant::now();
        let answer = send(&batcher, 1);
        let trip = trips.next().await;
        assert_eq!(trip.requests, [1]);
        assert_eq!(sent.elapsed(), Duration::ZERO);
        trip.succeed();
        assert_eq!(within(answer).await, Ok(answer_to(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn behind_a_full_trip_of_a_slow_database_nobody_waits() {
        // One slow trip may be held up by a lock; two are the database's pace.
        for (slow_trips, admitted) in [(1, LIMITS.queue_max), (2, LIMITS.trip_max.get())] {
            let (batcher, mut trips) = start(LIMITS, 1);
            for _ in 0..slow_trips {
                let answer = send(&batcher, 0);
                let trip = trips.next().await;
                advance(SECOND / 2).await;
                trip.succeed();
                assert!(within(answer).await.is_ok());
            }
            let _first = send(&batcher, 0);
            let _under_way = trips.next().await;
            let _waiting: Vec<_> = (0..admitted).map(|_| send(&batcher, 0)).collect();
            let refused = batcher.ask(0).now_or_never();
            assert_eq!(refused, Some(Err(StoreError::Overloaded)), "{slow_trips} slow trips");
            assert_eq!(trips.metrics.overloaded.get(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_arrive_during_a_trip_share_the_next() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let first = send(&batcher, 1);
        let trip = trips.next().await;
        let others = [2, 3, 4].map(|request| send(&batcher, request));
        trip.succeed();
        assert_eq!(within(first).await, Ok(answer_to(1)));
        let trip = trips.next().await;
        assert_eq!(trip.requests, [2, 3, 4]);
        trip.succeed();
        assert_eq!(within(join_all(others)).await, [2, 3, 4].map(|it| Ok(answer_to(it))));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_arrive_before_a_trip_is_closed_join_it() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let answers = [1, 2].map(|request| send(&batcher, request));
        let trip = trips.depart().await;
        let joining = [3, 4, 5].map(|request| send(&batcher, request));
        let trip = trip.close();
        // As many as there is room for.
        assert_eq!(trip.requests, [1, 2, 3, 4]);
        trip.succeed();
        let trip = trips.next().await;
        assert_eq!(trip.requests, [5]);
        trip.succeed();
        assert_eq!(within(join_all(answers)).await, [1, 2].map(|it| Ok(answer_to(it))));
        assert_eq!(within(join_all(joining)).await, [3, 4, 5].map(|it| Ok(answer_to(it))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trip_that_fails_before_it_is_closed_leaves_the_others_in_the_queue() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let first = send(&batcher, 1);
        let Departing { boarding, end } = trips.depart().await;
        let next = send(&batcher, 2);
        drop(boarding);
        UnderWay { requests: Vec::new(), end }.fail();
        assert_eq!(within(first).await, Err(StoreError::Unavailable));
        trips.next().await.succeed();
        assert_eq!(within(next).await, Ok(answer_to(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_joined_a_trip_that_hangs_hears_by_the_deadline() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let first = send(&batcher, 1);
        let trip = trips.depart().await;
        advance(SECOND).await;
        let sent = Instant::now();
        let joining = send(&batcher, 2);
        let trip = trip.close();
        assert_eq!(trip.requests, [1, 2]);
        assert_eq!(within(first).await, Err(StoreError::DeadlinePassed));
        assert_eq!(within(joining).await, Err(StoreError::DeadlinePassed));
        assert_eq!(sent.elapsed(), LIMITS.deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn who_joined_after_another_gave_up_hears_their_own_answer() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let first = send(&batcher, 1);
        let trip = trips.depart().await;
        assert_eq!(within(first).await, Err(StoreError::DeadlinePassed));
        let joining = send(&batcher, 2);
        let trip = trip.close();
        assert_eq!(trip.requests, [1, 2]);
        trip.succeed();
        assert_eq!(within(joining).await, Ok(answer_to(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_queue_is_split_and_keeps_its_order() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let answers = [1, 2, 3, 4, 5, 6].map(|request| send(&batcher, request));
        for requests in [vec![1, 2, 3, 4], vec![5, 6]] {
            let trip = trips.next().await;
            assert_eq!(trip.requests, requests);
            trip.succeed();
        }
        let expected = [1, 2, 3, 4, 5, 6].map(|it| Ok(answer_to(it)));
        assert_eq!(within(join_all(answers)).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_lanes_share_a_long_queue() {
        let (batcher, mut trips) = start(LIMITS, 2);
        let first = send(&batcher, 0);
        trips.next().await.succeed();
        assert_eq!(within(first).await, Ok(answer_to(0)));
        let answers = [1, 2, 3, 4, 5, 6].map(|request| send(&batcher, request));
        let (one, other) = (trips.next().await, trips.next().await);
        assert_eq!((one.requests.len(), other.requests.len()), (4, 2));
        other.succeed();
        one.succeed();
        let expected = [1, 2, 3, 4, 5, 6].map(|it| Ok(answer_to(it)));
        assert_eq!(within(join_all(answers)).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_hangs_holds_up_no_other() {
        let (batcher, mut trips) = start(LIMITS, 2);
        let hanging = send(&batcher, 1);
        let _hanging_trip = trips.next().await;
        for request in 2..5 {
            let answer = send(&batcher, request);
            trips.next().await.succeed();
            assert_eq!(within(answer).await, Ok(answer_to(request)));
        }
        assert_eq!(within(hanging).await, Err(StoreError::DeadlinePassed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_trip_tells_everyone_in_it_and_no_one_else() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let first = send(&batcher, 1);
        let trip = trips.next().await;
        let failing = [2, 3].map(|request| send(&batcher, request));
        trip.succeed();
        let trip = trips.next().await;
        let last = send(&batcher, 4);
        trip.fail();
        assert_eq!(within(join_all(failing)).await, [Err(StoreError::Unavailable); 2]);
        trips.next().await.succeed();
        assert_eq!(within(first).await, Ok(answer_to(1)));
        assert_eq!(within(last).await, Ok(answer_to(4)));
        assert_eq!(trips.metrics.errors.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trip_that_panics_fails_alone() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let first = send(&batcher, 1);
        let trip = trips.next().await;
        let next = send(&batcher, 2);
        trip.panic();
        assert_eq!(within(first).await, Err(StoreError::Unavailable));
        trips.next().await.succeed();
        assert_eq!(within(next).await, Ok(answer_to(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trip_with_too_few_answers_leaves_no_one_waiting() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let answers = [1, 2, 3].map(|request| send(&batcher, request));
        let trip = trips.next().await;
        trip.end.send(Ok(vec![answer_to(1)])).unwrap();
        assert_eq!(
            within(join_all(answers)).await,
            [Ok(answer_to(1)), Err(StoreError::Unavailable), Err(StoreError::Unavailable)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_more_than_may_wait_is_refused_at_once() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let first = send(&batcher, 0);
        let trip = trips.next().await;
        let admitted: Vec<_> = (1..=8).map(|request| send(&batcher, request)).collect();
        assert_eq!(batcher.ask(9).now_or_never(), Some(Err(StoreError::Overloaded)));
        assert_eq!(trips.metrics.overloaded.get(), 1);

        trip.succeed();
        let trip = trips.next().await;
        let late_comer = send(&batcher, 10);
        trip.succeed();
        trips.next().await.succeed();
        trips.next().await.succeed();
        assert_eq!(within(first).await, Ok(answer_to(0)));
        let expected: Vec<_> = (1..=8).map(|it| Ok(answer_to(it))).collect();
        assert_eq!(within(join_all(admitted)).await, expected);
        assert_eq!(within(late_comer).await, Ok(answer_to(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn everyone_hears_by_the_deadline_while_a_trip_hangs() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let timed = |request| {
            let sent = Instant::now();
            send(&batcher, request).map(move |answer| (answer, sent.elapsed()))
        };
        let mut answers = vec![timed(1)];
        let _hanging_trip = trips.next().await;
        for request in 2..5 {
            advance(SECOND).await;
            answers.push(timed(request));
        }
        let expected = [(Err(StoreError::DeadlinePassed), LIMITS.deadline); 4];
        assert_eq!(within(join_all(answers)).await, expected);
        assert_eq!(trips.metrics.late.get(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_arrives_after_all_others_gave_up_is_answered_on_time() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let first = send(&batcher, 1);
        let _hanging_trip = trips.next().await;
        assert_eq!(within(first).await, Err(StoreError::DeadlinePassed));
        advance(SECOND).await;
        let sent = Instant::now();
        assert_eq!(within(send(&batcher, 2)).await, Err(StoreError::DeadlinePassed));
        assert_eq!(sent.elapsed(), LIMITS.deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_come_late_go_to_those_who_still_wait() {
        for too_few in [0, 1] {
            let (batcher, mut trips) = start(LIMITS, 1);
            let first = send(&batcher, 1);
            let trip = trips.next().await;
            let early = send(&batcher, 2);
            advance(SECOND).await;
            let [late, last] = [3, 4].map(|request| send(&batcher, request));
            trip.succeed();
            assert_eq!(within(first).await, Ok(answer_to(1)));

            let trip = trips.next().await;
            assert_eq!(trip.requests, [2, 3, 4]);
            assert_eq!(within(early).await, Err(StoreError::DeadlinePassed));
            let answers = trip.requests.iter().copied().map(answer_to);
            trip.end.send(Ok(answers.take(3 - too_few).collect())).unwrap();
            assert_eq!(within(late).await, Ok(answer_to(3)), "{too_few} too few");
            let expected =
                if too_few == 0 { Ok(answer_to(4)) } else { Err(StoreError::Unavailable) };
            assert_eq!(within(last).await, expected, "{too_few} too few");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_ran_out_of_time_in_the_queue_is_not_carried_out() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let first = send(&batcher, 1);
        let trip = trips.next().await;
        let late = [2, 3].map(|request| send(&batcher, request));
        advance(SECOND).await;
        let in_time = send(&batcher, 4);
        assert_eq!(within(join_all(late)).await, [Err(StoreError::DeadlinePassed); 2]);
        trip.succeed();
        assert_eq!(within(first).await, Err(StoreError::DeadlinePassed));
        let trip = trips.next().await;
        assert_eq!(trip.requests, [4]);
        trip.succeed();
        assert_eq!(within(in_time).await, Ok(answer_to(4)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_goes_away_harms_no_one() {
        let (batcher, mut trips) = start(LIMITS, 1);
        let under_way = send(&batcher, 1);
        let trip = trips.next().await;
        let [before, queued, after] = [2, 3, 4].map(|request| send(&batcher, request));
        drop(under_way);
        drop(queued);
        trip.succeed();
        trips.next().await.succeed();
        assert_eq!(within(before).await, Ok(answer_to(2)));
        assert_eq!(within(after).await, Ok(answer_to(4)));
    }

    #[tokio::test(start_paused = true)]
    async fn closing_answers_those_who_wait_and_ends_every_lane() {
        for lanes in [1, 3] {
            let (batcher, mut trips) = start(LIMITS, lanes);
            let answers = [1, 2, 3, 4, 5, 6].map(|request| send(&batcher, request));
            let trip = trips.next().await;
            let closing = batcher.close();
            let carrying_out = async {
                trip.succeed();
                // The channel ends with the lanes.
                while let Some(trip) = trips.departing.recv().await {
                    assert_eq!(batcher.ask(7).await, Err(StoreError::Closed));
                    trip.close().succeed();
                }
            };
            within(async { tokio::join!(closing, carrying_out) }).await;
            let expected = [1, 2, 3, 4, 5, 6].map(|it| Ok(answer_to(it)));
            assert_eq!(within(join_all(answers)).await, expected, "{lanes} lanes");
            assert_eq!(trips.closed(), lanes);
            assert_eq!(batcher.ask(8).await, Err(StoreError::Closed));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn everyone_hears_their_own_answer_on_real_threads() {
        let limits = Limits { queue_max: 10_000, wait_max: Duration::MAX, ..LIMITS };
        let (batcher, mut trips) = start(limits, 3);
        let carrying_out = tokio::spawn(async move {
            while let Some(trip) = trips.departing.recv().await {
                trip.close().succeed();
            }
        });
        let batcher = Arc::new(batcher);
        let askers = (0..10_000).map(|request| {
            let batcher = batcher.clone();
            tokio::spawn(async move { (request, batcher.ask(request).await) })
        });
        for answer in within(join_all(askers)).await {
            let (request, answer) = answer.unwrap();
            assert_eq!(answer, Ok(answer_to(request)));
        }
        within(batcher.close()).await;
        within(carrying_out).await.unwrap();
    }
}
