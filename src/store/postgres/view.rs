//! Reads on Postgres, from any connection or within a view.

use async_trait::async_trait;
use sqlx::{
    FromRow, Postgres,
    postgres::{PgArguments, PgRow},
    query::QueryAs,
};

use super::{Loan, PostgresStore, read};
use crate::{
    domain::{AudioPart, SessionId, Timestamp, UserId},
    store::{
        EventQuery, EventRow, Reads, SessionQuery, SessionRow, StoreError, UserQuery, UserRow, View,
        error::within,
        view::{Held, VIEW_LIFETIME},
    },
};

/// A transaction that reads.
pub(super) struct PostgresView {
    store: PostgresStore,
    held: Held<Loan>,
}

impl PostgresView {
    pub(super) async fn begin(store: &PostgresStore) -> Result<Self, StoreError> {
        const CONTEXT: &str = "begin a view";
        let place = store.places.take().await?;
        let mut loan = Loan::of(&store.pool, CONTEXT).await?;
        // A slow client may pause for longer than a statement may take.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
             SET LOCAL idle_in_transaction_session_timeout = {}",
            2 * VIEW_LIFETIME.as_millis()
        );
        let begin = sqlx::raw_sql(sqlx::AssertSqlSafe(begin));
        within(store.statement_timeout, CONTEXT, begin.execute(&mut **loan)).await?;
        Ok(Self { store: store.clone(), held: Held::new(loan, place, VIEW_LIFETIME) })
    }

    async fn fetch<T>(
        &self,
        context: &'static str,
        query: QueryAs<'_, Postgres, T, PgArguments>,
    ) -> Result<Vec<T>, StoreError>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let mut held = self.held.lock().await;
        let Some((loan, _)) = held.as_mut() else {
            drop(held);
            return self.store.fetch(context, query).await;
        };
        let rows = within(self.store.statement_timeout, context, query.fetch_all(&mut ***loan)).await;
        if rows.is_err() {
            held.take();
        }
        rows
    }
}

#[async_trait]
impl View for PostgresView {
    async fn end(&self) {
        if let Some((mut loan, _place)) = self.held.lock().await.take() {
            let commit = sqlx::raw_sql("COMMIT").execute(&mut **loan);
            if within(self.store.statement_timeout, "end a view", commit).await.is_ok() {
                loan.settle();
            }
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
                self.fetch("read events of sessions", read::session_events(sessions, query)).await
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
                self.fetch("read events of users", read::user_events(users, query)).await
            }
        }
    };
}

reads!(PostgresStore);
reads!(PostgresView);
