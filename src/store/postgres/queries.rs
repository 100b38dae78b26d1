//! Executes a batch as one statement.

use std::collections::HashMap;

use jiff::civil::Date;
use tokio::time::Instant;
use tokio_postgres::Row;

use super::client::ReconnectingClient;
use super::replica::Replica;
use crate::domain::{DateOfBirth, Username};
use crate::store::User;
use crate::store::batch::{Backend, BatchError};

/// Finds users; unknown ones have no row.
pub(super) const FIND: &str =
    "select username, date_of_birth from users where username = any($1::text[])";

/// Saves users, none of them twice. An unchanged date writes no new version of its row, but
/// `do update` locks the row, so the commit waits for synchronous standbys: an earlier
/// attempt may have saved this date and died before it reached them.
pub(super) const SAVE: &str = "insert into users (username, date_of_birth)
    select * from unnest($1::text[], $2::date[])
    on conflict (username) do update set date_of_birth = excluded.date_of_birth
    where users.date_of_birth <> excluded.date_of_birth";

/// Saves users, none of them twice, except those that exist.
pub(super) const ADD: &str = "insert into users (username, date_of_birth)
    select * from unnest($1::text[], $2::date[])
    on conflict (username) do nothing";

/// Executes saves.
pub(super) struct Writer(pub ReconnectingClient);

/// Executes lookups.
pub(super) struct Reader {
    pub primary: ReconnectingClient,
    /// Asked first, if there is one.
    pub replica: Option<Replica>,
}

impl Backend<User, ()> for Writer {
    async fn run(&mut self, saves: Vec<User>, deadline: Instant) -> Result<Vec<()>, BatchError> {
        let answers = vec![(); saves.len()];
        let (usernames, dates): (Vec<&str>, Vec<Date>) = last_of_each(&saves).into_iter().unzip();
        self.0.query(&[&usernames, &dates], deadline).await?;
        Ok(answers)
    }

    async fn close(self) {}
}

impl Backend<Username, Option<DateOfBirth>> for Reader {
    async fn run(
        &mut self,
        usernames: Vec<Username>,
        deadline: Instant,
    ) -> Result<Vec<Option<DateOfBirth>>, BatchError> {
        let names: Vec<&str> = usernames.iter().map(Username::as_str).collect();
        let from_replica = match &mut self.replica {
            Some(replica) => replica.find(&names).await,
            None => None,
        };
        let rows = match from_replica {
            Some(rows) => rows,
            None => self.primary.query(&[&names], deadline).await?,
        };
        Ok(read(&rows, &names)?)
    }

    async fn close(self) {}
}

/// Each user with the date saved last, in the order of names: a statement may change a row
/// only once, and statements that lock rows in the same order do not deadlock.
fn last_of_each(saves: &[User]) -> Vec<(&str, Date)> {
    let mut saves: Vec<_> =
        saves.iter().rev().map(|save| (save.username.as_str(), save.born.date())).collect();
    // The sort is stable and the saves are reversed, so a user's last save comes first.
    saves.sort_by_key(|(username, _)| *username);
    saves.dedup_by_key(|(username, _)| *username);
    saves
}

/// The date of birth of each of `usernames`, if `rows` has it.
pub(super) fn read(
    rows: &[Row],
    usernames: &[&str],
) -> Result<Vec<Option<DateOfBirth>>, tokio_postgres::Error> {
    let mut known = HashMap::<&str, _>::with_capacity(rows.len());
    for row in rows {
        known.insert(row.try_get(0)?, DateOfBirth::from_stored(row.try_get(1)?));
    }
    Ok(usernames.iter().map(|username| known.get(username).copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn one_save_of_each_user_is_left_in_the_order_of_their_names() {
        let save = |name, year| User {
            username: Username::parse(name).unwrap(),
            born: DateOfBirth::from_stored(date(year, 5, 20)),
        };
        let saves = [save("b", 1), save("a", 2), save("b", 3), save("c", 4), save("a", 5)];
        let left = [("a", date(5, 5, 20)), ("b", date(3, 5, 20)), ("c", date(4, 5, 20))];
        assert_eq!(last_of_each(&saves), left);
    }
}
