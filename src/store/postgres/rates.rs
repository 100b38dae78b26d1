//! Reads rates, one query in a statement.

use jiff::civil::Date;
use prometheus::IntCounter;
use tokio::time::Instant;
use tokio_postgres::Row;

use super::client::ReconnectingClient;
use super::connect::Connector;
use super::error::PostgresError;
use crate::domain::calendar::day_number;
use crate::domain::rates::{Code, DailyTotals, Place, Places, RatesQuery};
use crate::store::batch::{Backend, BatchError};
use crate::store::rates::{LoadedPlaces, PLACES_READ_MAX};

/// The version of what is loaded, in the same view as the prices: ports may have moved to other
/// regions since they were read. No row means that nothing is loaded. The sum of all days between
/// all ports may be longer than a bigint.
const FIND: &str = "with found as (
        select day, sum(count)::bigint as count, sum(sum)::text as sum from prices
        where orig_code = any($1::text[]) and dest_code = any($2::text[])
            and day between $3 and $4
        group by day)
    select version, day, count, sum from rates_loads left join found on true";

const READ_PLACES: &str = "with places as (
        select true as is_port, code, parent_slug from ports
        union all select false, slug, parent_slug from regions)
    select version, is_port, code, parent_slug from rates_loads left join places on true";

/// Executes queries.
pub(super) struct RatesReader {
    client: ReconnectingClient,
    connector: Connector,
    retries: IntCounter,
    places: Option<LoadedPlaces>,
}

impl RatesReader {
    /// Connects with the first query.
    pub fn new(connector: Connector, retries: IntCounter) -> RatesReader {
        // A plan for any number of ports is a bad one for most numbers.
        let client = ReconnectingClient::new(connector.for_large_queries(), FIND, retries.clone());
        RatesReader { client, connector, retries, places: None }
    }

    async fn find(
        &mut self,
        query: &RatesQuery,
        deadline: Instant,
    ) -> Result<Option<DailyTotals>, BatchError> {
        for _ in 0..PLACES_READ_MAX {
            if self.places.is_none() {
                self.places = self.read_places(deadline).await?;
            }
            let Some(LoadedPlaces { version, places }) = &self.places else { return Ok(None) };
            let origins = places.ports_of(&query.origin);
            let destinations = places.ports_of(&query.destination);
            let (from, to) = (query.days.from(), query.days.to());
            let rows = self.client.query(&[&origins, &destinations, &from, &to], deadline).await?;
            if read_version(&rows)? == Some(*version) {
                return read_totals(query, &rows).map(Some);
            }
            self.places = None;
        }
        anyhow::bail!("rates were loaded more often than they could be read")
    }

    /// On a connection that is closed afterwards: loads are rare.
    async fn read_places(&self, deadline: Instant) -> Result<Option<LoadedPlaces>, BatchError> {
        let connector = self.connector.clone();
        let mut client = ReconnectingClient::new(connector, READ_PLACES, self.retries.clone());
        let rows = client.query(&[], deadline).await?;
        let Some(version) = read_version(&rows)? else { return Ok(None) };
        let mut places = Places::default();
        for row in &rows {
            // The one row of a load without places has none.
            let Some(code) = row.try_get::<_, Option<&str>>(2)? else { continue };
            let parent = row.try_get::<_, Option<&str>>(3)?.map(Code::from_stored);
            let place = Place { code: Code::from_stored(code), parent };
            match row.try_get(1)? {
                true => places.add_port(place),
                false => places.add_region(place),
            }
        }
        Ok(Some(LoadedPlaces { version, places }))
    }
}

impl Backend<RatesQuery, Option<DailyTotals>> for RatesReader {
    async fn run(
        &mut self,
        queries: Vec<RatesQuery>,
        deadline: Instant,
    ) -> Result<Vec<Option<DailyTotals>>, BatchError> {
        let mut found = Vec::with_capacity(queries.len());
        for query in &queries {
            found.push(self.find(query, deadline).await?);
        }
        Ok(found)
    }

    async fn close(self) {}
}

/// The version of the load that `rows` are of.
fn read_version(rows: &[Row]) -> Result<Option<i64>, PostgresError> {
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
}

fn read_totals(query: &RatesQuery, rows: &[Row]) -> Result<DailyTotals, BatchError> {
    let mut totals = DailyTotals::none(query.days);
    for row in rows {
        // The one row of a query that finds nothing has no day.
        if let Some(day) = row.try_get::<_, Option<Date>>(1)? {
            let count: i64 = row.try_get(2)?;
            let sum = row.try_get::<_, &str>(3)?.parse()?;
            totals.add(day_number(day), count.unsigned_abs(), sum);
        }
    }
    Ok(totals)
}
