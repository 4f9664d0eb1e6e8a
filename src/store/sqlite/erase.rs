//! Deletions on SQLite: each step is one transaction on the connection that writes.

use async_trait::async_trait;
use sqlx::types::Uuid;

use super::SqliteStore;
use crate::{
    domain::{Deletion, Doomed, RunId, SessionId, Timestamp, UserId},
    store::{Erase, Erased, ROWS_A_STEP, StoreError, error::within, sql},
};

const BEGIN: &str = "BEGIN IMMEDIATE";

#[async_trait]
impl Erase for SqliteStore {
    async fn mark_sessions_deleted(&self, sessions: &[SessionId], at: Timestamp) -> Result<(), StoreError> {
        within(self.statement_timeout, "mark sessions as deleted", async {
            let mut transaction = self.writing.begin_with(BEGIN).await?;
            for session in sessions {
                sqlx::query(MARK_SESSION)
                    .bind(session.as_uuid())
                    .bind(at.as_unix_ms())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        })
        .await
    }

    async fn mark_user_deleted(&self, user: &UserId, at: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        within(self.statement_timeout, "mark a user as deleted", async {
            let mut transaction = self.writing.begin_with(BEGIN).await?;
            sqlx::query(
                "INSERT INTO deleted_users AS d (user_id, deleted_at) VALUES ($1, $2)
                 ON CONFLICT (user_id) DO UPDATE
                     SET deleted_at = max(d.deleted_at, excluded.deleted_at), erased_at = NULL",
            )
            .bind(user.as_str())
            .bind(at.as_unix_ms())
            .execute(&mut *transaction)
            .await?;
            let doomed: Vec<(Uuid,)> =
                sqlx::query_as("SELECT id FROM sessions WHERE user_id = $1 AND opened_at <= $2 ORDER BY id")
                    .bind(user.as_str())
                    .bind(at.as_unix_ms())
                    .fetch_all(&mut *transaction)
                    .await?;
            for (session,) in &doomed {
                sqlx::query(MARK_SESSION).bind(session).bind(at.as_unix_ms()).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(doomed.into_iter().map(|(id,)| SessionId::from_uuid(id)).collect())
        })
        .await
    }

    async fn is_deleted(&self, session: SessionId, user: &UserId, at: Timestamp) -> Result<bool, StoreError> {
        let look = sqlx::query_as(sql::IS_DELETED).bind(session.as_uuid()).bind(user.as_str()).bind(at.as_unix_ms());
        let found: Vec<(bool,)> = self.fetch("look for a deletion", look).await?;
        Ok(found.into_iter().any(|(is_deleted,)| is_deleted))
    }

    async fn user_deleted_at(&self, user: &UserId) -> Result<Option<Timestamp>, StoreError> {
        let look = sqlx::query_as(sql::USER_DELETION).bind(user.as_str());
        let found: Vec<Deletion> = self.fetch("look for the deletion of a user", look).await?;
        Ok(found.into_iter().next().map(|deletion| deletion.at))
    }

    async fn erase_session(&self, session: SessionId, parts: &[RunId]) -> Result<Erased, StoreError> {
        within(self.statement_timeout, "erase a session", async {
            let mut transaction = self.writing.begin_with(BEGIN).await?;
            let events = sqlx::query(
                "DELETE FROM events WHERE rowid IN (SELECT rowid FROM events WHERE session_id = $1 LIMIT $2)",
            )
            .bind(session.as_uuid())
            .bind(ROWS_A_STEP)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
            if events == u64::from(ROWS_A_STEP) {
                transaction.commit().await?;
                return Ok(Erased { events, is_all: false });
            }
            for part in parts {
                sqlx::query("DELETE FROM audio_parts WHERE session_id = $1 AND run_id = $2")
                    .bind(session.as_uuid())
                    .bind(part.as_uuid())
                    .execute(&mut *transaction)
                    .await?;
            }
            sqlx::query(sql::ERASE_TRACK).bind(session.as_uuid()).execute(&mut *transaction).await?;
            sqlx::query("DELETE FROM sessions WHERE id = $1")
                .bind(session.as_uuid())
                .execute(&mut *transaction)
                .await?;
            let (has_parts,): (bool,) =
                sqlx::query_as(sql::HAS_PARTS).bind(session.as_uuid()).fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(Erased { events, is_all: !has_parts })
        })
        .await
    }

    async fn erase_user(&self, user: &UserId, at: Timestamp) -> Result<Erased, StoreError> {
        within(self.statement_timeout, "erase a user", async {
            let mut transaction = self.writing.begin_with(BEGIN).await?;
            let events = sqlx::query(
                "DELETE FROM events WHERE rowid IN (
                     SELECT rowid FROM events WHERE user_id = $1 AND session_id IS NULL AND received_at <= $2 LIMIT $3
                 )",
            )
            .bind(user.as_str())
            .bind(at.as_unix_ms())
            .bind(ROWS_A_STEP)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
            let is_all = events < u64::from(ROWS_A_STEP);
            if is_all {
                for text in sql::ERASE_USER {
                    sqlx::query(text).bind(user.as_str()).bind(at.as_unix_ms()).execute(&mut *transaction).await?;
                }
            }
            transaction.commit().await?;
            Ok(Erased { events, is_all })
        })
        .await
    }

    async fn unfinished_deletions(&self, marked_before: Timestamp, limit: u32) -> Result<Vec<Deletion>, StoreError> {
        let unfinished = sqlx::query_as(sql::UNFINISHED_DELETIONS).bind(marked_before.as_unix_ms()).bind(limit);
        self.fetch("read unfinished deletions", unfinished).await
    }

    async fn recent_deletions(&self, marked_since: Timestamp, limit: u32) -> Result<Vec<Deletion>, StoreError> {
        let recent = sqlx::query_as(sql::RECENT_DELETIONS).bind(marked_since.as_unix_ms()).bind(limit);
        self.fetch("read recent deletions", recent).await
    }

    async fn finish_deletion(&self, deletion: &Deletion, at: Timestamp) -> Result<(), StoreError> {
        let finish = match &deletion.what {
            Doomed::Session(session) => sqlx::query(sql::FINISH_SESSION).bind(session.as_uuid()),
            Doomed::User(user) => sqlx::query(sql::FINISH_USER).bind(user.as_str()),
        };
        let finish = finish.bind(at.as_unix_ms()).bind(deletion.at.as_unix_ms());
        within(self.statement_timeout, "finish a deletion", async { finish.execute(&self.writing).await.map(drop) })
            .await
    }

    async fn old_sessions(&self, opened_before: Timestamp, limit: u32) -> Result<Vec<SessionId>, StoreError> {
        let old = sqlx::query_as(sql::OLD_SESSIONS).bind(opened_before.as_unix_ms()).bind(limit);
        let found: Vec<(Uuid,)> = self.fetch("look for old sessions", old).await?;
        Ok(found.into_iter().map(|(id,)| SessionId::from_uuid(id)).collect())
    }

    async fn erase_old(&self, before: Timestamp) -> Result<u64, StoreError> {
        within(self.statement_timeout, "erase what is old", async {
            let mut transaction = self.writing.begin_with(BEGIN).await?;
            let mut rows = 0;
            for text in [ERASE_OLD_EVENTS, ERASE_OLD_USERS, ERASE_STREAMS_OF_NOBODY] {
                let erase = sqlx::query(text).bind(before.as_unix_ms()).bind(ROWS_A_STEP);
                rows = erase.execute(&mut *transaction).await?.rows_affected();
                // Users go when their events are gone, streams when their users are.
                if rows > 0 {
                    break;
                }
            }
            transaction.commit().await?;
            Ok(rows)
        })
        .await
    }

    async fn forget_deletions(&self, before: Timestamp) -> Result<(), StoreError> {
        within(self.statement_timeout, "forget deletions", async {
            for text in sql::FORGET_DELETIONS {
                sqlx::query(text).bind(before.as_unix_ms()).execute(&self.writing).await?;
            }
            Ok(())
        })
        .await
    }
}

const MARK_SESSION: &str =
    "INSERT INTO deleted_sessions (session_id, deleted_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";

const ERASE_OLD_EVENTS: &str = "
    DELETE FROM events WHERE rowid IN (
        SELECT rowid FROM events WHERE session_id IS NULL AND received_at < $1 LIMIT $2
    )";

const ERASE_OLD_USERS: &str = "
    DELETE FROM users WHERE id IN (
        SELECT id FROM users u
        WHERE updated_at < $1
          AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.user_id = u.id)
          AND NOT EXISTS (SELECT 1 FROM presence p WHERE p.user_id = u.id)
          AND NOT EXISTS (SELECT 1 FROM events e WHERE e.user_id = u.id AND e.session_id IS NULL)
        LIMIT $2
    )";

const ERASE_STREAMS_OF_NOBODY: &str = "
    DELETE FROM streams WHERE id IN (
        SELECT id FROM streams s
        WHERE created_at < $1 AND NOT EXISTS (SELECT 1 FROM users u WHERE u.id = s.user_id)
        LIMIT $2
    )";
