//! Reads on SQLite, from any connection or within a view.

use async_trait::async_trait;
use sqlx::{
    FromRow, Sqlite, SqliteConnection,
    pool::PoolConnection,
    query::QueryAs,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{SqliteStore, read};
use crate::{
    domain::{AudioPart, SessionId, Timestamp, UserId},
    store::{
        EventQuery, EventRow, Reads, SessionQuery, SessionRow, StoreError, UserQuery, UserRow, View,
        error::within,
        view::{Held, VIEW_LIFETIME},
    },
};

/// A transaction that reads.
pub(super) struct SqliteView {
    store: SqliteStore,
    held: Held<Transaction>,
}

/// A connection that is closed unless its transaction was ended.
struct Transaction {
    connection: PoolConnection<Sqlite>,
    is_ended: bool,
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.is_ended {
            self.connection.close_on_drop();
        }
    }
}

impl SqliteView {
    pub(super) async fn begin(store: &SqliteStore) -> Result<Self, StoreError> {
        let place = store.places.take().await?;
        let transaction = within(store.statement_timeout, "begin a view", async {
            let mut connection = store.reading.acquire().await?;
            sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
            Ok(Transaction { connection, is_ended: false })
        })
        .await?;
        Ok(Self { store: store.clone(), held: Held::new(transaction, place, VIEW_LIFETIME) })
    }

    async fn fetch<T>(
        &self,
        context: &'static str,
        query: QueryAs<'_, Sqlite, T, SqliteArguments>,
    ) -> Result<Vec<T>, StoreError>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        let mut held = self.held.lock().await;
        let Some((transaction, _)) = held.as_mut() else {
            drop(held);
            return self.store.fetch(context, query).await;
        };
        within(self.store.statement_timeout, context, query.fetch_all(&mut *transaction.connection)).await
    }

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
        let mut held = self.held.lock().await;
        let Some((transaction, _)) = held.as_mut() else {
            drop(held);
            return self.store.fetch_events(context, owners, query, events_of).await;
        };
        let connection: &mut SqliteConnection = &mut transaction.connection;
        within(self.store.statement_timeout, context, super::events_of_each(connection, owners, query, events_of)).await
    }
}

#[async_trait]
impl View for SqliteView {
    async fn end(&self) {
        if let Some((mut transaction, _place)) = self.held.lock().await.take() {
            let commit = sqlx::raw_sql("COMMIT").execute(&mut *transaction.connection);
            transaction.is_ended = within(self.store.statement_timeout, "end a view", commit).await.is_ok();
        }
    }
}

macro_rules! reads {
    ($reader:ty) => {
        #[async_trait]
        impl Reads for $reader {
            async fn sessions(&self, query: &SessionQuery) -> Result<Vec<SessionRow>, StoreError> {
                self.fetch("read sessions", read::sessions(query).build_query_as()).await
            }

            async fn session_events(
                &self,
                sessions: &[SessionId],
                query: &EventQuery,
            ) -> Result<Vec<EventRow<SessionId>>, StoreError> {
                self.fetch_events("read events of sessions", sessions, query, |session, query| {
                    read::session_events(*session, query)
                })
                .await
            }

            async fn audio_parts(&self, sessions: &[SessionId]) -> Result<Vec<AudioPart>, StoreError> {
                self.fetch("read audio parts", read::audio_parts(sessions)).await
            }

            async fn users(&self, query: &UserQuery, now: Timestamp) -> Result<Vec<UserRow>, StoreError> {
                self.fetch("read users", read::users(query, now).build_query_as()).await
            }

            async fn user_events(
                &self,
                users: &[UserId],
                query: &EventQuery,
            ) -> Result<Vec<EventRow<UserId>>, StoreError> {
                self.fetch_events("read events of users", users, query, |user, query| read::user_events(user, query))
                    .await
            }
        }
    };
}

reads!(SqliteStore);
reads!(SqliteView);
