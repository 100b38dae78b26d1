//! What the databases share in reading and loading rates.
//!
//! A query for rates may read a hundred thousand rows, where a lookup of a user reads one. So they
//! have a queue and a worker of their own, and no transaction with others: no lookup of a user
//! waits for one of them.

use std::num::NonZeroUsize;
use std::path::Path;

use super::batch::BatchLimits;
use super::postgres::PostgresRatesLoad;
use super::sqlite::SqliteRatesLoad;
use super::{DatabaseUrl, QUEUE_DELAY_MAX, STORE_TIMEOUT, UrlSource};
use crate::domain::rates::{Code, Place, Places};

/// Queries for rates that may wait. The fastest take a tenth of a millisecond, so that this many
/// are soon answered; of slower ones fewer wait, as `QUEUE_DELAY_MAX` bounds how long.
pub(crate) const RATES_QUEUE_MAX: usize = 256;

/// One worker carries one query at a time.
pub(super) const RATES_LIMITS: BatchLimits = BatchLimits {
    queue_max: RATES_QUEUE_MAX,
    batch_max: NonZeroUsize::MIN,
    queue_delay_max: QUEUE_DELAY_MAX,
    timeout: STORE_TIMEOUT,
    recovery_probe: None,
};

/// How often the places are read again if loads replace them while a query is under way. A load
/// takes longer than a query, so that a third one means that something else is wrong.
pub(super) const PLACES_READ_MAX: u32 = 3;

/// The places of the load with this version.
pub(super) struct LoadedPlaces {
    pub version: i64,
    pub places: Places,
}

/// A port or region to load.
pub(crate) struct NamedPlace {
    pub place: Place,
    pub name: Option<String>,
}

/// The prices of a day between two ports, which are indexes in a list of codes: codes take more
/// memory than all the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DailySum {
    pub origin: u32,
    pub destination: u32,
    pub day: i32,
    pub count: u32,
    pub sum: i64,
}

/// Which columns a place of this kind has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaceKind {
    Port,
    Region,
}

impl PlaceKind {
    pub fn table(self) -> &'static str {
        match self {
            PlaceKind::Port => "ports",
            PlaceKind::Region => "regions",
        }
    }

    /// The column with its code.
    pub fn key(self) -> &'static str {
        match self {
            PlaceKind::Port => "code",
            PlaceKind::Region => "slug",
        }
    }
}

/// Replaces all rates of a database. Until `finish` returns, readers find the earlier ones. Blocks
/// its caller where the database is a file.
pub(crate) enum RatesLoad {
    Sqlite(SqliteRatesLoad),
    Postgres(PostgresRatesLoad),
}

impl RatesLoad {
    /// Opens the database, creating and migrating it as needed, and begins. `ca_file` is as in
    /// [`StoreOptions`](super::StoreOptions).
    pub async fn begin(source: &UrlSource, ca_file: Option<&Path>) -> anyhow::Result<RatesLoad> {
        Ok(match source.read()? {
            DatabaseUrl::Sqlite(url) => RatesLoad::Sqlite(SqliteRatesLoad::begin(&url)?),
            DatabaseUrl::Postgres(_) => {
                RatesLoad::Postgres(PostgresRatesLoad::begin(source.clone(), ca_file).await?)
            }
        })
    }

    /// Adds `sums`, whose ports are among `codes`, to what was added before.
    pub async fn add_prices(&mut self, codes: &[Code], sums: &[DailySum]) -> anyhow::Result<()> {
        match self {
            RatesLoad::Sqlite(sqlite) => Ok(sqlite.add_prices(codes, sums)?),
            RatesLoad::Postgres(postgres) => Ok(postgres.add_prices(codes, sums).await?),
        }
    }

    /// Adds `places`, none of them twice.
    pub async fn add_places(
        &mut self,
        kind: PlaceKind,
        places: &[NamedPlace],
    ) -> anyhow::Result<()> {
        match self {
            RatesLoad::Sqlite(sqlite) => Ok(sqlite.add_places(kind, places)?),
            RatesLoad::Postgres(postgres) => Ok(postgres.add_places(kind, places).await?),
        }
    }

    /// Switches readers to what was added, atomically.
    pub async fn finish(self) -> anyhow::Result<()> {
        match self {
            RatesLoad::Sqlite(sqlite) => Ok(sqlite.finish()?),
            RatesLoad::Postgres(postgres) => Ok(postgres.finish().await?),
        }
    }

    /// Removes what was added.
    pub async fn abort(self) -> anyhow::Result<()> {
        match self {
            RatesLoad::Sqlite(sqlite) => Ok(sqlite.abort()?),
            RatesLoad::Postgres(postgres) => Ok(postgres.abort().await?),
        }
    }
}
