//! Postgres: a lazily connected pool for everything but batches, and a connection of its own for each writer.
//!
//! Promises: every call ends within its time limit, also when the network swallows packets; several nodes may migrate
//! at once. Refuses: to keep a connection whose answer was not read to its end.

mod erase;
mod read;
mod time;
mod tracks;
mod view;
mod write;

use std::{
    ops::{Deref, DerefMut},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{
    ConnectOptions, Connection, FromRow, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
    query::{Query, QueryAs},
};

use super::{
    DEAD_NODE_KEPT, ExpiredSession, MAX_EXPIRED, MIGRATION_TIMEOUT, OpenSession, Reads, SessionRow, Store, StoreError,
    StoreErrorKind, StoreOptions, StoreWriter, StreamState, UserFilter, UserQuery, UserRow, View, error::within,
    view::Places,
};
use crate::domain::{AudioPart, NodeId, RunId, SessionId, StreamId, Timestamp, UserId};

use self::{time::PgTime, view::PostgresView, write::PostgresWriter};

/// A Postgres database.
#[derive(Clone)]
pub struct PostgresStore {
    /// Without time limits on the server's side: for migrations.
    unlimited: PgConnectOptions,
    limited: PgConnectOptions,
    pool: PgPool,
    places: Places,
    connect_timeout: Duration,
    statement_timeout: Duration,
}

impl PostgresStore {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// [`StoreErrorKind::Permanent`] for a URL that cannot be read.
    pub fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        let unlimited = PgConnectOptions::from_str(&options.url)
            .map_err(|error| StoreError::new(StoreErrorKind::Permanent, "read the database URL", error))?
            .application_name("shopaloud")
            // Every failed or slow call is reported by whoever made it.
            .disable_statement_logging();
        // The server's own limits end what a client that gave up, or vanished in mid-transaction, has left running:
        // its locks would make the same batch wait when it is sent again.
        let limit_ms = options.statement_timeout.as_millis().max(1).to_string();
        let limited = unlimited.clone().options([
            ("statement_timeout", limit_ms.as_str()),
            ("idle_in_transaction_session_timeout", limit_ms.as_str()),
            // Pages that count many events look costly to the planner, which then spends 100 ms on compiling a plan
            // that runs for one.
            ("jit", "off"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(options.readers.max(1))
            .acquire_timeout(options.connect_timeout)
            .connect_lazy_with(limited.clone());
        Ok(Self {
            unlimited,
            limited,
            pool,
            places: Places::new(options.readers, options.connect_timeout),
            connect_timeout: options.connect_timeout,
            statement_timeout: options.statement_timeout,
        })
    }

    async fn fetch<T>(
        &self,
        context: &'static str,
        query: QueryAs<'_, Postgres, T, PgArguments>,
    ) -> Result<Vec<T>, StoreError>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let mut loan = Loan::of(&self.pool, context).await?;
        let rows = within(self.statement_timeout, context, query.fetch_all(&mut **loan)).await?;
        loan.settle();
        Ok(rows)
    }

    async fn execute(&self, context: &'static str, query: Query<'_, Postgres, PgArguments>) -> Result<(), StoreError> {
        let mut loan = Loan::of(&self.pool, context).await?;
        within(self.statement_timeout, context, query.execute(&mut **loan)).await?;
        loan.settle();
        Ok(())
    }
}

/// A connection out of the pool. It goes back only when it was settled: one that was dropped before (an error, a time
/// limit, a reader who left) would be drained by the pool without any time limit, and holds its place meanwhile.
struct Loan {
    connection: PoolConnection<Postgres>,
    settled: bool,
}

impl Loan {
    async fn of(pool: &PgPool, context: &'static str) -> Result<Self, StoreError> {
        let connection = pool.acquire().await.map_err(|error| StoreError::from_sqlx(context, error))?;
        Ok(Self { connection, settled: false })
    }

    fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if !self.settled {
            self.connection.close_on_drop();
        }
    }
}

impl Deref for Loan {
    type Target = PoolConnection<Postgres>;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn migrate(&self) -> Result<(), StoreError> {
        let mut migrator = sqlx::migrate!("migrations/postgres");
        // A release that is being replaced meets the newer one's schema.
        migrator.set_ignore_missing(true);
        let mut connection =
            within(self.connect_timeout, "connect to migrate", PgConnection::connect_with(&self.unlimited)).await?;
        // Takes an advisory lock, so that one node migrates and the others wait. The lock ends with the connection.
        within(MIGRATION_TIMEOUT, "migrate", async {
            let encoding: String = sqlx::query_scalar("SHOW server_encoding").fetch_one(&mut connection).await?;
            if encoding != "UTF8" {
                // It would refuse every event with a character that it does not have: data lost to a setting.
                let reason = format!("the database's encoding is {encoding}, where UTF8 is needed");
                return Err(sqlx::Error::Configuration(reason.into()));
            }
            migrator.run_direct(None, &mut connection, false).await?;
            connection.close().await
        })
        .await
    }

    async fn writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        let connect = async {
            if self.pool.is_closed() {
                return Err(sqlx::Error::PoolClosed);
            }
            PgConnection::connect_with(&self.limited).await
        };
        let connection = within(self.connect_timeout, "connect a writer", connect).await?;
        Ok(Box::new(PostgresWriter::new(connection, self.statement_timeout)))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.execute("ping", sqlx::query("SELECT 1")).await
    }

    async fn begin_node(&self, node: NodeId, at: Timestamp) -> Result<(), StoreError> {
        let begin = sqlx::query(
            "WITH dead AS (DELETE FROM nodes WHERE heartbeat_at < $3 AND id <> $1 RETURNING id),
                  forgotten AS (DELETE FROM presence WHERE node_id = $1 OR node_id IN (SELECT id FROM dead))
             INSERT INTO nodes (id, heartbeat_at) VALUES ($1, $2)
             ON CONFLICT (id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at",
        )
        .bind(node.as_uuid())
        .bind(PgTime::from(at))
        .bind(PgTime::from(at.minus(DEAD_NODE_KEPT)));
        self.execute("begin a node", begin).await
    }

    async fn heartbeat(&self, node: NodeId, at: Timestamp) -> Result<(), StoreError> {
        let beat = sqlx::query(
            "INSERT INTO nodes AS n (id, heartbeat_at) VALUES ($1, $2)
             ON CONFLICT (id) DO UPDATE SET heartbeat_at = greatest(n.heartbeat_at, excluded.heartbeat_at)",
        )
        .bind(node.as_uuid())
        .bind(PgTime::from(at));
        self.execute("record a heartbeat", beat).await
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
        // A row that is locked is being touched or closed, or another node expires it.
        let expire = sqlx::query_as(
            "UPDATE sessions SET status = 'expired', ended_at = alive_at
             WHERE id IN (
                 SELECT id FROM sessions
                 WHERE status = 'recording' AND (alive_at < $1 OR opened_at < $2)
                 LIMIT $3
                 FOR UPDATE SKIP LOCKED
             )
             RETURNING id, user_id",
        )
        .bind(PgTime::from(alive_before))
        .bind(PgTime::from(opened_before))
        .bind(MAX_EXPIRED);
        self.fetch("expire sessions", expire).await
    }

    async fn view(&self) -> Result<Arc<dyn View>, StoreError> {
        Ok(Arc::new(PostgresView::begin(self).await?))
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
        // The pool waits for its connections; those lost in a black hole never come back.
        let _ = tokio::time::timeout(self.statement_timeout, self.pool.close()).await;
    }
}
