//! The writing side: one transaction per batch.
//!
//! Promises: events, which are many, go in with one statement for each [`EVENTS_PER_STATEMENT`]; the other kinds are
//! few, and go one by one.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool};

use crate::{
    domain::{Event, NodeId, Record, SessionId, Timestamp},
    store::{
        StoreError, StoreWriter, WriteOutcome,
        batch::Batch,
        error::within,
        sql::{event_columns, merge_session, no_overlap, not_deleted, part_columns, track_is_outdated},
        tracks::track_due,
    },
};

/// Each statement is a trip to the connection's thread and back; from 32 rows on, more gain nothing measurable. The rest
/// of a batch is of any size below, so this is also how many texts the statement cache (100) has to keep.
const EVENTS_PER_STATEMENT: usize = 64;

/// A turn at the connection that writes.
pub(super) struct SqliteWriter {
    writing: SqlitePool,
    statement_timeout: Duration,
}

impl SqliteWriter {
    pub(super) const fn new(writing: SqlitePool, statement_timeout: Duration) -> Self {
        Self { writing, statement_timeout }
    }
}

#[async_trait]
impl StoreWriter for SqliteWriter {
    async fn write(&mut self, node: NodeId, records: &[Record]) -> Result<WriteOutcome, StoreError> {
        let batch = Batch::of(records);
        within(self.statement_timeout, "write a batch", write_batch(&self.writing, node, &batch)).await
    }
}

async fn write_batch(writing: &SqlitePool, node: NodeId, batch: &Batch<'_>) -> Result<WriteOutcome, sqlx::Error> {
    // A transaction that begins by reading may find itself unable to write; one that begins as a writer waits.
    let mut transaction = writing.begin_with("BEGIN IMMEDIATE").await?;
    upsert_users(&mut transaction, batch).await?;
    insert_streams(&mut transaction, batch).await?;
    update_presence(&mut transaction, node, batch).await?;
    merge_sessions(&mut transaction, batch).await?;
    let outcome = insert_events(&mut transaction, &batch.events).await?;
    insert_parts(&mut transaction, batch).await?;
    transaction.commit().await?;
    Ok(outcome)
}

/// News never overwrite what is known from later on, so that an old record may come again.
async fn upsert_users(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    for (user, news) in &batch.users {
        sqlx::query(concat!(
            "INSERT INTO users AS u (id, name, email, created_at, updated_at)
             SELECT * FROM (SELECT $1 AS id, $2, $3, $4, $5 AS updated_at) AS added
             WHERE ",
            not_deleted!("id", "updated_at"),
            " ON CONFLICT (id) DO UPDATE SET
                 name = CASE WHEN excluded.updated_at >= u.updated_at THEN coalesce(excluded.name, u.name)
                             ELSE coalesce(u.name, excluded.name) END,
                 email = CASE WHEN excluded.updated_at >= u.updated_at THEN coalesce(excluded.email, u.email)
                              ELSE coalesce(u.email, excluded.email) END,
                 created_at = min(u.created_at, excluded.created_at),
                 updated_at = max(u.updated_at, excluded.updated_at)"
        ))
        .bind(user.as_str())
        .bind(news.name)
        .bind(news.email)
        .bind(news.first_at.as_unix_ms())
        .bind(news.last_at.as_unix_ms())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

const INSERT_STREAM: &str = concat!(
    "INSERT INTO streams (id, user_id, created_at)
     SELECT * FROM (SELECT $1, $2 AS user_id, $3 AS created_at) AS added
     WHERE ",
    not_deleted!("user_id", "created_at"),
    " ON CONFLICT DO NOTHING"
);

async fn insert_streams(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    for opened in batch.streams.values() {
        sqlx::query(INSERT_STREAM)
            .bind(opened.stream.as_uuid())
            .bind(opened.user.as_str())
            .bind(opened.at.as_unix_ms())
            .execute(&mut *connection)
            .await?;
    }
    for (stream, seq) in &batch.control_seqs {
        sqlx::query("UPDATE streams SET control_seq = $2 WHERE id = $1 AND control_seq < $2")
            .bind(stream.as_uuid())
            .bind(seq)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn update_presence(
    connection: &mut SqliteConnection,
    node: NodeId,
    batch: &Batch<'_>,
) -> Result<(), sqlx::Error> {
    for (user, presence) in &batch.presence {
        let update = if presence.connected {
            sqlx::query("INSERT INTO presence (user_id, node_id, since) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(user.as_str())
                .bind(node.as_uuid())
                .bind(presence.at.as_unix_ms())
        } else {
            sqlx::query("DELETE FROM presence WHERE user_id = $1 AND node_id = $2")
                .bind(user.as_str())
                .bind(node.as_uuid())
        };
        update.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn merge_sessions(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    for (session, news) in &batch.sessions {
        sqlx::query(concat!(
            "INSERT INTO sessions AS s (id, user_id, page, status, opened_at, alive_at, ended_at)
             SELECT * FROM (SELECT $1 AS id, $2 AS user_id, $3, $4, $5 AS opened_at, $6, $7) AS added
             WHERE ",
            not_deleted!("id", "user_id", "opened_at"),
            " ",
            merge_session!("min", "max")
        ))
        .bind(session.as_uuid())
        .bind(news.user.as_str())
        .bind(news.page)
        .bind(news.status.as_str())
        .bind(news.opened_at.as_unix_ms())
        .bind(news.alive_at.as_unix_ms())
        .bind(news.ended_at.map(Timestamp::as_unix_ms))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

const BEFORE_EVENTS: &str = concat!("WITH added (", event_columns!(), ") AS (VALUES ");
const BEHIND_EVENTS: &str = concat!(
    ") INSERT INTO events (",
    event_columns!(),
    ") SELECT * FROM added WHERE ",
    not_deleted!("session_id", "user_id", "received_at"),
    " ON CONFLICT (stream_id, seq) DO NOTHING"
);

async fn insert_events(connection: &mut SqliteConnection, events: &[&Event]) -> Result<WriteOutcome, sqlx::Error> {
    let mut events_stored = 0;
    for rows in events.chunks(EVENTS_PER_STATEMENT) {
        let values = vec!["(?, ?, ?, ?, ?, ?, ?, ?)"; rows.len()].join(", ");
        let text = [BEFORE_EVENTS, &values, BEHIND_EVENTS].concat();
        let mut insert = sqlx::query(AssertSqlSafe(text));
        for event in rows {
            insert = insert
                .bind(event.stream.as_uuid())
                .bind(event.seq)
                .bind(event.user.as_str())
                .bind(event.session.as_ref().map(SessionId::as_uuid))
                .bind(event.name.as_str())
                .bind(event.data.as_str())
                .bind(event.client_at.map(Timestamp::as_unix_ms))
                .bind(event.received_at.as_unix_ms());
        }
        events_stored += insert.execute(&mut *connection).await?.rows_affected();
    }
    Ok(WriteOutcome::of(events.len(), events_stored))
}

async fn insert_parts(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    // One after the other: each is compared with those before it.
    for part in batch.parts.values() {
        let added = sqlx::query(concat!(
            "INSERT INTO audio_parts (",
            part_columns!(),
            ", arrivals)
             SELECT * FROM (
                 SELECT $1, $2 AS session_id, $3 AS user_id, $4 AS stream_id, $5 AS stream_offset, $6 AS started_at,
                        $7, $8, $9, $10 AS size_bytes, $11, $12
             ) AS added
             WHERE ",
            no_overlap!(),
            " AND ",
            not_deleted!("session_id", "user_id", "started_at"),
            " ON CONFLICT (run_id) DO NOTHING"
        ))
        .bind(part.run.as_uuid())
        .bind(part.session.as_uuid())
        .bind(part.user.as_str())
        .bind(part.stream.as_uuid())
        .bind(signed(part.stream_offset)?)
        .bind(part.started_at.as_unix_ms())
        .bind(part.ended_at.as_unix_ms())
        .bind(&part.object_key)
        .bind(part.format.content_type())
        .bind(signed(part.size_bytes)?)
        .bind(part.sha256.0.as_slice())
        .bind(part.arrivals.as_bytes())
        .execute(&mut *connection)
        .await?
        .rows_affected();
        if added > 0 {
            sqlx::query(concat!(
                "INSERT INTO audio_tracks (session_id, state, generation, due_at, attempts)
                 VALUES ($1, 'waiting', 1, $2, 0)",
                track_is_outdated!()
            ))
            .bind(part.session.as_uuid())
            .bind(track_due(part).as_unix_ms())
            .execute(&mut *connection)
            .await?;
        }
    }
    Ok(())
}

/// SQL has no unsigned integers.
fn signed(size: u64) -> Result<i64, sqlx::Error> {
    i64::try_from(size).map_err(|error| sqlx::Error::Encode(error.into()))
}
