//! Copies all users from one database to another, and verifies the result.
//!
//! It can be interrupted and restarted: users that the destination has already are not
//! written again.

use std::fmt::Write;

use anyhow::{Context, bail};
use indicatif::HumanCount;
use sha2::{Digest, Sha256};

use super::progress::Progress;
use crate::cli::CopyPlan;
use crate::domain::{DateOfBirth, Username};
use crate::store::{Bulk, Migrate, OnConflict, User, is_one_file};

/// Users per batch: so many that the cost of a batch does not matter, and a few MiB of memory.
const PAGE_USERS: u32 = 10_000;

/// Carries out `plan`. Returns a sentence about the result.
pub async fn copy(plan: CopyPlan) -> anyhow::Result<String> {
    let CopyPlan { from, to, on_conflict, postgres_ca_file: ca_file } = plan;
    if is_one_file(&from, &to)? {
        bail!("--from and --to name the same file: name another one to copy to");
    }
    let mut from = Bulk::open(&from, ca_file.clone(), Migrate::Check)
        .await
        .context("cannot open the database to copy from")?;
    let mut to = Bulk::open(&to, ca_file, Migrate::Auto)
        .await
        .context("cannot open the database to copy to")?;
    let users = from.count().await.context("cannot count the users")?;

    let progress = Progress::start("copied", "users", Some(users));
    let mut pages = Pages::new(&mut from);
    while let Some(page) = pages.next().await? {
        to.save(&page, on_conflict).await.context("cannot write users")?;
        progress.advance(page.len() as u64);
    }

    let progress = Progress::start("verified", "users", Some(users));
    let mut comparison = Comparison::default();
    let mut pages = Pages::new(&mut from);
    while let Some(page) = pages.next().await? {
        let found = to.find(&page).await.context("cannot read back users")?;
        comparison.add(&page, &found);
        progress.advance(page.len() as u64);
    }
    let there = to.count().await.context("cannot count the users of the destination")?;
    comparison.conclude(on_conflict, there)
}

/// The users of a database, page by page.
struct Pages<'a> {
    database: &'a mut Bulk,
    last: Option<Username>,
}

impl<'a> Pages<'a> {
    fn new(database: &'a mut Bulk) -> Pages<'a> {
        Pages { database, last: None }
    }

    async fn next(&mut self) -> anyhow::Result<Option<Vec<User>>> {
        let page = self.database.page(self.last.as_ref(), PAGE_USERS).await;
        let page = page.context("cannot read users")?;
        let Some(last) = page.last() else { return Ok(None) };
        self.last = Some(last.username.clone());
        Ok(Some(page))
    }
}

/// Compares the two databases.
#[derive(Default)]
struct Comparison {
    users: u64,
    missing: u64,
    different: u64,
    read: Sha256,
    written: Sha256,
}

impl Comparison {
    fn add(&mut self, users: &[User], found: &[Option<DateOfBirth>]) {
        for (User { username, born }, found) in users.iter().zip(found) {
            self.users += 1;
            hash(&mut self.read, username, *born);
            match found {
                Some(found) => {
                    self.different += u64::from(found != born);
                    hash(&mut self.written, username, *found);
                }
                None => self.missing += 1,
            }
        }
    }

    /// `there` is how many users the destination has.
    fn conclude(self, on_conflict: OnConflict, there: u64) -> anyhow::Result<String> {
        let Comparison { missing, different, .. } = self;
        let users = HumanCount(self.users);
        if different > 0 && on_conflict == OnConflict::Keep {
            bail!(
                "{} of {users} users have a different date in the destination, which was kept: \
                 overwrite it with --replace; {} are missing there",
                HumanCount(different),
                HumanCount(missing)
            );
        }
        let [read, written] = [self.read, self.written].map(|hash| hex(&hash.finalize()));
        if read != written {
            bail!(
                "the databases differ because they changed during the copy: {} users are missing \
                 in the destination and {} have a different date; stop the service and copy again",
                HumanCount(missing),
                HumanCount(different)
            );
        }
        // Some may have been erased since they were compared.
        let only_there = match there.saturating_sub(self.users) {
            0 => String::new(),
            number => format!(
                "{} users are only in the destination and stay there: whoever was erased during a \
                 move must be erased from both databases\n",
                HumanCount(number)
            ),
        };
        Ok(format!(
            "{users} users are in both databases, SHA-256 {read}\n{only_there}\
             rates are not copied: load them into the other database with hello-birthday load-rates"
        ))
    }
}

/// Hashes a line per user, which other tools can compute as well: the name, a tab and the
/// date.
fn hash(hash: &mut Sha256, username: &Username, born: DateOfBirth) {
    hash.update(format!("{}\t{}\n", username.as_str(), born.date()));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string has room");
        text
    })
}
