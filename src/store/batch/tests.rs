//! Batches on a stopped clock, each held until the test lets it go on.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use anyhow::anyhow;
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, advance, timeout};

use super::{Backend, BatchError, BatchLimits, Batcher};
use crate::metrics::{BatchMetrics, Metrics};
use crate::store::StoreError;
use crate::store::outage::Outage;

const LIMITS: BatchLimits = BatchLimits {
    queue_max: 8,
    batch_max: NonZeroUsize::new(4).unwrap(),
    queue_delay_max: Duration::from_secs(1),
    timeout: Duration::from_secs(5),
    recovery_probe: None,
};
const SECOND: Duration = Duration::from_secs(1);
/// Longer than anything takes. Where nothing can happen any more, the paused clock leaps to its
/// end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A backend whose every batch waits twice for the test: when it begins and when it runs.
struct Held {
    beginning: mpsc::UnboundedSender<Beginning>,
    running: Option<oneshot::Sender<Running>>,
    closed: Arc<AtomicUsize>,
}

impl Backend<u32, u32> for Held {
    async fn begin(&mut self) -> Result<(), BatchError> {
        let (proceed, proceeding) = oneshot::channel();
        let (running, run) = oneshot::channel();
        self.running = Some(running);
        let _ = self.beginning.send(Beginning { proceed, run });
        proceeding.await.expect("the test wants no panic here")
    }

    async fn run(&mut self, requests: Vec<u32>, _: Instant) -> Result<Vec<u32>, BatchError> {
        let (end, ended) = oneshot::channel();
        let running = self.running.take().expect("it has begun");
        let _ = running.send(Running { requests, end });
        ended.await.expect("the test wants a panic where it drops this")
    }

    async fn close(self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

/// A batch that others can join.
struct Beginning {
    proceed: oneshot::Sender<Result<(), BatchError>>,
    run: oneshot::Receiver<Running>,
}

impl Beginning {
    async fn proceed(self) -> Running {
        self.proceed.send(Ok(())).unwrap();
        within(self.run).await.expect("it runs")
    }

    fn fail(self) {
        self.proceed.send(Err(anyhow!("the test wants it to fail"))).unwrap();
    }
}

/// A batch that nobody can join any more.
struct Running {
    requests: Vec<u32>,
    end: oneshot::Sender<Result<Vec<u32>, BatchError>>,
}

impl Running {
    fn succeed(self) {
        let answers = self.requests.iter().copied().map(answer_to).collect();
        self.end.send(Ok(answers)).unwrap();
    }

    fn fail(self) {
        self.end.send(Err(anyhow!("the test wants it to fail"))).unwrap();
    }

    fn panic(self) {
        drop(self.end);
    }
}

thread_local! {
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is logged on this thread.
struct Log;

impl Log {
    /// All threads have one subscriber: an event that is reached first on a thread without one is
    /// off for every thread.
    fn start() -> Log {
        static SUBSCRIBE: Once = Once::new();
        SUBSCRIBE.call_once(|| {
            let lines = tracing_subscriber::fmt().without_time().with_level(false);
            let lines = lines.with_target(false).with_ansi(false).with_writer(|| Log);
            tracing::subscriber::set_global_default(lines.finish()).expect("it is the only one");
        });
        LOGGED.take();
        Log
    }

    fn lines(&self) -> Vec<String> {
        let log = String::from_utf8(LOGGED.with_borrow(Vec::clone)).unwrap();
        log.lines().map(|line| line.split(" store.kind").next().unwrap().to_owned()).collect()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.with_borrow_mut(|log| log.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn answer_to(request: u32) -> u32 {
    request + 1000
}

/// The batches of a batcher, and what it counts.
struct Batches {
    beginning: mpsc::UnboundedReceiver<Beginning>,
    closed: Arc<AtomicUsize>,
    metrics: BatchMetrics,
    outage: Arc<Outage>,
}

impl Batches {
    async fn next(&mut self) -> Running {
        self.begin().await.proceed().await
    }

    async fn begin(&mut self) -> Beginning {
        within(self.beginning.recv()).await.expect("the workers live")
    }

    fn closed(&self) -> usize {
        self.closed.load(Ordering::Relaxed)
    }
}

fn start(limits: BatchLimits, workers: usize) -> (Batcher<u32, u32>, Batches) {
    let (sender, beginning) = mpsc::unbounded_channel();
    let closed = Arc::new(AtomicUsize::new(0));
    let backend = || Held { beginning: sender.clone(), running: None, closed: closed.clone() };
    let backends = std::iter::repeat_with(backend).take(workers).collect();
    let metrics = Metrics::new();
    let outage = Arc::new(Outage::new());
    let batcher = Batcher::start(limits, metrics.batches("read"), &outage, backends);
    (batcher, Batches { beginning, closed, metrics: metrics.batches("read"), outage })
}

/// Submits a request; what is returned waits for the answer.
fn send(
    batcher: &Batcher<u32, u32>,
    request: u32,
) -> impl Future<Output = Result<u32, StoreError>> + Unpin {
    let mut answer = Box::pin(batcher.submit(request));
    assert_eq!(answer.as_mut().now_or_never(), None, "request {request}");
    answer
}

async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(PATIENCE, waiting).await.expect("something happens")
}

#[tokio::test(start_paused = true)]
async fn a_lone_request_runs_at_once() {
    let (batcher, mut batches) = start(LIMITS, 1);
    let sent = Instant::now();
    let answer = send(&batcher, 1);
    let batch = batches.next().await;
    assert_eq!(batch.requests, [1]);
    assert_eq!(sent.elapsed(), Duration::ZERO);
    batch.succeed();
    assert_eq!(within(answer).await, Ok(answer_to(1)));
}

#[tokio::test(start_paused = true)]
async fn a_request_behind_a_full_batch_of_a_slow_database_is_rejected() {
    // One slow batch may be held up by a lock; two tell how slow the database is.
    for (slow_batches, admitted) in [(1, LIMITS.queue_max), (2, LIMITS.batch_max.get())] {
        let log = Log::start();
        let (batcher, mut batches) = start(LIMITS, 1);
        for _ in 0..slow_batches {
            let answer = send(&batcher, 0);
            let batch = batches.next().await;
            advance(SECOND / 2).await;
            batch.succeed();
            assert!(within(answer).await.is_ok());
        }
        let _first = send(&batcher, 0);
        let _under_way = batches.next().await;
        let _waiting: Vec<_> = (0..admitted).map(|_| send(&batcher, 0)).collect();
        let rejected = batcher.submit(0).now_or_never();
        assert_eq!(rejected, Some(Err(StoreError::Overloaded)), "{slow_batches} slow batches");
        assert_eq!(batches.metrics.overloaded.get(), 1);
        assert_eq!(log.lines(), ["rejecting requests: the store is overloaded"]);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_arrive_during_a_batch_share_the_next() {
    let (batcher, mut batches) = start(LIMITS, 1);
    let first = send(&batcher, 1);
    let batch = batches.next().await;
    let others = [2, 3, 4].map(|request| send(&batcher, request));
    batch.succeed();
    assert_eq!(within(first).await, Ok(answer_to(1)));
    let batch = batches.next().await;
    assert_eq!(batch.requests, [2, 3, 4]);
    batch.succeed();
    assert_eq!(within(join_all(others)).await, [2, 3, 4].map(|it| Ok(answer_to(it))));
}

#[tokio::test(start_paused = true)]
async fn requests_that_arrive_before_a_batch_runs_join_it() {
    let (batcher, mut batches) = start(LIMITS, 1);
    let answers = [1, 2].map(|request| send(&batcher, request));
    let beginning = batches.begin().await;
    let joining = [3, 4, 5].map(|request| send(&batcher, request));
    let batch = beginning.proceed().await;
    // As many as there is room for.
    assert_eq!(batch.requests, [1, 2, 3, 4]);
    batch.succeed();
    let batch = batches.next().await;
    assert_eq!(batch.requests, [5]);
    batch.succeed();
    assert_eq!(within(join_all(answers)).await, [1, 2].map(|it| Ok(answer_to(it))));
    assert_eq!(within(join_all(joining)).await, [3, 4, 5].map(|it| Ok(answer_to(it))));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_cannot_begin_leaves_the_others_in_the_queue() {
    let (batcher, mut batches) = start(LIMITS, 1);
    let first = send(&batcher, 1);
    let beginning = batches.begin().await;
    let next = send(&batcher, 2);
    beginning.fail();
    assert_eq!(within(first).await, Err(StoreError::Unavailable));
    batches.next().await.succeed();
    assert_eq!(within(next).await, Ok(answer_to(2)));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_joined_a_batch_that_hangs_is_answered_by_its_deadline() {
    let (batcher, mut batches) = start(LIMITS, 1);
    let first = send(&batcher, 1);
    let beginning = batches.begin().await;
    advance(SECOND).await;
    let sent = Instant::now();
    let joining = send(&batcher, 2);
    let batch = beginning.proceed().await;
    assert_eq!(batch.requests, [1, 2]);
    assert_eq!(within(first).await, Err(StoreError::DeadlinePassed));
    assert_eq!(within(joining).await, Err(StoreError::DeadlinePassed));
    assert_eq!(sent.elapsed(), LIMITS.timeout);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_expired_before_its_batch_ran_is_not_carried_out() {
    let (batcher, mut batches) = start(LIMITS, 1);
    let first = send(&batcher, 1);
    let beginning = batches.begin().await;
    assert_eq!(within(first).await, Err(StoreError::DeadlinePassed));
    let joining = send(&batcher, 2);
    let batch = beginning.proceed().await;
    assert_eq!(batch.requests, [2]);
    batch.succeed();
    assert_eq!(within(joining).await, Ok(answer_to(2)));
}

#[tokio::test(start_paused = true)]
async fn a_long_queue_is_split_and_keeps_its_order() {
    let (batcher, mut batches) = start(LIMITS, 1);
    let answers = [1, 2, 3, 4, 5, 6].map(|request| send(&batcher, request));
    for requests in [vec![1, 2, 3, 4], vec![5, 6]] {
        let batch = batches.next().await;
        assert_eq!(batch.requests, requests);
        batch.succeed();
    }
    let expected = [1, 2, 3, 4, 5, 6].map(|it| Ok(answer_to(it)));
    assert_eq!(within(join_all(answers)).await, expected);
}

#[tokio::test(start_paused = true)]
async fn idle_workers_share_a_long_queue() {
    let (batcher, mut batches) = start(LIMITS, 2);
    let first = send(&batcher, 0);
    batches.next().await.succeed();
    assert_eq!(within(first).await, Ok(answer_to(0)));
    let answers = [1, 2, 3, 4, 5, 6].map(|request| send(&batcher, request));
    let (one, other) = (batches.next().await, batches.next().await);
    assert_eq!((one.requests.len(), other.requests.len()), (4, 2));
    other.succeed();
    one.succeed();
    let expected = [1, 2, 3, 4, 5, 6].map(|it| Ok(answer_to(it)));
    assert_eq!(within(join_all(answers)).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_hangs_holds_up_no_other() {
    let (batcher, mut batches) = start(LIMITS, 2);
    let hanging = send(&batcher, 1);
    let _hanging = batches.next().await;
    for request in 2..5 {
        let answer = send(&batcher, request);
        batches.next().await.succeed();
        assert_eq!(within(answer).await, Ok(answer_to(request)));
    }
    assert_eq!(within(hanging).await, Err(StoreError::DeadlinePassed));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_hangs_is_logged_once_while_another_works() {
    let log = Log::start();
    let (batcher, mut batches) = start(LIMITS, 2);
    let hanging = send(&batcher, 1);
    let batch = batches.next().await;
    assert_eq!(within(hanging).await, Err(StoreError::DeadlinePassed));
    for _ in 0..3 {
        let answer = send(&batcher, 2);
        batches.next().await.succeed();
        assert_eq!(within(answer).await, Ok(answer_to(2)));
    }
    assert_eq!(log.lines(), ["the store does not answer in time"]);
    batch.succeed();
    let answer = send(&batcher, 3);
    batches.next().await.succeed();
    assert_eq!(within(answer).await, Ok(answer_to(3)));
    assert_eq!(log.lines(), ["the store does not answer in time", "the store answers again"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_batch_fails_its_own_requests_and_no_other() {
    let (batcher, mut batches) = start(LIMITS, 1);
    let first = send(&batcher, 1);
    let batch = batches.next().await;
    let failing = [2, 3].map(|request| send(&batcher, request));
    batch.succeed();
    let batch = batches.next().await;
    let last = send(&batcher, 4);
    batch.fail();
    assert_eq!(within(join_all(failing)).await, [Err(StoreError::Unavailable); 2]);
    batches.next().await.succeed();
    assert_eq!(within(first).await, Ok(answer_to(1)));
    assert_eq!(within(last).await, Ok(answer_to(4)));
    assert_eq!(batches.metrics.errors.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_panics_fails_alone() {
    let (batcher, mut batches) = start(LIMITS, 1);
    let first = send(&batcher, 1);
    let batch = batches.next().await;
    let next = send(&batcher, 2);
    batch.panic();
    assert_eq!(within(first).await, Err(StoreError::Unavailable));
    batches.next().await.succeed();
    assert_eq!(within(next).await, Ok(answer_to(2)));
}

#[tokio::test(start_paused = true)]
async fn a_batch_with_too_few_answers_leaves_nobody_waiting() {
    let (batcher, mut batches) = start(LIMITS, 1);
    let answers = [1, 2, 3].map(|request| send(&batcher, request));
    let batch = batches.next().await;
    batch.end.send(Ok(vec![answer_to(1)])).unwrap();
    assert_eq!(
        within(join_all(answers)).await,
        [Ok(answer_to(1)), Err(StoreError::Unavailable), Err(StoreError::Unavailable)]
    );
}

#[tokio::test(start_paused = true)]
async fn one_request_more_than_may_wait_is_rejected_at_once() {
    let log = Log::start();
    let (batcher, mut batches) = start(LIMITS, 1);
    let first = send(&batcher, 0);
    let batch = batches.next().await;
    let admitted: Vec<_> = (1..=8).map(|request| send(&batcher, request)).collect();
    for rejected in 1..=3 {
        assert_eq!(batcher.submit(9).now_or_never(), Some(Err(StoreError::Overloaded)));
        assert_eq!(batches.metrics.overloaded.get(), rejected);
    }
    assert_eq!(log.lines(), ["rejecting requests: the store is overloaded"]);

    batch.succeed();
    let batch = batches.next().await;
    let late_comer = send(&batcher, 10);
    batch.succeed();
    batches.next().await.succeed();
    batches.next().await.succeed();
    assert_eq!(within(first).await, Ok(answer_to(0)));
    let expected: Vec<_> = (1..=8).map(|it| Ok(answer_to(it))).collect();
    assert_eq!(within(join_all(admitted)).await, expected);
    assert_eq!(within(late_comer).await, Ok(answer_to(10)));
}

#[tokio::test(start_paused = true)]
async fn every_request_is_answered_by_its_deadline_while_a_batch_hangs() {
    let (batcher, mut batches) = start(LIMITS, 1);
    let timed = |request| {
        let sent = Instant::now();
        send(&batcher, request).map(move |answer| (answer, sent.elapsed()))
    };
    let mut answers = vec![timed(1)];
    let _hanging = batches.next().await;
    for request in 2..5 {
        advance(SECOND).await;
        answers.push(timed(request));
    }
    let expected = [(Err(StoreError::DeadlinePassed), LIMITS.timeout); 4];
    assert_eq!(within(join_all(answers)).await, expected);
    assert_eq!(batches.metrics.expired.get(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_arrives_after_all_others_expired_is_answered_on_time() {
    let (batcher, mut batches) = start(LIMITS, 1);
    let first = send(&batcher, 1);
    let _hanging = batches.next().await;
    assert_eq!(within(first).await, Err(StoreError::DeadlinePassed));
    advance(SECOND).await;
    let sent = Instant::now();
    assert_eq!(within(send(&batcher, 2)).await, Err(StoreError::DeadlinePassed));
    assert_eq!(sent.elapsed(), LIMITS.timeout);
}

#[tokio::test(start_paused = true)]
async fn late_answers_go_to_the_requests_that_still_wait() {
    for too_few in [0, 1] {
        let (batcher, mut batches) = start(LIMITS, 1);
        let first = send(&batcher, 1);
        let batch = batches.next().await;
        let early = send(&batcher, 2);
        advance(SECOND).await;
        let [late, last] = [3, 4].map(|request| send(&batcher, request));
        batch.succeed();
        assert_eq!(within(first).await, Ok(answer_to(1)));

        let batch = batches.next().await;
        assert_eq!(batch.requests, [2, 3, 4]);
        assert_eq!(within(early).await, Err(StoreError::DeadlinePassed));
        let answers = batch.requests.iter().copied().map(answer_to);
        batch.end.send(Ok(answers.take(3 - too_few).collect())).unwrap();
        assert_eq!(within(late).await, Ok(answer_to(3)), "{too_few} too few");
        let expected = if too_few == 0 { Ok(answer_to(4)) } else { Err(StoreError::Unavailable) };
        assert_eq!(within(last).await, expected, "{too_few} too few");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_expired_in_the_queue_is_not_carried_out() {
    let (batcher, mut batches) = start(LIMITS, 1);
    let first = send(&batcher, 1);
    let batch = batches.next().await;
    let late = [2, 3].map(|request| send(&batcher, request));
    advance(SECOND).await;
    let in_time = send(&batcher, 4);
    assert_eq!(within(join_all(late)).await, [Err(StoreError::DeadlinePassed); 2]);
    batch.succeed();
    assert_eq!(within(first).await, Err(StoreError::DeadlinePassed));
    let batch = batches.next().await;
    assert_eq!(batch.requests, [4]);
    batch.succeed();
    assert_eq!(within(in_time).await, Ok(answer_to(4)));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_harms_nobody() {
    let (batcher, mut batches) = start(LIMITS, 1);
    let under_way = send(&batcher, 1);
    let batch = batches.next().await;
    let [before, queued, after] = [2, 3, 4].map(|request| send(&batcher, request));
    drop(under_way);
    drop(queued);
    batch.succeed();
    let batch = batches.next().await;
    assert_eq!(batch.requests, [2, 3, 4]);
    batch.succeed();
    assert_eq!(within(before).await, Ok(answer_to(2)));
    assert_eq!(within(after).await, Ok(answer_to(4)));
}

#[tokio::test(start_paused = true)]
async fn closing_answers_the_queue_and_ends_every_worker() {
    for workers in [1, 3] {
        let (batcher, mut batches) = start(LIMITS, workers);
        let answers = [1, 2, 3, 4, 5, 6].map(|request| send(&batcher, request));
        let batch = batches.next().await;
        let closing = batcher.close();
        let carrying_out = async {
            batch.succeed();
            // The channel ends with the workers.
            while let Some(beginning) = batches.beginning.recv().await {
                assert_eq!(batcher.submit(7).await, Err(StoreError::Closed));
                beginning.proceed().await.succeed();
            }
        };
        within(async { tokio::join!(closing, carrying_out) }).await;
        let expected = [1, 2, 3, 4, 5, 6].map(|it| Ok(answer_to(it)));
        assert_eq!(within(join_all(answers)).await, expected, "{workers} workers");
        assert_eq!(batches.closed(), workers);
        assert_eq!(batcher.submit(8).await, Err(StoreError::Closed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_not_tried_has_no_outage() {
    let (batcher, mut batches) = start(LIMITS, 1);
    advance(1000 * SECOND).await;
    assert_eq!(batches.outage.duration(), Duration::ZERO);
    let answer = send(&batcher, 1);
    batches.next().await.succeed();
    assert_eq!(within(answer).await, Ok(answer_to(1)));
    advance(1000 * SECOND).await;
    assert_eq!(batches.outage.duration(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_outage_lasts_from_the_first_batch_that_fails_to_the_first_that_succeeds() {
    let (batcher, mut batches) = start(LIMITS, 1);
    for outage in [0, 10, 20] {
        let answer = send(&batcher, 1);
        let batch = batches.next().await;
        assert_eq!(batches.outage.duration(), outage * SECOND);
        batch.fail();
        assert_eq!(within(answer).await, Err(StoreError::Unavailable));
        advance(10 * SECOND).await;
        assert_eq!(batches.outage.duration(), (outage + 10) * SECOND);
    }
    let answer = send(&batcher, 1);
    batches.next().await.succeed();
    assert_eq!(within(answer).await, Ok(answer_to(1)));
    assert_eq!(batches.outage.duration(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_hangs_is_an_outage_from_its_start() {
    for joins in [true, false] {
        let (batcher, mut batches) = start(LIMITS, 1);
        let answer = send(&batcher, 1);
        let beginning = batches.begin().await;
        let batch = if joins { Err(beginning) } else { Ok(beginning.proceed().await) };
        assert_eq!(within(answer).await, Err(StoreError::DeadlinePassed));
        advance(100 * SECOND).await;
        assert_eq!(batches.outage.duration(), 100 * SECOND + LIMITS.timeout, "joins: {joins}");
        // It ends too late for the request, and in time for one that arrived since.
        let batch = match batch {
            Ok(batch) => batch,
            Err(beginning) => beginning.proceed().await,
        };
        let next = send(&batcher, 2);
        batch.succeed();
        let batch = batches.next().await;
        assert_eq!(batches.outage.duration(), 100 * SECOND + LIMITS.timeout, "joins: {joins}");
        batch.succeed();
        assert_eq!(within(next).await, Ok(answer_to(2)));
        assert_eq!(batches.outage.duration(), Duration::ZERO, "joins: {joins}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_hangs_beside_others_is_an_outage_from_their_last_success() {
    let (batcher, mut batches) = start(LIMITS, 2);
    let hanging = send(&batcher, 1);
    let _hanging = batches.next().await;
    for _ in 0..3 {
        advance(SECOND).await;
        let answer = send(&batcher, 2);
        batches.next().await.succeed();
        assert_eq!(within(answer).await, Ok(answer_to(2)));
        assert_eq!(batches.outage.duration(), Duration::ZERO);
    }
    assert_eq!(within(hanging).await, Err(StoreError::DeadlinePassed));
    advance(10 * SECOND).await;
    assert_eq!(batches.outage.duration(), 10 * SECOND + LIMITS.timeout - 3 * SECOND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_request_gets_its_own_answer_on_real_threads() {
    let limits = BatchLimits { queue_max: 10_000, queue_delay_max: Duration::MAX, ..LIMITS };
    let (batcher, mut batches) = start(limits, 3);
    let carrying_out = tokio::spawn(async move {
        while let Some(beginning) = batches.beginning.recv().await {
            beginning.proceed().await.succeed();
        }
    });
    let batcher = Arc::new(batcher);
    let askers = (0..10_000).map(|request| {
        let batcher = batcher.clone();
        tokio::spawn(async move { (request, batcher.submit(request).await) })
    });
    for answer in within(join_all(askers)).await {
        let (request, answer) = answer.unwrap();
        assert_eq!(answer, Ok(answer_to(request)));
    }
    within(batcher.close()).await;
    within(carrying_out).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_failed_runs_an_empty_batch_a_second_until_one_succeeds() {
    let limits = BatchLimits { recovery_probe: Some(SECOND), ..LIMITS };
    let (batcher, mut batches) = start(limits, 1);
    let answer = send(&batcher, 1);
    let failed = Instant::now();
    batches.next().await.fail();
    assert_eq!(within(answer).await, Err(StoreError::Unavailable));
    assert!(batcher.is_failing());
    for seconds in 1..=3 {
        let probe = batches.next().await;
        assert_eq!(probe.requests, [0; 0]);
        assert_eq!(failed.elapsed(), seconds * SECOND);
        if seconds < 3 {
            probe.fail();
        } else {
            probe.succeed();
        }
        assert!(batcher.is_failing());
    }
    // Requests do not wait for a probe, and after one that succeeds there is none.
    assert!(timeout(PATIENCE, batches.beginning.recv()).await.is_err());
    assert!(!batcher.is_failing());
    assert_eq!(batches.metrics.errors.get(), 1);
    assert_eq!(batches.outage.duration(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_while_a_worker_probes_joins_the_probe() {
    let limits = BatchLimits { recovery_probe: Some(SECOND), ..LIMITS };
    let (batcher, mut batches) = start(limits, 1);
    let answer = send(&batcher, 1);
    batches.next().await.fail();
    assert!(within(answer).await.is_err());
    let probe = batches.begin().await;
    let answer = send(&batcher, 2);
    let batch = probe.proceed().await;
    assert_eq!(batch.requests, [2]);
    batch.succeed();
    assert_eq!(within(answer).await, Ok(answer_to(2)));
    assert!(!batcher.is_failing());
}
