//! Erases people's data at their request.

use std::io::{self, BufRead};

use anyhow::{Context, bail};
use indicatif::HumanCount;

use crate::domain::Username;
use crate::store::{Bulk, Migrate};

use crate::cli::ErasePlan;

/// Users per transaction, so that the service's own saves wait for a moment only.
const BATCH_USERS: usize = 1000;

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
        erased += database.erase(batch).await.context("the erasure is not complete")?;
    }
    let absent = usernames.len() as u64 - erased;
    Ok(format!("erased {} users; {} were not there", HumanCount(erased), HumanCount(absent)))
}

/// The usernames of the arguments, or of the lines of stdin if the only argument is `-`.
fn parse(arguments: Vec<String>) -> anyhow::Result<Vec<Username>> {
    let (what, names) = match &*arguments {
        [argument] if argument == "-" => {
            let lines = io::stdin().lock().lines().collect::<io::Result<Vec<_>>>();
            ("line", lines.context("cannot read stdin")?)
        }
        _ => ("argument", arguments),
    };
    let mut usernames = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate().filter(|(_, name)| !name.trim().is_empty()) {
        match Username::parse(name.trim()) {
            Ok(username) => usernames.push(username),
            Err(error) => bail!("{what} {}: {error}; nobody was erased", index + 1),
        }
    }
    Ok(usernames)
}
