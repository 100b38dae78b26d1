//! Brings the schema to this release's. Instances that start at once migrate once.
//!
//! Who migrates holds the lock of a row, in a transaction that stays open on a connection
//! of its own: the server releases it when that connection ends, so an instance that dies
//! leaves nothing to clean up. Advisory locks would do as well, but not every engine that
//! speaks Postgres's protocol has them.
//!
//! Every step is one statement in a transaction of its own, because some engines (Aurora
//! DSQL) take one schema change in a transaction and no data with it. And every step may
//! run twice, because an instance may die between two of them, the server may still carry
//! out the last statement of one that died, and where concurrency is optimistic a row's
//! lock keeps nobody out. A step that loses such a race is tried again.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::connect::{Connector, Session};
use super::error::PostgresError;
use crate::store::schema::{self, Migrate, Migration, SchemaVersion};

/// This release's schema, in steps.
const MIGRATIONS: &[Migration] =
    &[Migration { sql: include_str!("migrations/0001_users.sql"), works_with: 1 }];

/// What was applied. Version 0 is the empty schema; the lock is that of its row.
const CREATE_VERSIONS: &str = "create table if not exists schema_versions (
        version integer primary key,
        works_with integer not null
    )";
const LOCK: &str = "select version from schema_versions where version = 0 for update";

/// A server notices within a minute that the host of an instance which migrates is gone,
/// rather than within two hours. One that does not know the settings keeps its own.
const NOTICE_DEAD_CLIENT: &str = "select set_config(
        name, case name when 'tcp_keepalives_count' then '3' else '15' end, false)
    from pg_settings
    where name in ('tcp_keepalives_idle', 'tcp_keepalives_interval', 'tcp_keepalives_count')";

/// How often a step is tried while others take it too. Each time one of them succeeds.
const ATTEMPTS_MAX: u32 = 50;

/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Takes the steps that are missing, as far as `how` allows that.
pub(super) async fn migrate(connector: &Connector, how: Migrate) -> Result<(), PostgresError> {
    let Session { client, .. } = &connector.connect().await?;
    check_encoding(client).await?;
    if missing(look(client).await?)?.next().is_none() {
        return Ok(());
    }
    if how == Migrate::Check {
        return Err(PostgresError::NotMigrated);
    }
    take_step(client, CREATE_VERSIONS).await?;
    record(client, 0, 0).await?;
    let _lock = lock(connector).await?;
    // Another instance may have been quicker.
    for (version, migration) in missing(look(client).await?)? {
        take_step(client, migration.sql).await?;
        record(client, version, migration.works_with).await?;
    }
    Ok(())
}

/// Waits until no other instance migrates, and keeps others waiting for as long as the
/// connection lives.
async fn lock(connector: &Connector) -> Result<Session, PostgresError> {
    let session = connector.connect().await?;
    session.client.batch_execute(NOTICE_DEAD_CLIENT).await?;
    session.client.batch_execute("begin").await?;
    session.client.batch_execute(LOCK).await?;
    Ok(session)
}

async fn record(client: &Client, version: u32, works_with: u32) -> Result<(), PostgresError> {
    let insert = format!(
        "insert into schema_versions values ({version}, {works_with}) on conflict do nothing"
    );
    take_step(client, &insert).await
}

async fn take_step(client: &Client, sql: &str) -> Result<(), PostgresError> {
    let mut attempts = 0;
    loop {
        let Err(error) = client.batch_execute(sql).await else { return Ok(()) };
        attempts += 1;
        let error = match error.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE | &SqlState::INVALID_SCHEMA_NAME) => {
                return Err(PostgresError::MayNotMigrate(error));
            }
            Some(state) if is_lost_race(state) && attempts < ATTEMPTS_MAX => error,
            _ => return Err(error.into()),
        };
        tracing::debug!(error = %PostgresError::from(error), "another instance migrates too");
        sleep(PAUSE_MAX.mul_f64(rand::random_range(0.0..=1.0))).await;
    }
}

/// Whether somebody else did the same at the same moment: `if not exists` looks before the
/// other transaction has committed.
fn is_lost_race(state: &SqlState) -> bool {
    matches!(
        *state,
        SqlState::UNIQUE_VIOLATION
            | SqlState::DUPLICATE_TABLE
            | SqlState::DUPLICATE_OBJECT
            | SqlState::DUPLICATE_COLUMN
    ) || state.code().starts_with("40")
}

fn missing(
    found: SchemaVersion,
) -> Result<impl Iterator<Item = (u32, &'static Migration)>, PostgresError> {
    schema::missing(found, MIGRATIONS)
        .map_err(|schema::MadeByNewerRelease| PostgresError::MadeByNewerRelease)
}

/// A database that cannot hold every letter would fail all who share a trip with
/// one that it lacks.
async fn check_encoding(client: &Client) -> Result<(), PostgresError> {
    let encoding = "select current_setting('server_encoding', true)";
    let encoding: Option<String> = client.query_one(encoding, &[]).await?.try_get(0)?;
    match encoding.as_deref() {
        None | Some("UTF8") => Ok(()),
        Some(_) => Err(PostgresError::NotUtf8),
    }
}

async fn look(client: &Client) -> Result<SchemaVersion, PostgresError> {
    // The first step makes schema_versions, so a table of users without it is not ours.
    let tables = "select
            exists (select from pg_catalog.pg_tables
                where tablename = 'schema_versions' and schemaname = any(current_schemas(false))),
            exists (select from pg_catalog.pg_tables
                where tablename = 'users' and schemaname = current_schema())";
    let row = client.query_one(tables, &[]).await?;
    match [row.try_get(0)?, row.try_get(1)?] {
        [true, _] => {}
        [false, true] => return Err(PostgresError::NotOurs),
        [false, false] => return Ok(SchemaVersion::default()),
    }
    let versions = "select coalesce(max(version), 0), coalesce(max(works_with), 0)
        from schema_versions";
    let row = client.query_one(versions, &[]).await.map_err(|error| match error.code() {
        Some(&SqlState::UNDEFINED_COLUMN) => PostgresError::NotOurs,
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => PostgresError::MayNotRead(error),
        _ => error.into(),
    })?;
    let [version, works_with]: [i32; 2] = [row.try_get(0)?, row.try_get(1)?];
    Ok(SchemaVersion { version: version.unsigned_abs(), works_with: works_with.unsigned_abs() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_one_statement_that_may_run_twice() {
        for Migration { sql, .. } in MIGRATIONS {
            let lines = sql.lines().filter(|line| !line.trim_start().starts_with("--"));
            let statement: String = lines.collect();
            assert_eq!(statement.find(';'), Some(statement.len() - 1), "{sql}");
            assert!(statement.contains("if not exists"), "{sql}");
        }
    }
}
