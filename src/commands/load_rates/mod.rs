//! Replaces all rates with those of a dump.
//!
//! The dump is read once, since it may come from a pipe, and its prices are summed by day and pair
//! of ports on the way. References are checked at its end, because a dump has the rows of a table
//! before those that they refer to. Until then readers do not see what was written.

mod copy_text;
mod dump;
mod effect;
mod format;
mod rates;
mod statement;
mod table;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, ensure};
use indicatif::HumanCount;

use self::dump::Dump;
use self::rates::Rates;
use super::progress::Progress;
use crate::cli::LoadPlan;
use crate::store::{DatabaseUrl, PlaceKind, RatesLoad};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Rows between two updates of the progress.
const ROWS_PER_UPDATE: u64 = 1024;

/// Carries out `plan`. Returns a sentence about the result.
pub async fn load_rates(plan: LoadPlan) -> anyhow::Result<String> {
    let (input, bytes) = open(&plan.file)?;
    let dump = Dump::open(input)?;
    let new_file = match plan.database.read()? {
        DatabaseUrl::Sqlite(url) if !url.path.exists() => Some(url.path),
        _ => None,
    };
    let mut loading = Loading { plan, load: None };
    match loading.read(dump, Progress::start("read", "bytes", bytes)).await {
        Ok(rates) => {
            let load = loading.load.take().expect("it has begun");
            load.finish().await.context("cannot finish the load")?;
            // The path may be mistaken.
            let created = new_file.map(|path| format!("\ncreated {}", path.display()));
            Ok(rates + &created.unwrap_or_default())
        }
        Err(error) => {
            if let Some(load) = loading.load {
                // The first error is the one that matters; what is left is removed by the next load.
                let _ = load.abort().await;
            }
            Err(error.context("the rates were not changed"))
        }
    }
}

/// Opens the dump, and finds how long it is, if that can be known.
fn open(file: &Path) -> anyhow::Result<(Box<dyn BufRead>, Option<u64>)> {
    if file == Path::new("-") {
        return Ok((Box::new(BufReader::with_capacity(BUFFER_BYTES, io::stdin())), None));
    }
    let name = file.display();
    ensure!(!file.is_dir(), "{name} is a folder: name a plain dump, as pg_dump makes by default");
    let opened = File::open(file).with_context(|| format!("cannot read {name}"))?;
    let metadata = opened.metadata().with_context(|| format!("cannot read {name}"))?;
    let bytes = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(BufReader::with_capacity(BUFFER_BYTES, opened)), bytes))
}

/// A load, which begins once there is something to write: most mistakes are found before.
struct Loading {
    plan: LoadPlan,
    load: Option<RatesLoad>,
}

impl Loading {
    /// Writes all that the dump says. Returns how much that is.
    async fn read(
        &mut self,
        mut dump: Dump<Box<dyn BufRead>>,
        progress: Progress,
    ) -> anyhow::Result<String> {
        let mut rates = Rates::default();
        let mut rows = 0_u64;
        while let Some(row) = dump.next_row()? {
            rates.add(&row)?;
            rows += 1;
            if rows.is_multiple_of(ROWS_PER_UPDATE) {
                progress.set(dump.bytes());
            }
            if rates.is_full()? {
                self.write_prices(&mut rates).await?;
            }
        }
        progress.set(dump.bytes());
        rates.check()?;
        self.write_prices(&mut rates).await?;
        let load = self.load.as_mut().expect("it has begun");
        let places = [(PlaceKind::Region, &rates.regions), (PlaceKind::Port, &rates.ports)];
        for (kind, list) in places {
            load.add_places(kind, &list.places).await.context("cannot write ports and regions")?;
        }
        let [prices, ports, regions] =
            [rates.prices, rates.ports.places.len() as u64, rates.regions.places.len() as u64]
                .map(HumanCount);
        Ok(format!("loaded {prices} prices between {ports} ports in {regions} regions"))
    }

    async fn write_prices(&mut self, rates: &mut Rates) -> anyhow::Result<()> {
        if self.load.is_none() {
            let LoadPlan { database, postgres_ca_file, .. } = &self.plan;
            let load = RatesLoad::begin(database, postgres_ca_file.as_deref()).await;
            self.load = Some(load.context("cannot open the database")?);
        }
        let load = self.load.as_mut().expect("it has begun");
        let (sums, codes) = rates.take_sums()?;
        load.add_prices(codes, &sums).await.context("cannot write prices")
    }
}
