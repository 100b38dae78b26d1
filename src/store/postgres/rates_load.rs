//! Loads rates in one transaction, of which readers see nothing until it commits.

use std::path::Path;

use jiff::ToSpan;
use jiff::civil::{Date, date};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Statement};

use super::connect::{Connection, Connector, Values};
use super::error::PostgresError;
use super::migrate::migrate;
use super::tls::Tls;
use crate::domain::rates::Code;
use crate::store::rates::{DailySum, NamedPlace, PlaceKind};
use crate::store::{Migrate, UrlSource};

/// Locks the row until the end, so that loads that begin at once are carried out one by one.
const LOCK: &str = "insert into rates_loads values (1, 1)
    on conflict (id) do update set version = rates_loads.version + 1";

/// A dump may come from a pipe that pauses, as a statement between two others would not.
const NO_IDLE_TIMEOUT: &str = "select set_config(name, '0', true) from pg_settings
    where name = 'idle_in_transaction_session_timeout'";

const ADD_PRICES: &str = "insert into prices (orig_code, dest_code, day, count, sum)
    select * from unnest($1::text[], $2::text[], $3::date[], $4::bigint[], $5::bigint[])
    on conflict (orig_code, dest_code, day) do update set
        count = prices.count + excluded.count, sum = prices.sum + excluded.sum";

/// Rows in a statement: so many that the cost of a statement does not matter, and a MiB of memory.
const ROWS_MAX: usize = 8192;

/// A load under way. Dropping it rolls it back.
pub(crate) struct PostgresRatesLoad {
    connection: Connection,
    add_prices: Option<Statement>,
}

impl PostgresRatesLoad {
    /// Opens the database, migrating it as needed, and begins. Waits for a load under way.
    pub async fn begin(
        source: UrlSource,
        ca_file: Option<&Path>,
    ) -> Result<PostgresRatesLoad, PostgresError> {
        let tls = Tls::new(ca_file)?;
        let connector = Connector::new(source, tls);
        migrate(&connector, Migrate::Auto).await?;
        let load = PostgresRatesLoad { connection: connector.connect().await?, add_prices: None };
        // Each statement sees the rows of a load that it has waited for.
        load.client().batch_execute("begin isolation level read committed").await?;
        load.client().batch_execute(NO_IDLE_TIMEOUT).await?;
        for statement in [LOCK, "delete from prices", "delete from ports", "delete from regions"] {
            load.client().batch_execute(statement).await.map_err(explain)?;
        }
        Ok(load)
    }

    pub async fn add_prices(
        &mut self,
        codes: &[Code],
        sums: &[DailySum],
    ) -> Result<(), PostgresError> {
        let statement = match &self.add_prices {
            Some(statement) => statement.clone(),
            None => self.add_prices.insert(self.client().prepare(ADD_PRICES).await?).clone(),
        };
        let code = |port: u32| codes[port as usize].as_str();
        for sums in sums.chunks(ROWS_MAX) {
            let origins: Vec<&str> = sums.iter().map(|sum| code(sum.origin)).collect();
            let destinations: Vec<&str> = sums.iter().map(|sum| code(sum.destination)).collect();
            let days: Vec<Date> = sums.iter().map(|sum| day(sum.day)).collect();
            let counts: Vec<i64> = sums.iter().map(|sum| sum.count.into()).collect();
            let totals: Vec<i64> = sums.iter().map(|sum| sum.sum).collect();
            let values: &Values<'_> = &[&origins, &destinations, &days, &counts, &totals];
            self.client().execute(&statement, values).await.map_err(explain)?;
        }
        Ok(())
    }

    pub async fn add_places(
        &mut self,
        kind: PlaceKind,
        places: &[NamedPlace],
    ) -> Result<(), PostgresError> {
        let insert = format!(
            "insert into {} ({}, name, parent_slug)
             select * from unnest($1::text[], $2::text[], $3::text[])",
            kind.table(),
            kind.key()
        );
        for places in places.chunks(ROWS_MAX) {
            let codes: Vec<&str> = places.iter().map(|it| it.place.code.as_str()).collect();
            let names: Vec<Option<&str>> = places.iter().map(|it| it.name.as_deref()).collect();
            let parents: Vec<Option<&str>> =
                places.iter().map(|it| it.place.parent.as_ref().map(Code::as_str)).collect();
            let values: &Values<'_> = &[&codes, &names, &parents];
            self.client().execute(&insert, values).await.map_err(explain)?;
        }
        Ok(())
    }

    pub async fn finish(self) -> Result<(), PostgresError> {
        self.client().batch_execute("commit").await?;
        // Removes the rows of the earlier load and counts the new ones, for good plans at once. If
        // this role is not the owner, the server leaves it to its own schedule.
        let _ = self.client().batch_execute("vacuum (analyze) prices, ports, regions").await;
        Ok(())
    }

    pub async fn abort(self) -> Result<(), PostgresError> {
        Ok(self.client().batch_execute("rollback").await?)
    }

    fn client(&self) -> &Client {
        &self.connection.client
    }
}

/// The day with this number.
fn day(number: i32) -> Date {
    date(1970, 1, 1).saturating_add(number.days())
}

fn explain(error: tokio_postgres::Error) -> PostgresError {
    match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => PostgresError::MayNotLoad(error),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::day_number;

    #[test]
    fn days_have_the_numbers_that_they_are_loaded_with() {
        for number in [-719_162, -1, 0, 1, 16_832, 2_932_896] {
            assert_eq!(day_number(day(number)), number);
        }
    }
}
