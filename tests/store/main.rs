//! What every database promises. Another one joins with an implementation of
//! [`Database`] and a line at the end.
//!
//! Each test has one event loop, so nothing happens between two requests that
//! it sends without waiting, and they queue in that order.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../postgres/cluster.rs"]
mod cluster;
#[path = "../patience.rs"]
mod patience;

use std::fmt::Debug;
use std::fs;
use std::future::Future;
use std::path::PathBuf;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, join_all, try_join_all};
use hello_birthday::domain::{DateOfBirth, Username};
use hello_birthday::metrics::Metrics;
use hello_birthday::store::{
    BATCH_MAX, JournalChoice, QUEUE_MAX, Store, StoreError, StoreOptions, UrlSource,
};
use jiff::civil::date;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::time::timeout;

use patience::PATIENCE;

/// A new database, and what may happen to it from outside.
trait Database {
    /// Keeps all others from writing until it is dropped. They may read.
    type WriteLock;

    async fn open_store(&self, metrics: &Metrics) -> anyhow::Result<Store>;

    async fn lock_writes(&self) -> Self::WriteLock;

    /// Makes every batch fail until `repair`.
    async fn break_down(&self);

    async fn repair(&self);

    /// Makes every batch fail that saves this user.
    async fn refuse(&self, username: &Username);

    /// What is on disk; it changes with every write.
    async fn on_disk(&self) -> Vec<u8>;

    /// How many steps the schema has taken.
    async fn migrations(&self) -> u32;

    /// How many batches execute a save that waits for another's lock, and those behind it.
    fn batches_to_save_behind_a_lock(&self) -> usize;
}

/// A store and what it counts, as one process has them.
struct Instance {
    store: Store,
    metrics: Metrics,
}

type Answer<'a, T> = LocalBoxFuture<'a, Result<T, StoreError>>;

impl Instance {
    async fn open(database: &impl Database) -> Instance {
        let metrics = Metrics::new();
        let store = within(database.open_store(&metrics)).await.expect("the store opens");
        Instance { store, metrics }
    }

    /// Queues a save; what is returned waits for its answer.
    fn send_save(&self, username: Username, born: DateOfBirth) -> Answer<'_, ()> {
        let mut answer = self.store.save(username, born).boxed_local();
        assert_eq!(answer.as_mut().now_or_never(), None, "answered before any batch");
        answer
    }

    /// Sends a save and waits until its batch runs.
    async fn set_out(&self, username: Username, born: DateOfBirth) -> Answer<'_, ()> {
        let answer = self.send_save(username, born);
        let setting_out = async {
            while self.metric("store_queue_length", "write") > 0 {
                tokio::task::yield_now().await;
            }
        };
        within(setting_out).await;
        answer
    }

    async fn save(&self, username: Username, born: DateOfBirth) -> Result<(), StoreError> {
        within(self.store.save(username, born)).await
    }

    async fn find(&self, username: Username) -> Result<Option<DateOfBirth>, StoreError> {
        within(self.store.find(username)).await
    }

    async fn close(self) {
        within(self.store.close()).await;
    }

    /// The value of a metric of `read` or `write` batches.
    fn metric(&self, name: &str, kind: &str) -> usize {
        let series = format!("hello_birthday_{name}{{kind=\"{kind}\"");
        let metrics = self.metrics.render().unwrap();
        let line = metrics.lines().find(|line| line.starts_with(&series)).expect("a known metric");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// How many batches there were, and how many requests they executed.
    fn batches(&self, kind: &str) -> (usize, usize) {
        (
            self.metric("store_batch_requests_count", kind),
            self.metric("store_batch_requests_sum", kind),
        )
    }
}

async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(PATIENCE, waiting).await.expect("what is waited for happens")
}

/// Every request is refused, and none waits for the database.
async fn expect_refusals<T: Debug>(
    answers: impl IntoIterator<Item = impl Future<Output = Result<T, StoreError>>>,
) {
    for answer in within(join_all(answers)).await {
        let refused = matches!(answer, Err(StoreError::DeadlinePassed | StoreError::Unavailable));
        assert!(refused, "{answer:?}");
    }
}

/// Another user for each number.
fn user(number: usize) -> Username {
    let letter = |digit: char| char::from(b'a' + digit as u8 - b'0');
    Username::parse(&number.to_string().chars().map(letter).collect::<String>()).unwrap()
}

fn born(year: i16) -> DateOfBirth {
    DateOfBirth::from_stored(date(year, 5, 20))
}

async fn a_saved_user_is_found_and_no_other(database: impl Database) {
    let instance = Instance::open(&database).await;
    assert_eq!(instance.find(user(1)).await, Ok(None));
    assert_eq!(instance.save(user(1), born(1990)).await, Ok(()));
    assert_eq!(instance.find(user(1)).await, Ok(Some(born(1990))));
    assert_eq!(instance.find(user(2)).await, Ok(None));
}

async fn usernames_and_dates_come_back_as_they_were_saved(database: impl Database) {
    let instance = Instance::open(&database).await;
    let longest = "𠮷".repeat(Username::LEN_MAX);
    let names =
        ["Jose", "jose", "José", "JOSÉ", "ΣΑΣ", "σας", "σασ", "Straße", "Strasse", &longest];
    let users: Vec<_> = names.iter().map(|name| Username::parse(name).unwrap()).collect();
    let dates = [date(1, 1, 1), date(987, 6, 5), date(2000, 2, 29), date(9999, 12, 31)];
    let born = |at: usize| DateOfBirth::from_stored(dates[at % dates.len()]);
    for (at, user) in users.iter().enumerate() {
        assert_eq!(instance.save(user.clone(), born(at)).await, Ok(()), "name {at}");
    }
    for (at, user) in users.iter().enumerate() {
        assert_eq!(instance.find(user.clone()).await, Ok(Some(born(at))), "name {at}");
    }
}

async fn a_later_save_replaces_an_earlier_one(database: impl Database) {
    let instance = Instance::open(&database).await;
    for year in [1990, 2001, 1985] {
        assert_eq!(instance.save(user(1), born(year)).await, Ok(()));
        assert_eq!(instance.find(user(1)).await, Ok(Some(born(year))));
    }
}

async fn an_unchanged_date_writes_nothing(database: impl Database) {
    let instance = Instance::open(&database).await;
    assert_eq!(instance.save(user(1), born(1990)).await, Ok(()));
    let before = database.on_disk().await;
    assert_eq!(instance.save(user(1), born(1990)).await, Ok(()));
    assert!(database.on_disk().await == before, "the same date was written");
    assert_eq!(instance.save(user(1), born(1991)).await, Ok(()));
    assert!(database.on_disk().await != before, "another date was not written");
}

async fn the_last_of_two_saves_in_one_batch_wins(database: impl Database) {
    let instance = Instance::open(&database).await;
    for (round, years) in [(1, [1990, 2001]), (2, [2001, 1990]), (3, [1985, 1990])] {
        let saves = years.map(|year| instance.send_save(user(1), born(year)));
        assert_eq!(within(join_all(saves)).await, [Ok(()), Ok(())]);
        assert_eq!(instance.batches("write"), (round, 2 * round), "they shared no batch");
        assert_eq!(instance.find(user(1)).await, Ok(Some(born(years[1]))), "round {round}");
    }
}

async fn saves_that_queue_during_a_batch_share_one(database: impl Database) {
    let instance = Instance::open(&database).await;
    let lock = database.lock_writes().await;
    let first = instance.set_out(user(0), born(1990)).await;
    let many: Vec<_> = (1..=500).map(|it| instance.send_save(user(it), born(1990))).collect();
    assert_eq!(instance.metric("store_queue_length", "write"), 500);
    drop(lock);
    assert_eq!(within(first).await, Ok(()));
    assert!(within(try_join_all(many)).await.is_ok());
    assert_eq!(instance.batches("write"), (database.batches_to_save_behind_a_lock(), 501));
}

async fn finds_that_wait_together_share_a_batch(database: impl Database) {
    let instance = Instance::open(&database).await;
    assert_eq!(instance.save(user(7), born(1990)).await, Ok(()));
    let many = (0..500).map(|it| instance.store.find(user(it)));
    let found = within(join_all(many)).await;
    let known: Vec<_> = (0..500).filter(|it| found[*it] != Ok(None)).collect();
    assert_eq!((known, found[7]), (vec![7], Ok(Some(born(1990)))));
    assert_eq!(instance.batches("read"), (1, 500));
}

async fn a_failing_batch_fails_all_its_requests_and_saves_nobody(database: impl Database) {
    let instance = Instance::open(&database).await;
    database.refuse(&user(7)).await;
    assert_eq!(instance.save(user(0), born(1990)).await, Ok(()), "the batch before fails too");
    let failing: Vec<_> = (1..=10).map(|it| instance.send_save(user(it), born(1990))).collect();
    assert_eq!(within(join_all(failing)).await, [Err(StoreError::Unavailable); 10]);
    assert_eq!(instance.batches("write"), (2, 11));
    assert_eq!(instance.metric("store_errors_total", "write"), 1);
    for it in (1..=10).filter(|it| *it != 7) {
        assert_eq!(instance.find(user(it)).await, Ok(None), "user {it} was saved");
        assert_eq!(instance.save(user(it), born(1991)).await, Ok(()), "user {it} alone");
        assert_eq!(instance.find(user(it)).await, Ok(Some(born(1991))), "user {it} alone");
    }
}

async fn a_database_that_comes_back_needs_no_restart(database: impl Database) {
    let instance = Instance::open(&database).await;
    for year in [1990, 1991] {
        database.break_down().await;
        assert_eq!(instance.save(user(1), born(year)).await, Err(StoreError::Unavailable));
        assert_eq!(instance.find(user(1)).await, Err(StoreError::Unavailable));
        assert_eq!(within(instance.store.ping()).await, Err(StoreError::Unavailable));
        database.repair().await;
        assert_eq!(within(instance.store.ping()).await, Ok(()));
        assert_eq!(instance.save(user(1), born(year)).await, Ok(()));
        assert_eq!(instance.find(user(1)).await, Ok(Some(born(year))));
    }
}

async fn a_full_queue_refuses_at_once_and_serves_the_admitted(database: impl Database) {
    let instance = Instance::open(&database).await;
    let lock = database.lock_writes().await;
    let first = instance.set_out(user(0), born(1990)).await;
    let admitted: Vec<_> =
        (1..=QUEUE_MAX).map(|it| instance.send_save(user(it), born(1990))).collect();
    let refused = instance.store.save(user(QUEUE_MAX + 1), born(1990));
    assert_eq!(refused.now_or_never(), Some(Err(StoreError::Overloaded)));
    let overloaded = r#"store_rejected_total{kind="write",reason="overloaded"} 1"#;
    assert!(instance.metrics.render().unwrap().contains(overloaded), "it was not counted");

    drop(lock);
    assert_eq!(within(first).await, Ok(()));
    assert!(within(try_join_all(admitted)).await.is_ok());
    assert_eq!(instance.batches("write"), (1 + QUEUE_MAX.div_ceil(BATCH_MAX.get()), 1 + QUEUE_MAX));
    assert_eq!(instance.find(user(QUEUE_MAX)).await, Ok(Some(born(1990))));
    assert_eq!(instance.find(user(QUEUE_MAX + 1)).await, Ok(None));
}

async fn no_save_waits_for_a_lock_beyond_its_deadline(database: impl Database) {
    let instance = Instance::open(&database).await;
    let lock = database.lock_writes().await;
    let mut answers = vec![instance.set_out(user(0), born(1990)).await];
    answers.extend((1..=10).map(|it| instance.send_save(user(it), born(1990))));
    expect_refusals(answers).await;
    assert_eq!(instance.metric("store_queue_length", "write"), 0);
    drop(lock);
    assert_eq!(instance.save(user(1), born(1991)).await, Ok(()));
    assert_eq!(instance.find(user(1)).await, Ok(Some(born(1991))));
}

async fn finds_and_pings_need_no_write_lock(database: impl Database) {
    let instance = Instance::open(&database).await;
    assert_eq!(instance.save(user(1), born(1990)).await, Ok(()));
    let lock = database.lock_writes().await;
    let waiting = instance.set_out(user(2), born(1990)).await;
    assert_eq!(instance.find(user(1)).await, Ok(Some(born(1990))));
    assert_eq!(within(instance.store.ping()).await, Ok(()));
    drop(lock);
    assert_eq!(within(waiting).await, Ok(()));
}

async fn closing_carries_out_what_waits_and_refuses_the_rest(database: impl Database) {
    let instance = Instance::open(&database).await;
    let lock = database.lock_writes().await;
    let mut saves = vec![instance.set_out(user(0), born(1990)).await];
    saves.extend((1..=10).map(|it| instance.send_save(user(it), born(1990))));
    let mut closing = instance.store.close().boxed_local();
    assert_eq!(closing.as_mut().now_or_never(), None, "closed before the saves are carried out");
    drop(lock);
    within(closing).await;
    assert!(within(try_join_all(saves)).await.is_ok());
    assert_eq!(instance.save(user(1), born(1991)).await, Err(StoreError::Closed));
    assert_eq!(instance.find(user(1)).await, Err(StoreError::Closed));
    assert_eq!(within(instance.store.ping()).await, Err(StoreError::Closed));

    let reopened = Instance::open(&database).await;
    for it in 0..=10 {
        assert_eq!(reopened.find(user(it)).await, Ok(Some(born(1990))), "user {it}");
    }
}

async fn what_was_saved_is_there_after_reopening(database: impl Database) {
    let closed = Instance::open(&database).await;
    assert_eq!(closed.save(user(1), born(1990)).await, Ok(()));
    closed.close().await;
    let abandoned = Instance::open(&database).await;
    assert_eq!(abandoned.save(user(2), born(1991)).await, Ok(()));
    drop(abandoned);
    let reopened = Instance::open(&database).await;
    assert_eq!(reopened.find(user(1)).await, Ok(Some(born(1990))));
    assert_eq!(reopened.find(user(2)).await, Ok(Some(born(1991))));
}

async fn instances_see_what_the_others_saved_at_once(database: impl Database) {
    let instances = [Instance::open(&database).await, Instance::open(&database).await];
    for (year, [one, other]) in (1990..2000).zip([[0, 1], [1, 0]].into_iter().cycle()) {
        assert_eq!(instances[one].save(user(1), born(year)).await, Ok(()));
        assert_eq!(instances[other].find(user(1)).await, Ok(Some(born(year))));
    }
    let saves = (0..1000).map(|it| instances[it % 2].store.save(user(it), born(1990)));
    assert!(within(try_join_all(saves)).await.is_ok());
    for instance in instances {
        let all = (0..1000).map(|it| instance.store.find(user(it)));
        let found = within(join_all(all)).await;
        assert!(found.into_iter().all(|found| found == Ok(Some(born(1990)))));
        instance.close().await;
    }
}

async fn instances_that_save_the_same_users_at_once_do_not_fail_each_other(
    database: impl Database,
) {
    let instances = [Instance::open(&database).await, Instance::open(&database).await];
    let upwards: Vec<_> = (0..BATCH_MAX.get()).collect();
    let downwards = upwards.iter().rev().copied().collect();
    let saving = instances.iter().zip([upwards, downwards]).map(async |(instance, users)| {
        for year in 1990..2000 {
            let saves = users.iter().map(|it| instance.store.save(user(*it), born(year)));
            try_join_all(saves).await?;
        }
        Ok::<_, StoreError>(())
    });
    assert_eq!(within(join_all(saving)).await, [Ok(()), Ok(())]);
    for instance in instances {
        let metrics = instance.metrics.render().unwrap();
        let retries = "hello_birthday_store_retries_total{kind=\"write\"}";
        let line = metrics.lines().find(|line| line.starts_with(retries));
        assert!(line.is_none_or(|line| line.ends_with(" 0")), "{line:?}");
        let all = (0..BATCH_MAX.get()).map(|it| instance.store.find(user(it)));
        let found = within(join_all(all)).await;
        assert!(found.into_iter().all(|found| found == Ok(Some(born(1999)))));
    }
}

async fn instances_that_start_at_once_migrate_once(database: impl Database) {
    let instances = join_all((0..10).map(|_| Instance::open(&database))).await;
    assert_eq!(database.migrations().await, 5);
    for (it, instance) in instances.iter().enumerate() {
        assert_eq!(instance.save(user(it), born(1990)).await, Ok(()), "instance {it}");
    }
    for it in 0..instances.len() {
        assert_eq!(instances[0].find(user(it)).await, Ok(Some(born(1990))), "instance {it}");
    }
}

/// A SQLite file in a folder of its own.
struct Sqlite {
    folder: TempDir,
    journal: JournalChoice,
}

impl Sqlite {
    fn new(journal: JournalChoice) -> Sqlite {
        Sqlite { folder: TempDir::new().unwrap(), journal }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("users.db")
    }

    fn connect(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        connection
    }
}

impl Database for Sqlite {
    type WriteLock = Connection;

    async fn open_store(&self, metrics: &Metrics) -> anyhow::Result<Store> {
        let options = StoreOptions { sqlite_journal: self.journal, ..StoreOptions::default() };
        let url = format!("sqlite:{}", self.path().display());
        Store::open(&UrlSource::Text(url), options, metrics).await
    }

    async fn lock_writes(&self) -> Connection {
        let connection = self.connect();
        connection.execute_batch("begin immediate").unwrap();
        connection
    }

    async fn break_down(&self) {
        self.connect().execute_batch("alter table users rename to lost").unwrap();
    }

    async fn repair(&self) {
        self.connect().execute_batch("alter table lost rename to users").unwrap();
    }

    async fn refuse(&self, username: &Username) {
        let username = username.as_str();
        let trigger = format!(
            "create trigger refuse before insert on users when new.username = '{username}'
             begin select raise(abort, 'the test wants it so'); end"
        );
        self.connect().execute_batch(&trigger).unwrap();
    }

    async fn on_disk(&self) -> Vec<u8> {
        let files = ["users.db", "users.db-wal", "users.db-journal"];
        let paths = files.map(|file| self.folder.path().join(file));
        paths.iter().filter(|path| path.exists()).flat_map(|path| fs::read(path).unwrap()).collect()
    }

    async fn migrations(&self) -> u32 {
        let count = "select count(*) from schema_versions";
        self.connect().query_row(count, [], |row| row.get(0)).unwrap()
    }

    fn batches_to_save_behind_a_lock(&self) -> usize {
        match self.journal {
            // A batch accepts requests until it has the lock.
            JournalChoice::Truncate => 1,
            _ => 2,
        }
    }
}

async fn a_save_that_expired_while_it_waited_for_a_lock_is_not_carried_out(database: Sqlite) {
    let instance = Instance::open(&database).await;
    let lock = database.lock_writes().await;
    // The first batch gives up before the second one's deadline, and the second does not.
    let answers =
        [instance.set_out(user(1), born(1990)).await, instance.send_save(user(2), born(1990))];
    expect_refusals(answers).await;
    drop(lock);
    // Is carried out after what was under way.
    assert_eq!(instance.save(user(3), born(1990)).await, Ok(()));
    assert_eq!(instance.find(user(2)).await, Ok(None));
}

async fn a_file_that_was_moved_away_loses_nothing(database: Sqlite) {
    let instance = Instance::open(&database).await;
    assert_eq!(instance.save(user(1), born(1990)).await, Ok(()));
    let elsewhere = database.folder.path().join("elsewhere");
    fs::rename(database.path(), &elsewhere).unwrap();
    assert_eq!(instance.save(user(2), born(1990)).await, Err(StoreError::Unavailable));
    assert_eq!(instance.save(user(1), born(1991)).await, Err(StoreError::Unavailable));
    assert_eq!(instance.find(user(1)).await, Err(StoreError::Unavailable));
    assert!(!database.path().exists(), "an empty database took its place");

    fs::rename(&elsewhere, database.path()).unwrap();
    assert_eq!(instance.find(user(1)).await, Ok(Some(born(1990))));
    assert_eq!(instance.find(user(2)).await, Ok(None));
    assert_eq!(instance.save(user(2), born(1991)).await, Ok(()));
    assert_eq!(instance.find(user(2)).await, Ok(Some(born(1991))));
}

async fn a_closed_file_holds_all_that_was_saved(database: Sqlite) {
    // Often, and soon after the start: a connection that is being opened at the close must not
    // leave the write-ahead log behind.
    for number in 0..200 {
        let instance = Instance::open(&database).await;
        assert_eq!(instance.save(user(number), born(1990)).await, Ok(()));
        instance.close().await;
        let copy = Sqlite::new(database.journal);
        fs::copy(database.path(), copy.path()).unwrap();
        let found = Instance::open(&copy).await.find(user(number)).await;
        assert_eq!(found, Ok(Some(born(1990))), "round {number}");
    }
}

async fn finds_are_answered_by_their_deadline_while_others_lock_the_file(database: Sqlite) {
    let instance = Instance::open(&database).await;
    assert_eq!(instance.save(user(1), born(1990)).await, Ok(()));
    let lock = database.connect();
    lock.execute_batch("begin exclusive").unwrap();
    // The second time there is no connection left from before.
    for _ in 0..2 {
        expect_refusals((0..=10).map(|it| instance.store.find(user(it)))).await;
    }
    drop(lock);
    assert_eq!(instance.find(user(1)).await, Ok(Some(born(1990))));
}

async fn a_commit_that_fails_saves_nobody(database: Sqlite) {
    let instance = Instance::open(&database).await;
    let reader = database.connect();
    reader.execute_batch("begin; select * from users").unwrap();
    assert_eq!(instance.save(user(1), born(1990)).await, Err(StoreError::Unavailable));
    assert_eq!(instance.find(user(1)).await, Ok(None));
    drop(reader);
    assert_eq!(instance.save(user(1), born(1991)).await, Ok(()));
    assert_eq!(instance.find(user(1)).await, Ok(Some(born(1991))));
}

/// A database in a server of the tests.
struct Postgres {
    url: String,
}

impl Postgres {
    fn new() -> Postgres {
        Postgres { url: cluster::shared().new_patient_database() }
    }

    fn execute(&self, sql: &str) -> String {
        cluster::execute(&self.url, sql)
    }
}

impl Database for Postgres {
    type WriteLock = cluster::Session;

    async fn open_store(&self, metrics: &Metrics) -> anyhow::Result<Store> {
        let source = UrlSource::Text(self.url.clone());
        Store::open(&source, StoreOptions::default(), metrics).await
    }

    async fn lock_writes(&self) -> cluster::Session {
        let mut session = cluster::Session::open(&self.url);
        session.execute("begin; lock table users in share row exclusive mode");
        session
    }

    async fn break_down(&self) {
        self.execute("alter table users rename to lost");
    }

    async fn repair(&self) {
        self.execute("alter table lost rename to users");
    }

    async fn refuse(&self, username: &Username) {
        let username = username.as_str();
        self.execute(&format!(
            "create function refuse() returns trigger language plpgsql
             as $$ begin raise exception 'the test wants it so'; end $$;
             create trigger refuse before insert on users
             for each row when (new.username = '{username}') execute function refuse()"
        ));
    }

    async fn on_disk(&self) -> Vec<u8> {
        // A new version of a row is elsewhere, and by another transaction.
        self.execute("select username, date_of_birth, ctid, xmin from users").into()
    }

    async fn migrations(&self) -> u32 {
        self.execute("select count(*) from schema_versions where version > 0")
            .trim()
            .parse()
            .unwrap()
    }

    fn batches_to_save_behind_a_lock(&self) -> usize {
        // The statement that waits has its rows.
        2
    }
}

/// Makes a test of each promise.
macro_rules! test {
    ($new:expr; $($promise:ident)*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                super::$promise($new).await;
            }
        )*
    };
}

/// Tests the promises that every database makes.
macro_rules! test_promises {
    ($new:expr) => {
        test! { $new;
            a_saved_user_is_found_and_no_other
            usernames_and_dates_come_back_as_they_were_saved
            a_later_save_replaces_an_earlier_one
            an_unchanged_date_writes_nothing
            the_last_of_two_saves_in_one_batch_wins
            saves_that_queue_during_a_batch_share_one
            finds_that_wait_together_share_a_batch
            a_failing_batch_fails_all_its_requests_and_saves_nobody
            a_database_that_comes_back_needs_no_restart
            a_full_queue_refuses_at_once_and_serves_the_admitted
            no_save_waits_for_a_lock_beyond_its_deadline
            finds_and_pings_need_no_write_lock
            closing_carries_out_what_waits_and_refuses_the_rest
            what_was_saved_is_there_after_reopening
            instances_see_what_the_others_saved_at_once
            instances_that_save_the_same_users_at_once_do_not_fail_each_other
            instances_that_start_at_once_migrate_once
        }
    };
}

/// Tests what only a file promises too.
macro_rules! test_file_promises {
    ($new:expr) => {
        test! { $new;
            a_file_that_was_moved_away_loses_nothing
            a_save_that_expired_while_it_waited_for_a_lock_is_not_carried_out
            a_closed_file_holds_all_that_was_saved
        }
    };
}

mod sqlite_wal {
    use super::{JournalChoice, Sqlite};
    test_promises!(Sqlite::new(JournalChoice::Wal));
    test_file_promises!(Sqlite::new(JournalChoice::Wal));
}

mod sqlite_truncate {
    use super::{JournalChoice, Sqlite};
    test_promises!(Sqlite::new(JournalChoice::Truncate));
    test_file_promises!(Sqlite::new(JournalChoice::Truncate));
    // A write-ahead log keeps readers and writers out of each other's way.
    test! { Sqlite::new(JournalChoice::Truncate);
        finds_are_answered_by_their_deadline_while_others_lock_the_file
        a_commit_that_fails_saves_nobody
    }
}

mod on_postgres {
    use super::Postgres;
    test_promises!(Postgres::new());
}
