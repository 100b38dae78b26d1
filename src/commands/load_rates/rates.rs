//! The rows of a dump, checked and summed.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, bail};

use super::dump::Row;
use super::table::Table;
use crate::domain::calendar::{day_number, parse_date};
use crate::domain::rates::{Code, Place};
use crate::store::{DailySum, NamedPlace};

/// Sums in memory, at 24 bytes each. Dumps with more are written in parts.
const SUMS_MAX: usize = 512 * 1024;

/// The rows of a dump. Those of a table may come before those that they refer to.
#[derive(Default)]
pub struct Rates {
    pub regions: PlaceList,
    pub ports: PlaceList,
    pub prices: u64,
    sums: Vec<DailySum>,
    codes: Codes,
}

/// Regions or ports.
#[derive(Default)]
pub struct PlaceList {
    pub places: Vec<NamedPlace>,
    /// The line of each.
    lines: HashMap<Code, u64>,
}

/// The codes that prices name, each with a number and the line that names it first.
#[derive(Default)]
struct Codes {
    numbers: HashMap<Code, u32>,
    codes: Vec<Code>,
    lines: Vec<u64>,
}

impl Rates {
    /// Adds a row. What it refers to is checked by `check`.
    pub fn add(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        match row.table {
            Table::Regions => self.regions.add(row),
            Table::Ports => self.ports.add(row),
            Table::Prices => self.add_price(row),
        }
    }

    fn add_price(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        let text = |column: usize| required(row, column);
        let origin = self.codes.number(text(0)?, 0, row)?;
        let destination = self.codes.number(text(1)?, 1, row)?;
        let day = parse_date(text(2)?).map_err(|error| row.wrong(format!("day is {error}")))?;
        let price = text(3)?;
        let sum = price.parse().map_err(|_| {
            row.wrong(format!("price is not a whole number of 64 bits: {}", shown(price)))
        })?;
        self.sums.push(DailySum { origin, destination, day: day_number(day), count: 1, sum });
        self.prices += 1;
        Ok(())
    }

    /// Whether sums must be taken before more rows are added.
    pub fn is_full(&mut self) -> anyhow::Result<bool> {
        if self.sums.len() < SUMS_MAX {
            return Ok(false);
        }
        self.merge()?;
        // While summing frees half of the room or more, it pays to go on.
        Ok(self.sums.len() > SUMS_MAX / 2)
    }

    /// Takes the sums so far, in the order of their codes, and the codes that they refer to.
    pub fn take_sums(&mut self) -> anyhow::Result<(Vec<DailySum>, &[Code])> {
        self.merge()?;
        Ok((std::mem::take(&mut self.sums), &self.codes.codes))
    }

    /// Sums the prices of each day between two ports.
    fn merge(&mut self) -> anyhow::Result<()> {
        let ranks = self.codes.ranks();
        let rank = |port: u32| ranks[port as usize];
        self.sums.sort_unstable_by_key(|sum| (rank(sum.origin), rank(sum.destination), sum.day));
        let mut is_too_large = None;
        self.sums.dedup_by(|next, kept| {
            let key = |sum: &DailySum| (sum.origin, sum.destination, sum.day);
            if key(next) != key(kept) {
                return false;
            }
            match (kept.count.checked_add(next.count), kept.sum.checked_add(next.sum)) {
                (Some(count), Some(sum)) => (kept.count, kept.sum) = (count, sum),
                _ => is_too_large = Some((kept.origin, kept.destination)),
            }
            true
        });
        if let Some((origin, destination)) = is_too_large {
            let code = |port: u32| &self.codes.codes[port as usize];
            bail!(
                "the prices of a day from {} to {} add up to more than 64 bits hold",
                code(origin),
                code(destination)
            );
        }
        Ok(())
    }

    /// Checks that all regions and ports that rows refer to are in the dump. The error names the
    /// first line with a missing one.
    pub fn check(&self) -> anyhow::Result<()> {
        for (kind, list) in [("region", &self.regions), ("port", &self.ports)] {
            for NamedPlace { place: Place { code, parent }, .. } in &list.places {
                let line = list.lines[code];
                if let Some(parent) = parent.as_ref().filter(|it| !self.regions.has(it)) {
                    bail!("line {line}: {kind} {code} is in region {parent}, which the dump lacks");
                }
            }
        }
        self.check_ancestors()?;
        let named = self.codes.codes.iter().zip(&self.codes.lines);
        for (code, line) in named {
            if !self.ports.has(code) {
                bail!("line {line}: a price of port {code}, which the dump lacks");
            }
        }
        Ok(())
    }

    /// No region may be its own ancestor.
    fn check_ancestors(&self) -> anyhow::Result<()> {
        let places = self.regions.places.iter().map(|it| &it.place);
        let parents: HashMap<&Code, &Code> =
            places.clone().filter_map(|it| Some((&it.code, it.parent.as_ref()?))).collect();
        let mut rooted = HashSet::new();
        for region in places {
            let mut path = HashSet::new();
            let mut at = &region.code;
            while !rooted.contains(at) {
                if !path.insert(at) {
                    let line = self.regions.lines[at];
                    bail!("line {line}: region {at} is its own ancestor");
                }
                let Some(parent) = parents.get(at) else { break };
                at = parent;
            }
            rooted.extend(path);
        }
        Ok(())
    }
}

impl PlaceList {
    fn add(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        let code = code(required(row, 0)?, 0, row)?;
        let name = row.get(1)?.map(str::to_owned);
        let parent = row.get(2)?.map(|parent| self::code(parent, 2, row)).transpose()?;
        if let Some(first) = self.lines.insert(code.clone(), row.line) {
            let table = row.table.name();
            return Err(row.wrong(format!("{code} is twice in {table}, first on line {first}")));
        }
        self.places.push(NamedPlace { place: Place { code, parent }, name });
        Ok(())
    }

    fn has(&self, code: &Code) -> bool {
        self.lines.contains_key(code)
    }
}

impl Codes {
    /// The number of the code that this column has.
    fn number(&mut self, text: &str, column: usize, row: &Row<'_>) -> anyhow::Result<u32> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        let code = code(text, column, row)?;
        let number = u32::try_from(self.codes.len()).context("too many ports")?;
        self.numbers.insert(code.clone(), number);
        self.codes.push(code);
        self.lines.push(row.line);
        Ok(number)
    }

    /// The place of each code in their order.
    fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..).take(self.codes.len()).collect();
        order.sort_unstable_by_key(|number| &self.codes[*number as usize]);
        let mut ranks = vec![0; order.len()];
        for (rank, number) in (0..).zip(order) {
            ranks[number as usize] = rank;
        }
        ranks
    }
}

/// The value of a column that must have one.
fn required<'a>(row: &'a Row<'_>, column: usize) -> anyhow::Result<&'a str> {
    let name = row.table.columns()[column];
    row.get(column)?.ok_or_else(|| row.wrong(format!("{name} is null")))
}

fn code(text: &str, column: usize, row: &Row<'_>) -> anyhow::Result<Code> {
    let name = row.table.columns()[column];
    Code::parse(text).map_err(|error| row.wrong(format!("{name} {error}: {}", shown(text))))
}

/// The beginning of a text, with escapes for what a terminal would not show.
fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    format!("{:?}", text.chars().take(SHOWN_MAX).collect::<String>())
}
