use std::path::PathBuf;

use jiff::civil::Date;
use tokio_postgres::error::SqlState;

use super::connect::{Connection, Connector};
use super::error::PostgresError;
use super::migrate::migrate;
use super::queries::{ADD, FIND, SAVE, read};
use super::tls::Tls;
use crate::domain::{DateOfBirth, Username};
use crate::store::{Migrate, OnConflict, UrlSource, User};

/// A connection for copying.
pub struct PostgresBulk(Connection);

impl PostgresBulk {
    pub async fn open(
        source: UrlSource,
        ca_file: Option<PathBuf>,
        how: Migrate,
    ) -> Result<PostgresBulk, PostgresError> {
        let tls = Tls::new(ca_file.as_deref())?;
        let connector = Connector::new(source, tls);
        migrate(&connector, how).await?;
        Ok(PostgresBulk(connector.connect().await?))
    }

    pub async fn count(&self) -> Result<u64, PostgresError> {
        let row = self.0.client.query_one("select count(*) from users", &[]).await?;
        Ok(row.try_get::<_, i64>(0)?.unsigned_abs())
    }

    pub async fn page(&self, last: &str, size: u32) -> Result<Vec<User>, PostgresError> {
        let page = "select username, date_of_birth from users
            where username > $1 order by username limit $2";
        let rows = self.0.client.query(page, &[&last, &i64::from(size)]).await?;
        let user = |row: &tokio_postgres::Row| {
            let username = Username::from_stored(row.try_get(0)?);
            Ok(User { username, born: DateOfBirth::from_stored(row.try_get(1)?) })
        };
        rows.iter().map(user).collect()
    }

    pub async fn find(&self, users: &[User]) -> Result<Vec<Option<DateOfBirth>>, PostgresError> {
        let names = names(users);
        let rows = self.0.client.query(FIND, &[&names]).await?;
        Ok(read(&rows, &names)?)
    }

    pub async fn save(&self, users: &[User], on_conflict: OnConflict) -> Result<(), PostgresError> {
        let sql = match on_conflict {
            OnConflict::Keep => ADD,
            OnConflict::Replace => SAVE,
        };
        let dates: Vec<Date> = users.iter().map(|user| user.born.date()).collect();
        self.0.client.execute(sql, &[&names(users), &dates]).await?;
        Ok(())
    }

    pub async fn erase(&self, usernames: &[Username]) -> Result<u64, PostgresError> {
        let names: Vec<&str> = usernames.iter().map(Username::as_str).collect();
        let erase = "delete from users where username = any($1::text[])";
        self.0.client.execute(erase, &[&names]).await.map_err(|error| {
            if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
                return PostgresError::MayNotErase(error);
            }
            error.into()
        })
    }
}

fn names(users: &[User]) -> Vec<&str> {
    users.iter().map(|user| user.username.as_str()).collect()
}
