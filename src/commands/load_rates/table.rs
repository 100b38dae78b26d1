/// The tables that a dump holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Regions,
    Ports,
    Prices,
}

impl Table {
    pub const ALL: [Table; 3] = [Table::Regions, Table::Ports, Table::Prices];

    pub fn name(self) -> &'static str {
        match self {
            Table::Regions => "regions",
            Table::Ports => "ports",
            Table::Prices => "prices",
        }
    }

    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Table::Regions => &["slug", "name", "parent_slug"],
            Table::Ports => &["code", "name", "parent_slug"],
            Table::Prices => &["orig_code", "dest_code", "day", "price"],
        }
    }
}

/// The field of each of the table's columns, in a row with these columns.
pub fn order_of(table: Table, columns: &[String]) -> Result<Vec<usize>, String> {
    let wanted = table.columns();
    if let Some(other) = columns.iter().find(|column| !wanted.contains(&column.as_str())) {
        return Err(format!("column {other} is not known: dump a table of {}", wanted.join(", ")));
    }
    wanted
        .iter()
        .map(|name| {
            let mut fields = (0..columns.len()).filter(|at| columns[*at] == *name);
            match (fields.next(), fields.next()) {
                (Some(field), None) => Ok(field),
                (None, _) => Err(format!("column {name} is missing")),
                (Some(_), Some(_)) => Err(format!("column {name} is there twice")),
            }
        })
        .collect()
}
