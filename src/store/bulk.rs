//! All users of a database, thousands at a time and without its queues: for copying them.

use std::path::PathBuf;

use super::postgres::PostgresBulk;
use super::sqlite::SqliteBulk;
use super::{DatabaseUrl, Migrate, UrlSource, User};
use crate::domain::{DateOfBirth, Username};
use crate::files::file_id;

/// Whether both name one SQLite file. It must not be opened twice: when a process closes a file, it
/// loses all its locks on it (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).
pub fn is_one_file(one: &UrlSource, other: &UrlSource) -> anyhow::Result<bool> {
    let (DatabaseUrl::Sqlite(one), DatabaseUrl::Sqlite(other)) = (one.read()?, other.read()?)
    else {
        return Ok(false);
    };
    // A file that does not exist yet is another one.
    Ok(matches!((file_id(&one.path), file_id(&other.path)), (Ok(one), Ok(other)) if one == other))
}

/// What to do about users that exist already, with another date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    Keep,
    Replace,
}

/// A database, open for copying or erasing. Blocks its caller where that is a file.
pub enum Bulk {
    Sqlite(SqliteBulk),
    Postgres(PostgresBulk),
}

impl Bulk {
    /// Opens the database, creating and migrating it as `migrate` allows.
    /// `ca_file` is as in [`StoreOptions`](super::StoreOptions).
    pub async fn open(
        source: &UrlSource,
        ca_file: Option<PathBuf>,
        migrate: Migrate,
    ) -> anyhow::Result<Bulk> {
        Ok(match source.read()? {
            DatabaseUrl::Sqlite(url) => Bulk::Sqlite(SqliteBulk::open(&url, migrate)?),
            DatabaseUrl::Postgres(_) => {
                Bulk::Postgres(PostgresBulk::open(source.clone(), ca_file, migrate).await?)
            }
        })
    }

    pub async fn count(&mut self) -> anyhow::Result<u64> {
        match self {
            Bulk::Sqlite(sqlite) => Ok(sqlite.count()?),
            Bulk::Postgres(postgres) => Ok(postgres.count().await?),
        }
    }

    /// The first `size` users after `last`, in the order of their names' bytes.
    pub async fn page(&mut self, last: Option<&Username>, size: u32) -> anyhow::Result<Vec<User>> {
        // Every name comes after the empty one.
        let last = last.map_or("", Username::as_str);
        match self {
            Bulk::Sqlite(sqlite) => Ok(sqlite.page(last, size)?),
            Bulk::Postgres(postgres) => Ok(postgres.page(last, size).await?),
        }
    }

    /// Finds when `users` were born; the dates in `users` do not matter.
    pub async fn find(&mut self, users: &[User]) -> anyhow::Result<Vec<Option<DateOfBirth>>> {
        match self {
            Bulk::Sqlite(sqlite) => Ok(sqlite.find(users)?),
            Bulk::Postgres(postgres) => Ok(postgres.find(users).await?),
        }
    }

    /// Erases those of `usernames` that exist, all or none, and returns how many did.
    pub async fn erase(&mut self, usernames: &[Username]) -> anyhow::Result<u64> {
        match self {
            Bulk::Sqlite(sqlite) => Ok(sqlite.erase(usernames)?),
            Bulk::Postgres(postgres) => Ok(postgres.erase(usernames).await?),
        }
    }

    /// Sees to it that no log of a file holds who was erased.
    pub fn truncate_log(&self) -> anyhow::Result<()> {
        match self {
            Bulk::Sqlite(sqlite) => Ok(sqlite.truncate_log()?),
            Bulk::Postgres(_) => Ok(()),
        }
    }

    /// Saves `users`, all or none. They must have different names.
    pub async fn save(&mut self, users: &[User], on_conflict: OnConflict) -> anyhow::Result<()> {
        match self {
            Bulk::Sqlite(sqlite) => Ok(sqlite.save(users, on_conflict)?),
            Bulk::Postgres(postgres) => Ok(postgres.save(users, on_conflict).await?),
        }
    }
}
