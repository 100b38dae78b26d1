//! Migrates the schema. Instances that start at the same time migrate once.
//!
//! An instance that migrates holds a row lock, in a transaction that stays open on a
//! connection of its own. The server releases it when that connection ends, so an instance
//! that dies leaves nothing to clean up. An advisory lock would do as well, but not every
//! engine that speaks Postgres's protocol has them.
//!
//! Every step is one statement in its own transaction, because some engines that speak
//! Postgres's protocol allow only one schema change in a transaction, and no data with it.
//! Every step can be executed twice: an instance may die between two steps, the server may
//! still execute the last statement of an instance that died, and with optimistic concurrency a
//! row lock excludes nobody. A step that loses such a race is retried.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::connect::{Connection, Connector};
use super::error::PostgresError;
use crate::store::schema::{self, Migrate, Migration, SchemaVersion};

/// This release's schema, in steps.
const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("migrations/0001_users.sql"), works_with: 1 },
    Migration { sql: include_str!("migrations/0002_regions.sql"), works_with: 1 },
    Migration { sql: include_str!("migrations/0003_ports.sql"), works_with: 1 },
    Migration { sql: include_str!("migrations/0004_prices.sql"), works_with: 1 },
    Migration { sql: include_str!("migrations/0005_rates_loads.sql"), works_with: 1 },
];

/// The applied steps. Version 0 is the empty schema, whose row is the one to lock.
const CREATE_VERSIONS: &str = "create table if not exists schema_versions (
        version integer primary key,
        works_with integer not null
    )";
const LOCK: &str = "select version from schema_versions where version = 0 for update";

/// Makes the server notice within a minute, rather than two hours, that the host of an instance
/// that migrates is gone. Does nothing on a server without these settings.
///
/// The transaction that holds the lock is idle while the steps run, so no timeout must end it.
const LOCK_CONNECTION_SETTINGS: &str = "select set_config(
        name, case name
            when 'tcp_keepalives_count' then '3'
            when 'idle_in_transaction_session_timeout' then '0'
            else '15' end, false)
    from pg_settings
    where name in ('tcp_keepalives_idle', 'tcp_keepalives_interval', 'tcp_keepalives_count',
        'idle_in_transaction_session_timeout')";

/// How long to wait for another instance's lock before logging it.
const QUIET_LOCK_WAIT: Duration = Duration::from_secs(1);

/// Attempts at a step that other instances execute too; in each round one of them succeeds.
const ATTEMPTS_MAX: u32 = 50;

/// Longest pause between two attempts at a step.
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(200);

/// Executes the missing steps, if `how` allows that.
pub(super) async fn migrate(connector: &Connector, how: Migrate) -> Result<(), PostgresError> {
    let Connection { client, .. } = &connector.connect().await?;
    match check_schema(client).await {
        Err(PostgresError::NotMigrated) if how == Migrate::Auto => {}
        checked => return checked,
    }
    execute_step(client, CREATE_VERSIONS).await?;
    record(client, 0, 0).await?;
    let _lock = lock(connector).await?;
    // Another instance may have migrated meanwhile.
    for (version, migration) in missing(read_version(client).await?)? {
        execute_step(client, migration.sql).await?;
        record(client, version, migration.works_with).await?;
    }
    Ok(())
}

/// Fails if the database lacks this release's schema.
pub(super) async fn check_schema(client: &Client) -> Result<(), PostgresError> {
    check_encoding(client).await?;
    match missing(read_version(client).await?)?.next() {
        None => Ok(()),
        Some(_) => Err(PostgresError::NotMigrated),
    }
}

/// Waits until no other instance migrates. The lock is held until the connection is dropped.
async fn lock(connector: &Connector) -> Result<Connection, PostgresError> {
    let connection = connector.connect().await?;
    connection.client.batch_execute(LOCK_CONNECTION_SETTINGS).await?;
    // A snapshot that is kept would hold up statements such as `create index concurrently`.
    connection.client.batch_execute("begin isolation level read committed").await?;
    let locked = {
        let mut locking = pin!(connection.client.batch_execute(LOCK));
        match timeout(QUIET_LOCK_WAIT, &mut locking).await {
            Ok(locked) => locked,
            Err(_) => {
                tracing::info!("waiting for another instance to migrate the database");
                locking.await
            }
        }
    };
    locked?;
    Ok(connection)
}

async fn record(client: &Client, version: u32, works_with: u32) -> Result<(), PostgresError> {
    let insert = format!(
        "insert into schema_versions values ({version}, {works_with}) on conflict do nothing"
    );
    execute_step(client, &insert).await
}

async fn execute_step(client: &Client, sql: &str) -> Result<(), PostgresError> {
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
        tracing::debug!(error = %PostgresError::from(error), "another instance migrates at the same time");
        sleep(RETRY_PAUSE_MAX.mul_f64(rand::random_range(0.0..=1.0))).await;
    }
}

/// Whether another instance executed the same step at the same time: `if not exists` does not
/// see what another transaction has not committed yet.
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

/// In another encoding, one unsupported letter would fail its whole batch.
async fn check_encoding(client: &Client) -> Result<(), PostgresError> {
    let encoding = "select current_setting('server_encoding', true)";
    let encoding: Option<String> = client.query_one(encoding, &[]).await?.try_get(0)?;
    match encoding.as_deref() {
        None | Some("UTF8") => Ok(()),
        Some(_) => Err(PostgresError::NotUtf8),
    }
}

async fn read_version(client: &Client) -> Result<SchemaVersion, PostgresError> {
    // schema_versions is created first, so a table of users without it is not ours. Nor are prices
    // without sums, as a dump of rates that somebody restored here has them.
    let tables = "select
            exists (select from pg_catalog.pg_tables
                where tablename = 'schema_versions' and schemaname = any(current_schemas(false))),
            exists (select from pg_catalog.pg_tables
                where tablename = 'users' and schemaname = current_schema()),
            exists (select from pg_catalog.pg_class as prices
                where relname = 'prices' and relnamespace = to_regnamespace(current_schema())
                and not exists (select from pg_catalog.pg_attribute
                    where attrelid = prices.oid and attname = 'sum'))";
    let row = client.query_one(tables, &[]).await?;
    match [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?] {
        [_, _, true] | [false, true, _] => return Err(PostgresError::NotOurs),
        [true, ..] => {}
        [false, ..] => return Ok(SchemaVersion::default()),
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
