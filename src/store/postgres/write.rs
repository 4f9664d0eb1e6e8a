//! The writing side: one statement per kind of record, whatever their number.
//!
//! Promises: a batch of events alone is one statement, one round trip and one commit; any other batch is one
//! transaction. Rows are locked in the same order by every writer (see [`Batch`]).

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{Connection, PgConnection, postgres::PgBindIterExt, types::Uuid};

use super::time::PgTime;
use crate::{
    domain::{AudioPart, Event, NodeId, Presence, Record, RunId, SessionId, StreamId, Timestamp},
    store::{
        StoreError, StoreErrorKind, StoreWriter, WriteOutcome,
        batch::{Batch, UserNews},
        error::within,
        session_news::SessionNews,
        sql::{event_columns, merge_session, no_overlap, not_deleted, part_columns, track_is_outdated},
        tracks::track_due,
    },
};

/// One actor's connection.
pub(super) struct PostgresWriter {
    /// `None` once a write failed: what the server makes of an unanswered statement is not known, so the connection
    /// was closed.
    connection: Option<PgConnection>,
    statement_timeout: Duration,
}

impl PostgresWriter {
    pub(super) const fn new(connection: PgConnection, statement_timeout: Duration) -> Self {
        Self { connection: Some(connection), statement_timeout }
    }
}

#[async_trait]
impl StoreWriter for PostgresWriter {
    async fn write(&mut self, node: NodeId, records: &[Record]) -> Result<WriteOutcome, StoreError> {
        const CONTEXT: &str = "write a batch";
        // Taken out, and put back when all went well: a future that is dropped halfway leaves nothing behind either.
        let Some(mut connection) = self.connection.take() else {
            return Err(StoreError::new(StoreErrorKind::Retryable, CONTEXT, "the connection was given up"));
        };
        let batch = Batch::of(records);
        let outcome = within(self.statement_timeout, CONTEXT, write_batch(&mut connection, node, &batch)).await?;
        self.connection = Some(connection);
        Ok(outcome)
    }
}

async fn write_batch(
    connection: &mut PgConnection,
    node: NodeId,
    batch: &Batch<'_>,
) -> Result<WriteOutcome, sqlx::Error> {
    if batch.has_only_events {
        return insert_events(connection, &batch.events).await;
    }
    let mut transaction = connection.begin().await?;
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
async fn upsert_users(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    if batch.users.is_empty() {
        return Ok(());
    }
    let news = || batch.users.values().copied();
    sqlx::query(concat!(
        "INSERT INTO users AS u (id, name, email, created_at, updated_at)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
             AS added (id, name, email, created_at, updated_at)
         WHERE ",
        not_deleted!("id", "updated_at"),
        " ON CONFLICT (id) DO UPDATE SET
             name = CASE WHEN excluded.updated_at >= u.updated_at THEN coalesce(excluded.name, u.name)
                         ELSE coalesce(u.name, excluded.name) END,
             email = CASE WHEN excluded.updated_at >= u.updated_at THEN coalesce(excluded.email, u.email)
                          ELSE coalesce(u.email, excluded.email) END,
             created_at = least(u.created_at, excluded.created_at),
             updated_at = greatest(u.updated_at, excluded.updated_at)"
    ))
    .bind(batch.users.keys().map(|user| user.as_str()).bind_iter())
    .bind(news().map(|UserNews { name, .. }| name).bind_iter())
    .bind(news().map(|UserNews { email, .. }| email).bind_iter())
    .bind(news().map(|UserNews { first_at, .. }| PgTime::from(first_at)).bind_iter())
    .bind(news().map(|UserNews { last_at, .. }| PgTime::from(last_at)).bind_iter())
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_streams(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    if !batch.streams.is_empty() {
        let streams = || batch.streams.values();
        sqlx::query(concat!(
            "INSERT INTO streams (id, user_id, created_at)
             SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS added (id, user_id, created_at)
             WHERE ",
            not_deleted!("user_id", "created_at"),
            " ON CONFLICT (id) DO NOTHING"
        ))
        .bind(streams().map(|opened| opened.stream.as_uuid()).bind_iter())
        .bind(streams().map(|opened| opened.user.as_str()).bind_iter())
        .bind(streams().map(|opened| PgTime::from(opened.at)).bind_iter())
        .execute(&mut *connection)
        .await?;
    }
    if !batch.control_seqs.is_empty() {
        sqlx::query(
            "UPDATE streams AS s SET control_seq = settled.seq
             FROM unnest($1::uuid[], $2::bigint[]) AS settled (id, seq)
             WHERE s.id = settled.id AND s.control_seq < settled.seq",
        )
        .bind(batch.control_seqs.keys().map(StreamId::as_uuid).bind_iter())
        .bind(batch.control_seqs.values().copied().bind_iter())
        .execute(connection)
        .await?;
    }
    Ok(())
}

async fn update_presence(connection: &mut PgConnection, node: NodeId, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    let (connected, disconnected): (Vec<&Presence>, Vec<&Presence>) =
        batch.presence.values().partition(|presence| presence.connected);
    if !connected.is_empty() {
        sqlx::query(
            "INSERT INTO presence (user_id, node_id, since)
             SELECT user_id, $3, since FROM unnest($1::text[], $2::timestamptz[]) AS connected (user_id, since)
             ON CONFLICT (user_id, node_id) DO NOTHING",
        )
        .bind(connected.iter().map(|presence| presence.user.as_str()).bind_iter())
        .bind(connected.iter().map(|presence| PgTime::from(presence.at)).bind_iter())
        .bind(node.as_uuid())
        .execute(&mut *connection)
        .await?;
    }
    if !disconnected.is_empty() {
        sqlx::query("DELETE FROM presence WHERE node_id = $1 AND user_id = ANY($2::text[])")
            .bind(node.as_uuid())
            .bind(disconnected.iter().map(|presence| presence.user.as_str()).bind_iter())
            .execute(connection)
            .await?;
    }
    Ok(())
}

async fn merge_sessions(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    if batch.sessions.is_empty() {
        return Ok(());
    }
    let news = || batch.sessions.values().copied();
    sqlx::query(concat!(
        "INSERT INTO sessions AS s (id, user_id, page, status, opened_at, alive_at, ended_at)
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                              $7::timestamptz[])
             AS added (id, user_id, page, status, opened_at, alive_at, ended_at)
         WHERE ",
        not_deleted!("id", "user_id", "opened_at"),
        " ",
        merge_session!("least", "greatest")
    ))
    .bind(batch.sessions.keys().map(SessionId::as_uuid).bind_iter())
    .bind(news().map(|SessionNews { user, .. }| user.as_str()).bind_iter())
    .bind(news().map(|SessionNews { page, .. }| page).bind_iter())
    .bind(news().map(|SessionNews { status, .. }| status.as_str()).bind_iter())
    .bind(news().map(|SessionNews { opened_at, .. }| PgTime::from(opened_at)).bind_iter())
    .bind(news().map(|SessionNews { alive_at, .. }| PgTime::from(alive_at)).bind_iter())
    .bind(news().map(|SessionNews { ended_at, .. }| ended_at.map(PgTime::from)).bind_iter())
    .execute(connection)
    .await?;
    Ok(())
}

/// What `not_deleted!` says, asked once for each statement instead of each row, since most batches have nothing deleted:
/// measured with 200,000 marks, 5 % of the insert's time rather than 30 %. `$3` and `$4` are the users and sessions.
macro_rules! event_not_deleted {
    () => {
        "coalesce(added.session_id <> ALL (ARRAY(
             SELECT session_id FROM deleted_sessions WHERE session_id = ANY ($4)
         )), true)
         AND (
             added.user_id <> ALL (ARRAY(SELECT user_id FROM deleted_users WHERE user_id = ANY ($3)))
             OR NOT EXISTS (
                 SELECT 1 FROM deleted_users d WHERE d.user_id = added.user_id AND d.deleted_at >= added.received_at
             )
         )"
    };
}

async fn insert_events(connection: &mut PgConnection, events: &[&Event]) -> Result<WriteOutcome, sqlx::Error> {
    if events.is_empty() {
        return Ok(WriteOutcome::default());
    }
    let events_stored = sqlx::query(concat!(
        "INSERT INTO events (",
        event_columns!(),
        ")
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::uuid[], $5::text[], $6::text[],
                              $7::timestamptz[], $8::timestamptz[])
             AS added (",
        event_columns!(),
        ") WHERE ",
        event_not_deleted!(),
        " ON CONFLICT (stream_id, seq) DO NOTHING"
    ))
    .bind(events.iter().map(|event| event.stream.as_uuid()).bind_iter())
    .bind(events.iter().map(|event| event.seq).bind_iter())
    .bind(events.iter().map(|event| event.user.as_str()).bind_iter())
    .bind(events.iter().map(|event| event.session.as_ref().map(SessionId::as_uuid)).bind_iter())
    .bind(events.iter().map(|event| event.name.as_str()).bind_iter())
    .bind(events.iter().map(|event| event.data.as_str()).bind_iter())
    .bind(events.iter().map(|event| event.client_at.map(PgTime::from)).bind_iter())
    .bind(events.iter().map(|event| PgTime::from(event.received_at)).bind_iter())
    .execute(connection)
    .await?
    .rows_affected();
    Ok(WriteOutcome::of(events.len(), events_stored))
}

async fn insert_parts(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    if batch.parts.is_empty() {
        return Ok(());
    }
    lock_audio(connection, batch.parts.values().map(|part| part.stream)).await?;
    // A statement does not see its own rows, so it has one part of each stream.
    let mut sessions = BTreeMap::new();
    let mut waiting: Vec<&AudioPart> = batch.parts.values().copied().collect();
    while !waiting.is_empty() {
        let mut streams = HashSet::new();
        let (now, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|part| streams.insert(part.stream));
        for (run,) in insert_parts_of_different_streams(connection, &now).await? {
            if let Some(part) = batch.parts.get(&RunId::from_uuid(run)) {
                let due = sessions.entry(part.session).or_insert_with(|| track_due(part));
                *due = track_due(part).max(*due);
            }
        }
        waiting = later;
    }
    outdate_tracks(connection, sessions).await
}

/// Until the end of the transaction no other node gives these streams parts: it could not see ours, nor we its.
async fn lock_audio(connection: &mut PgConnection, streams: impl Iterator<Item = StreamId>) -> Result<(), sqlx::Error> {
    // The random half of the id. Two streams with the same number wait for each other, and nothing else.
    let mut numbers: Vec<i64> = streams.map(|stream| stream.as_uuid().as_u64_pair().1.cast_signed()).collect();
    // Everybody locks in the same order.
    numbers.sort_unstable();
    numbers.dedup();
    sqlx::query(
        "SELECT pg_advisory_xact_lock(number) FROM unnest($1::bigint[]) WITH ORDINALITY AS locks (number, place)",
    )
    .bind(numbers)
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_parts_of_different_streams(
    connection: &mut PgConnection,
    parts: &[&AudioPart],
) -> Result<Vec<(Uuid,)>, sqlx::Error> {
    let parts = || parts.iter();
    sqlx::query_as(concat!(
        "INSERT INTO audio_parts (",
        part_columns!(),
        ", arrivals)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::bigint[], $6::timestamptz[],
                              $7::timestamptz[], $8::text[], $9::text[], $10::bigint[], $11::bytea[],
                              $12::bytea[])
             AS added (",
        part_columns!(),
        ", arrivals)
         WHERE ",
        no_overlap!(),
        " AND ",
        not_deleted!("session_id", "user_id", "started_at"),
        " ON CONFLICT (run_id) DO NOTHING RETURNING run_id"
    ))
    .bind(parts().map(|part| part.run.as_uuid()).bind_iter())
    .bind(parts().map(|part| part.session.as_uuid()).bind_iter())
    .bind(parts().map(|part| part.user.as_str()).bind_iter())
    .bind(parts().map(|part| part.stream.as_uuid()).bind_iter())
    .bind(signed(parts().map(|part| part.stream_offset))?)
    .bind(parts().map(|part| PgTime::from(part.started_at)).bind_iter())
    .bind(parts().map(|part| PgTime::from(part.ended_at)).bind_iter())
    .bind(parts().map(|part| part.object_key.as_str()).bind_iter())
    .bind(parts().map(|part| part.format.content_type()).bind_iter())
    .bind(signed(parts().map(|part| part.size_bytes))?)
    .bind(parts().map(|part| part.sha256.0.as_slice()).bind_iter())
    .bind(parts().map(|part| part.arrivals.as_bytes()).bind_iter())
    .fetch_all(connection)
    .await
}

/// The tracks of sessions that got parts are to be made, or made again.
async fn outdate_tracks(
    connection: &mut PgConnection,
    sessions: BTreeMap<SessionId, Timestamp>,
) -> Result<(), sqlx::Error> {
    if sessions.is_empty() {
        return Ok(());
    }
    sqlx::query(concat!(
        "INSERT INTO audio_tracks (session_id, state, generation, due_at, attempts)
         SELECT id, 'waiting', 1, due, 0 FROM unnest($1::uuid[], $2::timestamptz[]) AS added (id, due)",
        track_is_outdated!()
    ))
    // In the order of their ids, as everybody locks them.
    .bind(sessions.keys().map(SessionId::as_uuid).bind_iter())
    .bind(sessions.values().map(|due| PgTime::from(*due)).bind_iter())
    .execute(connection)
    .await?;
    Ok(())
}

/// SQL has no unsigned integers.
fn signed(sizes: impl Iterator<Item = u64>) -> Result<Vec<i64>, sqlx::Error> {
    sizes.map(i64::try_from).collect::<Result<_, _>>().map_err(|error| sqlx::Error::Encode(error.into()))
}
