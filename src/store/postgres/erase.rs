//! Deletions on Postgres.

use async_trait::async_trait;
use sqlx::{postgres::PgBindIterExt, types::Uuid};

use super::{Loan, PostgresStore, time::PgTime};
use crate::{
    domain::{Deletion, Doomed, RunId, SessionId, Timestamp, UserId},
    store::{Erase, Erased, ROWS_A_STEP, StoreError, error::within, sql},
};

#[async_trait]
impl Erase for PostgresStore {
    async fn mark_sessions_deleted(&self, sessions: &[SessionId], at: Timestamp) -> Result<(), StoreError> {
        let mark = sqlx::query(
            "INSERT INTO deleted_sessions (session_id, deleted_at)
             SELECT id, $2 FROM unnest($1::uuid[]) AS doomed (id) ORDER BY id
             ON CONFLICT DO NOTHING",
        )
        .bind(sessions.iter().map(SessionId::as_uuid).bind_iter())
        .bind(PgTime::from(at));
        self.execute("mark sessions as deleted", mark).await
    }

    async fn mark_user_deleted(&self, user: &UserId, at: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        let mark = sqlx::query_as(
            "WITH marked AS (
                 INSERT INTO deleted_users AS d (user_id, deleted_at) VALUES ($1, $2)
                 ON CONFLICT (user_id) DO UPDATE
                     SET deleted_at = greatest(d.deleted_at, excluded.deleted_at), erased_at = NULL
             ), doomed AS (
                 SELECT id FROM sessions WHERE user_id = $1 AND opened_at <= $2 ORDER BY id
             ), sessions_marked AS (
                 INSERT INTO deleted_sessions (session_id, deleted_at) SELECT id, $2 FROM doomed ON CONFLICT DO NOTHING
             )
             SELECT id FROM doomed",
        )
        .bind(user.as_str())
        .bind(PgTime::from(at));
        let sessions: Vec<(Uuid,)> = self.fetch("mark a user as deleted", mark).await?;
        Ok(sessions.into_iter().map(|(id,)| SessionId::from_uuid(id)).collect())
    }

    async fn is_deleted(&self, session: SessionId, user: &UserId, at: Timestamp) -> Result<bool, StoreError> {
        let look = sqlx::query_as(sql::IS_DELETED).bind(session.as_uuid()).bind(user.as_str()).bind(PgTime::from(at));
        let found: Vec<(bool,)> = self.fetch("look for a deletion", look).await?;
        Ok(found.into_iter().any(|(is_deleted,)| is_deleted))
    }

    async fn user_deleted_at(&self, user: &UserId) -> Result<Option<Timestamp>, StoreError> {
        let found: Vec<Deletion> = self
            .fetch("look for the deletion of a user", sqlx::query_as(sql::USER_DELETION).bind(user.as_str()))
            .await?;
        Ok(found.into_iter().next().map(|deletion| deletion.at))
    }

    async fn erase_session(&self, session: SessionId, parts: &[RunId]) -> Result<Erased, StoreError> {
        const CONTEXT: &str = "erase a session";
        let mut loan = Loan::of(&self.pool, CONTEXT).await?;
        let erased = within(self.statement_timeout, CONTEXT, async {
            let events = sqlx::query(
                "DELETE FROM events WHERE ctid = ANY (ARRAY(SELECT ctid FROM events WHERE session_id = $1 LIMIT $2))",
            )
            .bind(session.as_uuid())
            .bind(i64::from(ROWS_A_STEP))
            .execute(&mut **loan)
            .await?
            .rows_affected();
            if events == u64::from(ROWS_A_STEP) {
                return Ok(Erased { events, is_all: false });
            }
            sqlx::query("DELETE FROM audio_parts WHERE session_id = $1 AND run_id = ANY ($2)")
                .bind(session.as_uuid())
                .bind(parts.iter().map(RunId::as_uuid).bind_iter())
                .execute(&mut **loan)
                .await?;
            sqlx::query(sql::ERASE_TRACK).bind(session.as_uuid()).execute(&mut **loan).await?;
            sqlx::query("DELETE FROM sessions WHERE id = $1").bind(session.as_uuid()).execute(&mut **loan).await?;
            let (has_parts,): (bool,) =
                sqlx::query_as(sql::HAS_PARTS).bind(session.as_uuid()).fetch_one(&mut **loan).await?;
            Ok(Erased { events, is_all: !has_parts })
        })
        .await?;
        loan.settle();
        Ok(erased)
    }

    async fn erase_user(&self, user: &UserId, at: Timestamp) -> Result<Erased, StoreError> {
        const CONTEXT: &str = "erase a user";
        let mut loan = Loan::of(&self.pool, CONTEXT).await?;
        let erased = within(self.statement_timeout, CONTEXT, async {
            let events = sqlx::query(
                "DELETE FROM events WHERE ctid = ANY (ARRAY(
                     SELECT ctid FROM events WHERE user_id = $1 AND session_id IS NULL AND received_at <= $2 LIMIT $3
                 ))",
            )
            .bind(user.as_str())
            .bind(PgTime::from(at))
            .bind(i64::from(ROWS_A_STEP))
            .execute(&mut **loan)
            .await?
            .rows_affected();
            if events == u64::from(ROWS_A_STEP) {
                return Ok(Erased { events, is_all: false });
            }
            for text in sql::ERASE_USER {
                sqlx::query(text).bind(user.as_str()).bind(PgTime::from(at)).execute(&mut **loan).await?;
            }
            Ok(Erased { events, is_all: true })
        })
        .await?;
        loan.settle();
        Ok(erased)
    }

    async fn unfinished_deletions(&self, marked_before: Timestamp, limit: u32) -> Result<Vec<Deletion>, StoreError> {
        let unfinished =
            sqlx::query_as(sql::UNFINISHED_DELETIONS).bind(PgTime::from(marked_before)).bind(i64::from(limit));
        self.fetch("read unfinished deletions", unfinished).await
    }

    async fn recent_deletions(&self, marked_since: Timestamp, limit: u32) -> Result<Vec<Deletion>, StoreError> {
        let recent = sqlx::query_as(sql::RECENT_DELETIONS).bind(PgTime::from(marked_since)).bind(i64::from(limit));
        self.fetch("read recent deletions", recent).await
    }

    async fn finish_deletion(&self, deletion: &Deletion, at: Timestamp) -> Result<(), StoreError> {
        let finish = match &deletion.what {
            Doomed::Session(session) => sqlx::query(sql::FINISH_SESSION).bind(session.as_uuid()),
            Doomed::User(user) => sqlx::query(sql::FINISH_USER).bind(user.as_str()),
        };
        let finish = finish.bind(PgTime::from(at)).bind(PgTime::from(deletion.at));
        self.execute("finish a deletion", finish).await
    }

    async fn old_sessions(&self, opened_before: Timestamp, limit: u32) -> Result<Vec<SessionId>, StoreError> {
        let old = sqlx::query_as(sql::OLD_SESSIONS).bind(PgTime::from(opened_before)).bind(i64::from(limit));
        let found: Vec<(Uuid,)> = self.fetch("look for old sessions", old).await?;
        Ok(found.into_iter().map(|(id,)| SessionId::from_uuid(id)).collect())
    }

    async fn erase_old(&self, before: Timestamp) -> Result<u64, StoreError> {
        const CONTEXT: &str = "erase what is old";
        let mut loan = Loan::of(&self.pool, CONTEXT).await?;
        let rows = within(self.statement_timeout, CONTEXT, async {
            let events = sqlx::query(
                "DELETE FROM events WHERE ctid = ANY (ARRAY(
                     SELECT ctid FROM events WHERE session_id IS NULL AND received_at < $1 LIMIT $2
                 ))",
            )
            .bind(PgTime::from(before))
            .bind(i64::from(ROWS_A_STEP))
            .execute(&mut **loan)
            .await?
            .rows_affected();
            if events > 0 {
                return Ok(events);
            }
            let users = sqlx::query(
                "WITH gone AS (
                     DELETE FROM users WHERE id = ANY (ARRAY(
                         SELECT id FROM users u
                         WHERE updated_at < $1
                           AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.user_id = u.id)
                           AND NOT EXISTS (SELECT 1 FROM presence p WHERE p.user_id = u.id)
                           AND NOT EXISTS (SELECT 1 FROM events e WHERE e.user_id = u.id AND e.session_id IS NULL)
                         LIMIT $2
                     )) AND updated_at < $1
                     RETURNING id
                 ), their_streams AS (
                     DELETE FROM streams WHERE user_id IN (SELECT id FROM gone) AND created_at < $1
                 )
                 SELECT count(*) FROM gone",
            )
            .bind(PgTime::from(before))
            .bind(i64::from(ROWS_A_STEP))
            .fetch_one(&mut **loan)
            .await?;
            sqlx::Row::try_get::<i64, _>(&users, 0).map(i64::cast_unsigned)
        })
        .await?;
        loan.settle();
        Ok(rows)
    }

    async fn forget_deletions(&self, before: Timestamp) -> Result<(), StoreError> {
        for text in sql::FORGET_DELETIONS {
            self.execute("forget deletions", sqlx::query(text).bind(PgTime::from(before))).await?;
        }
        Ok(())
    }
}
