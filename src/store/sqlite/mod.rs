//! SQLite, the embedded default: one file, one connection that writes, several that read.
//!
//! Promises: a commit is on the disk (`synchronous=FULL`); readers never wait for the writer, nor it for them (write-ahead
//! log). Refuses: databases in memory, where an acknowledged event would be lost with the process.

mod erase;
mod read;
mod tracks;
mod view;
mod write;

use std::{str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{
    ConnectOptions, Connection, FromRow, Sqlite, SqliteConnection, SqlitePool,
    query::QueryAs,
    sqlite::{SqliteArguments, SqliteConnectOptions, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};

use super::{
    DEAD_NODE_KEPT, EventQuery, EventRow, ExpiredSession, MAX_EXPIRED, MIGRATION_TIMEOUT, OpenSession, Reads,
    SessionRow, Store, StoreError, StoreErrorKind, StoreOptions, StoreWriter, StreamState, UserFilter, UserQuery,
    UserRow, View, error::within, view::Places,
};
use crate::{
    domain::{AudioPart, NodeId, RunId, SessionId, StreamId, Timestamp, UserId},
    runtime::Backoff,
};

use self::{view::SqliteView, write::SqliteWriter};

/// A database file.
#[derive(Clone)]
pub struct SqliteStore {
    /// One connection, handed from writer to writer in the order they asked: SQLite lets one write at a time, and its
    /// own way of waiting for a turn is to sleep and look again.
    writing: SqlitePool,
    reading: SqlitePool,
    places: Places,
    statement_timeout: Duration,
}

impl SqliteStore {
    /// Makes the folder of the file if it is missing; the file itself is made by [`Store::migrate`].
    ///
    /// # Errors
    /// [`StoreErrorKind::Permanent`] for a URL that cannot be read, [`StoreErrorKind::Retryable`] when the folder cannot
    /// be made.
    pub async fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        const CONTEXT: &str = "read the database URL";
        let refuse = |reason| StoreError::new(StoreErrorKind::Permanent, CONTEXT, reason);
        if !options.url.starts_with("sqlite:") {
            return Err(refuse("it begins neither with postgres: nor with sqlite:"));
        }
        if options.url.contains(":memory:") || options.url.contains("mode=memory") {
            return Err(refuse("a database in memory keeps nothing"));
        }
        let file = SqliteConnectOptions::from_str(&options.url)
            .map_err(|error| StoreError::new(StoreErrorKind::Permanent, CONTEXT, error))?
            // Every failed or slow call is reported by whoever made it.
            .disable_statement_logging()
            // Another process with the same file makes us wait; half of the time limit, so that SQLite's own answer
            // comes before it.
            .busy_timeout(options.statement_timeout / 2);
        if let Some(folder) = file.get_filename().parent().filter(|folder| !folder.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(folder)
                .await
                .map_err(|error| StoreError::new(StoreErrorKind::Retryable, "make the database's folder", error))?;
        }
        // Connections to a file do not age.
        let pool = SqlitePoolOptions::new().idle_timeout(None).max_lifetime(None).test_before_acquire(false);
        Ok(Self {
            writing: pool
                .clone()
                .max_connections(1)
                // It waits for the batches before it.
                .acquire_timeout(options.statement_timeout)
                .connect_lazy_with(file.clone().create_if_missing(true).synchronous(SqliteSynchronous::Full)),
            reading: pool
                .max_connections(options.readers.max(1))
                .acquire_timeout(options.connect_timeout)
                .connect_lazy_with(file.pragma("query_only", "ON")),
            places: Places::new(options.readers, options.connect_timeout),
            statement_timeout: options.statement_timeout,
        })
    }

    async fn fetch<T>(
        &self,
        context: &'static str,
        query: QueryAs<'_, Sqlite, T, SqliteArguments>,
    ) -> Result<Vec<T>, StoreError>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        within(self.statement_timeout, context, query.fetch_all(&self.reading)).await
    }

    /// Rows that a change answers.
    async fn change<T>(
        &self,
        context: &'static str,
        query: QueryAs<'_, Sqlite, T, SqliteArguments>,
    ) -> Result<Vec<T>, StoreError>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        within(self.statement_timeout, context, query.fetch_all(&self.writing)).await
    }

    /// Reads the events of one owner after the other, until `limit` of them are there.
    async fn fetch_events<O>(
        &self,
        context: &'static str,
        owners: &[O],
        query: &EventQuery,
        events_of: impl Fn(&O, &EventQuery) -> QueryAs<'static, Sqlite, EventRow<O>, SqliteArguments> + Send + Sync,
    ) -> Result<Vec<EventRow<O>>, StoreError>
    where
        O: Sync,
        EventRow<O>: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        within(self.statement_timeout, context, async {
            let mut connection = self.reading.acquire().await?;
            events_of_each(&mut connection, owners, query, events_of).await
        })
        .await
    }

    /// Makes the write-ahead log a property of the file, which it stays. Whoever else opens the file at this moment
    /// makes it fail at once, without the usual waiting.
    async fn enable_write_ahead_log(&self) -> Result<(), StoreError> {
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
        let enable = async {
            loop {
                let outcome =
                    sqlx::query_scalar::<_, String>("PRAGMA journal_mode = WAL").fetch_one(&self.writing).await;
                match outcome {
                    Ok(mode) if mode == "wal" => return Ok(()),
                    Ok(mode) => return Err(sqlx::Error::Protocol(format!("journal mode stays {mode}"))),
                    Err(sqlx::Error::Database(_)) => tokio::time::sleep(backoff.next_delay()).await,
                    Err(error) => return Err(error),
                }
            }
        };
        within(self.statement_timeout, "enable the write-ahead log", enable).await
    }
}

/// The events of one owner after the other, until as many are there as wanted.
async fn events_of_each<O>(
    connection: &mut SqliteConnection,
    owners: &[O],
    query: &EventQuery,
    events_of: impl Fn(&O, &EventQuery) -> QueryAs<'static, Sqlite, EventRow<O>, SqliteArguments> + Send + Sync,
) -> Result<Vec<EventRow<O>>, sqlx::Error>
where
    O: Sync,
    EventRow<O>: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
{
    let mut rows = Vec::new();
    for owner in owners {
        let wanted = query.limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        if wanted == 0 {
            break;
        }
        let page = EventQuery { limit: wanted, ..query.clone() };
        rows.append(&mut events_of(owner, &page).fetch_all(&mut *connection).await?);
    }
    Ok(rows)
}

#[async_trait]
impl Store for SqliteStore {
    async fn migrate(&self) -> Result<(), StoreError> {
        let mut migrator = sqlx::migrate!("migrations/sqlite");
        // A release that is being replaced meets the newer one's schema.
        migrator.set_ignore_missing(true);
        self.enable_write_ahead_log().await?;
        // One write transaction around everything: a second process waits here, then finds nothing left to do.
        within(MIGRATION_TIMEOUT, "migrate", async {
            let mut connection = self.writing.acquire().await?;
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            migrator.run_direct(None, &mut *transaction, false).await?;
            transaction.commit().await
        })
        .await
    }

    async fn writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        Ok(Box::new(SqliteWriter::new(self.writing.clone(), self.statement_timeout)))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        within(self.statement_timeout, "ping", async { sqlx::query("SELECT 1").execute(&self.reading).await.map(drop) })
            .await
    }

    async fn begin_node(&self, node: NodeId, at: Timestamp) -> Result<(), StoreError> {
        within(self.statement_timeout, "begin a node", async {
            let mut transaction = self.writing.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("DELETE FROM nodes WHERE id = $1 OR heartbeat_at < $2")
                .bind(node.as_uuid())
                .bind(at.minus(DEAD_NODE_KEPT).as_unix_ms())
                .execute(&mut *transaction)
                .await?;
            sqlx::query("DELETE FROM presence WHERE node_id NOT IN (SELECT id FROM nodes)")
                .execute(&mut *transaction)
                .await?;
            sqlx::query("INSERT INTO nodes (id, heartbeat_at) VALUES ($1, $2)")
                .bind(node.as_uuid())
                .bind(at.as_unix_ms())
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        })
        .await
    }

    async fn heartbeat(&self, node: NodeId, at: Timestamp) -> Result<(), StoreError> {
        let beat = sqlx::query(
            "INSERT INTO nodes (id, heartbeat_at) VALUES ($1, $2)
             ON CONFLICT (id) DO UPDATE SET heartbeat_at = max(heartbeat_at, excluded.heartbeat_at)",
        )
        .bind(node.as_uuid())
        .bind(at.as_unix_ms());
        within(self.statement_timeout, "record a heartbeat", async { beat.execute(&self.writing).await.map(drop) })
            .await
    }

    async fn stream_state(&self, stream: StreamId) -> Result<Option<StreamState>, StoreError> {
        Ok(self.fetch("read a stream", read::stream_state(stream)).await?.pop())
    }

    async fn open_session(
        &self,
        user: &UserId,
        alive_since: Timestamp,
        opened_since: Timestamp,
    ) -> Result<Option<OpenSession>, StoreError> {
        Ok(self.fetch("look for an open session", read::open_session(user, alive_since, opened_since)).await?.pop())
    }

    async fn expire_sessions(
        &self,
        alive_before: Timestamp,
        opened_before: Timestamp,
    ) -> Result<Vec<ExpiredSession>, StoreError> {
        let expire = sqlx::query_as(
            "UPDATE sessions SET status = 'expired', ended_at = alive_at
             WHERE id IN (
                 SELECT id FROM sessions
                 WHERE status = 'recording' AND (alive_at < $1 OR opened_at < $2)
                 LIMIT $3
             )
             RETURNING id, user_id",
        )
        .bind(alive_before.as_unix_ms())
        .bind(opened_before.as_unix_ms())
        .bind(MAX_EXPIRED);
        self.change("expire sessions", expire).await
    }

    async fn view(&self) -> Result<Arc<dyn View>, StoreError> {
        Ok(Arc::new(SqliteView::begin(self).await?))
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionRow>, StoreError> {
        Ok(self.fetch("read a session", read::session(session)).await?.pop())
    }

    async fn stream_parts(&self, stream: StreamId) -> Result<Vec<AudioPart>, StoreError> {
        self.fetch("read the parts of a stream", read::stream_parts(stream)).await
    }

    async fn audio_part(&self, run: RunId) -> Result<Option<AudioPart>, StoreError> {
        Ok(self.fetch("read an audio part", read::audio_part(run)).await?.pop())
    }

    async fn user(&self, user: &UserId, now: Timestamp) -> Result<Option<UserRow>, StoreError> {
        let filter = UserFilter { user: Some(user.clone()), ..UserFilter::default() };
        Ok(self.users(&UserQuery { filter, ..UserQuery::page(None, 1) }, now).await?.pop())
    }

    async fn close(&self) {
        // Readers first: the last connection to close writes the log back into the database.
        let close = async {
            self.reading.close().await;
            self.writing.close().await;
        };
        let _ = tokio::time::timeout(self.statement_timeout, close).await;
    }
}
