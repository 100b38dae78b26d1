//! Erases people's data at their request.

use std::io::{self, BufRead};

use anyhow::{Context, anyhow, ensure};
use indicatif::HumanCount;

use crate::domain::Username;
use crate::store::{Bulk, Migrate};

use crate::cli::ErasePlan;

/// Users per transaction, so that the service's own saves wait for a moment only.
const BATCH_USERS: usize = 1000;

const INCOMPLETE: &str = "the erasure is not complete";

/// Carries out `plan`. Returns a sentence about the result, without names.
pub async fn erase(plan: ErasePlan) -> anyhow::Result<String> {
    let mut usernames = parse(plan.usernames)?;
    usernames.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    usernames.dedup();
    let mut database = Bulk::open(&plan.database, plan.postgres_ca_file, Migrate::Check)
        .await
        .context("cannot open the database")?;
    let mut erased = 0;
    for batch in usernames.chunks(BATCH_USERS) {
        erased += database.erase(batch).await.context(INCOMPLETE)?;
    }
    database.truncate_log().context(INCOMPLETE)?;
    let absent = usernames.len() as u64 - erased;
    Ok(format!("erased {} users; {} were not there", HumanCount(erased), HumanCount(absent)))
}

/// The usernames of the arguments, or of the lines of stdin if the only argument is `-`. Lines may
/// be empty, but not all of them.
fn parse(arguments: Vec<String>) -> anyhow::Result<Vec<Username>> {
    if arguments != ["-"] {
        let arguments = (1..).zip(&arguments);
        return arguments.map(|(number, name)| parse_one("argument", number, name)).collect();
    }
    let mut usernames = Vec::new();
    for (number, line) in (1..).zip(io::stdin().lock().split(b'\n')) {
        let line = line.context("cannot read stdin")?;
        let line = str::from_utf8(&line)
            .map_err(|_| anyhow!("line {number}: not UTF-8: convert it; nobody was erased"))?;
        if !line.trim().is_empty() {
            usernames.push(parse_one("line", number, line)?);
        }
    }
    ensure!(!usernames.is_empty(), "there is no username on stdin; nobody was erased");
    Ok(usernames)
}

fn parse_one(what: &str, number: u64, name: &str) -> anyhow::Result<Username> {
    let username = Username::parse(name.trim());
    username.map_err(|error| anyhow!("{what} {number}: {error}; nobody was erased"))
}
