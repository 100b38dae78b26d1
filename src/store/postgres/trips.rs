//! What a trip to Postgres is: one statement for all who take part.

use std::collections::HashMap;

use jiff::civil::Date;
use tokio::time::Instant;
use tokio_postgres::Row;

use super::link::Link;
use super::replica::Replica;
use crate::domain::{DateOfBirth, Username};
use crate::store::User;
use crate::store::batch::{Backend, BatchError};

/// Finds those of some users that are known.
pub(super) const FIND: &str =
    "select username, date_of_birth from users where username = any($1::text[])";

/// Saves users, none of them twice. A date that stays the same makes no new
/// version of its row, but its row is locked: so the commit waits until this date
/// is as safe as any, even if an earlier attempt that saved it was cut off before
/// it had reached the standbys.
pub(super) const SAVE: &str = "insert into users (username, date_of_birth)
    select * from unnest($1::text[], $2::date[])
    on conflict (username) do update set date_of_birth = excluded.date_of_birth
    where users.date_of_birth <> excluded.date_of_birth";

/// Saves users, none of them twice, but leaves those alone that are there.
pub(super) const ADD: &str = "insert into users (username, date_of_birth)
    select * from unnest($1::text[], $2::date[])
    on conflict (username) do nothing";

/// The way of those who save.
pub(super) struct WriteTrips(pub Link);

/// The way of those who find.
pub(super) struct ReadTrips {
    pub primary: Link,
    /// Asked first, where there is one.
    pub replica: Option<Replica>,
}

impl Backend<User, ()> for WriteTrips {
    async fn run(&mut self, saves: Vec<User>, deadline: Instant) -> Result<Vec<()>, BatchError> {
        let answers = vec![(); saves.len()];
        let (usernames, dates): (Vec<&str>, Vec<Date>) = last_of_each(&saves).into_iter().unzip();
        self.0.ask(&[&usernames, &dates], deadline).await?;
        Ok(answers)
    }

    async fn close(self) {}
}

impl Backend<Username, Option<DateOfBirth>> for ReadTrips {
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
            None => self.primary.ask(&[&names], deadline).await?,
        };
        Ok(read(&rows, &names)?)
    }

    async fn close(self) {}
}

/// Each user with the date saved last, in the order of their names: a statement
/// may touch a row once, and two that lock rows in one order do not wait for each
/// other for ever.
fn last_of_each(saves: &[User]) -> Vec<(&str, Date)> {
    let mut saves: Vec<_> =
        saves.iter().rev().map(|save| (save.username.as_str(), save.born.date())).collect();
    // Stable, so of one user's saves the last is now the first.
    saves.sort_by_key(|(username, _)| *username);
    saves.dedup_by_key(|(username, _)| *username);
    saves
}

/// When each of `usernames` was born, if `rows` tell.
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
