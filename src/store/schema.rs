//! Which schema a database has, and what this release may do about it.
//!
//! Instances of two releases share a database during every roll, so a migration
//! says which older releases still work with what it leaves behind.

/// What to do where the database lacks this release's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Migrate {
    /// Create or update it, then serve.
    #[default]
    Auto,
    /// Refuse to serve.
    Check,
}

/// One step of a database's schema.
pub(super) struct Migration {
    /// The SQL that takes the schema one step further.
    pub sql: &'static str,
    /// The oldest schema version whose releases still work after this step.
    pub works_with: u32,
}

/// The schema version that a database records; all zero when it is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SchemaVersion {
    pub version: u32,
    pub works_with: u32,
}

/// The database was migrated by a newer release that is incompatible with this one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MadeByNewerRelease;

/// The steps still to take, each with its version. `migrations` are this
/// release's, the first of which makes version 1.
pub(super) fn missing(
    found: SchemaVersion,
    migrations: &[Migration],
) -> Result<impl Iterator<Item = (u32, &Migration)>, MadeByNewerRelease> {
    let versions = (1_u32..).zip(migrations);
    let newest = versions.clone().map(|(version, _)| version).max().unwrap_or(0);
    if found.works_with > newest {
        return Err(MadeByNewerRelease);
    }
    Ok(versions.filter(move |(version, _)| *version > found.version))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIGRATIONS: &[Migration] =
        &[Migration { sql: "", works_with: 1 }, Migration { sql: "", works_with: 1 }];

    #[test]
    fn a_release_takes_the_missing_steps_or_none() {
        let cases = [
            ((0, 0), Ok(vec![1, 2])),
            ((1, 1), Ok(vec![2])),
            ((2, 1), Ok(vec![])),
            ((3, 2), Ok(vec![])),
            ((4, 3), Err(MadeByNewerRelease)),
        ];
        for ((version, works_with), expected) in cases {
            let found = SchemaVersion { version, works_with };
            let steps = missing(found, MIGRATIONS)
                .map(|steps| steps.map(|(version, _)| version).collect::<Vec<_>>());
            assert_eq!(steps, expected, "{found:?}");
        }
    }
}
