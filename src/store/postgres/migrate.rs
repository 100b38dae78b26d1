//! Brings the schema to this release's. Instances that start at once migrate once.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient, IsolationLevel};

use super::error::PostgresError;
use crate::store::schema::{self, Migrate, Migration, SchemaVersion};

/// This release's schema, in steps.
const MIGRATIONS: &[Migration] =
    &[Migration { sql: include_str!("migrations/0001_users.sql"), works_with: 1 }];

/// Held by who migrates: "HBDY" among the advisory locks of the database.
const LOCK: i64 = 0x4842_4459;

/// Takes the steps that are missing, as far as `how` allows that.
pub(super) async fn migrate(client: &mut Client, how: Migrate) -> Result<(), PostgresError> {
    check_encoding(client).await?;
    if missing(look(client).await?)?.next().is_none() {
        return Ok(());
    }
    if how == Migrate::Check {
        return Err(PostgresError::NotMigrated);
    }
    // At other levels it would not see what another instance did while it waited.
    let transaction =
        client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    transaction.execute("select pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    // Another instance may have been quicker.
    for (version, migration) in missing(look(&transaction).await?)? {
        apply(&transaction, version, migration).await.map_err(|error| match error.code() {
            Some(&SqlState::DUPLICATE_TABLE) => PostgresError::NotOurs,
            Some(&SqlState::INSUFFICIENT_PRIVILEGE | &SqlState::INVALID_SCHEMA_NAME) => {
                PostgresError::MayNotMigrate(error)
            }
            _ => error.into(),
        })?;
    }
    Ok(transaction.commit().await?)
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

async fn look(client: &impl GenericClient) -> Result<SchemaVersion, PostgresError> {
    // Not `to_regclass`: it may remember that there was no table before the lock.
    let is_new = "select not exists (select from pg_catalog.pg_tables
        where tablename = 'schema_versions' and schemaname = any(current_schemas(false)))";
    if client.query_one(is_new, &[]).await?.try_get(0)? {
        return Ok(SchemaVersion::default());
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

async fn apply(
    transaction: &impl GenericClient,
    version: u32,
    migration: &Migration,
) -> Result<(), tokio_postgres::Error> {
    if version == 1 {
        let create = "create table schema_versions (
            version integer primary key,
            works_with integer not null
        )";
        transaction.batch_execute(create).await?;
    }
    transaction.batch_execute(migration.sql).await?;
    let works_with = migration.works_with;
    let insert = format!("insert into schema_versions values ({version}, {works_with})");
    transaction.batch_execute(&insert).await
}
