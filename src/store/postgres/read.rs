//! The reading side: queries, bound.

use sqlx::{
    Postgres,
    postgres::{PgArguments, PgRow},
    query::QueryAs,
    types::Uuid,
};

use super::time::PgTime;
use crate::{
    domain::{AudioPart, RunId, SessionId, StreamId, Timestamp, UserId},
    store::{
        EventCursor, EventRow, NODE_LIFETIME, OpenSession, SessionCursor, SessionRow, UserCursor, UserRow,
        decode::decode_rows,
        sql::{self, part_columns},
    },
};

type Ask<'q, T> = QueryAs<'q, Postgres, T, PgArguments>;

decode_rows!(Postgres, PgRow, PgTime);

pub(super) fn stream_state(stream: StreamId) -> Ask<'static, StreamState> {
    sqlx::query_as(
        "SELECT user_id,
                greatest(control_seq, (SELECT max(seq) FROM events WHERE stream_id = $1)),
                coalesce((SELECT max(stream_offset + size_bytes) FROM audio_parts WHERE stream_id = $1), 0)
         FROM streams WHERE id = $1",
    )
    .bind(stream.as_uuid())
}

pub(super) fn open_session(user: &UserId, alive_since: Timestamp, opened_since: Timestamp) -> Ask<'_, OpenSession> {
    sqlx::query_as(sql::OPEN_SESSION)
        .bind(user.as_str())
        .bind(PgTime::from(opened_since))
        .bind(PgTime::from(alive_since))
}

pub(super) fn sessions(after: Option<SessionCursor>, limit: u32) -> Ask<'static, SessionRow> {
    sqlx::query_as(sql::SESSIONS)
        .bind(after.map_or(PgTime::INFINITY, |cursor| cursor.opened_at.into()))
        .bind(after.map_or(Uuid::nil(), |cursor| cursor.session.as_uuid()))
        .bind(i64::from(limit))
}

pub(super) fn session(session: SessionId) -> Ask<'static, SessionRow> {
    sqlx::query_as(sql::SESSION).bind(session.as_uuid())
}

/// Each owner's events are read by themselves, in their order, and no more of them than the page takes; so the sort at
/// the end has one owner's events of one page to look at, at a time.
macro_rules! select_events {
    ($owner_type:literal, $owner:literal, $outside:literal) => {
        concat!(
            "SELECT wanted.id, e.stream_id, e.seq, e.name, e.data, e.client_at, e.received_at
             FROM unnest($1::",
            $owner_type,
            "[]) WITH ORDINALITY AS wanted (id, place)
             CROSS JOIN LATERAL (
                 SELECT stream_id, seq, name, data, client_at, received_at FROM events
                 WHERE ",
            $owner,
            " = wanted.id ",
            $outside,
            " AND (received_at, stream_id, seq) > ($2, $3, $4)
                 ORDER BY received_at, stream_id, seq
                 LIMIT $5
             ) e
             ORDER BY wanted.place, e.received_at, e.stream_id, e.seq
             LIMIT $5"
        )
    };
}

pub(super) fn session_events(
    sessions: &[SessionId],
    after: Option<EventCursor>,
    limit: u32,
) -> Ask<'static, EventRow<SessionId>> {
    let query = sqlx::query_as(select_events!("uuid", "session_id", ""))
        .bind(sessions.iter().map(SessionId::as_uuid).collect::<Vec<_>>());
    bind_page(query, after, limit)
}

pub(super) fn user_events(users: &[UserId], after: Option<EventCursor>, limit: u32) -> Ask<'_, EventRow<UserId>> {
    let query = sqlx::query_as(select_events!("text", "user_id", "AND session_id IS NULL"))
        .bind(users.iter().map(UserId::as_str).collect::<Vec<_>>());
    bind_page(query, after, limit)
}

fn bind_page<T>(query: Ask<'_, T>, after: Option<EventCursor>, limit: u32) -> Ask<'_, T> {
    query
        .bind(after.map_or(PgTime::MINUS_INFINITY, |cursor| cursor.received_at.into()))
        .bind(after.map_or(Uuid::nil(), |cursor| cursor.stream.as_uuid()))
        .bind(after.map_or(0, |cursor| cursor.seq))
        .bind(i64::from(limit))
}

pub(super) fn audio_parts(sessions: &[SessionId]) -> Ask<'static, AudioPart> {
    sqlx::query_as(concat!(
        "SELECT ",
        part_columns!(),
        " FROM audio_parts WHERE session_id = ANY($1) ORDER BY session_id, started_at, run_id"
    ))
    .bind(sessions.iter().map(SessionId::as_uuid).collect::<Vec<_>>())
}

pub(super) fn stream_parts(stream: StreamId) -> Ask<'static, AudioPart> {
    sqlx::query_as(sql::STREAM_PARTS).bind(stream.as_uuid())
}

pub(super) fn audio_part(run: RunId) -> Ask<'static, AudioPart> {
    sqlx::query_as(sql::AUDIO_PART).bind(run.as_uuid())
}

pub(super) fn users(after: Option<&UserCursor>, limit: u32, now: Timestamp) -> Ask<'_, UserRow> {
    let (created_at, user) =
        after.map_or((PgTime::INFINITY, ""), |cursor| (cursor.created_at.into(), cursor.user.as_str()));
    sqlx::query_as(sql::USERS)
        .bind(PgTime::from(now.minus(NODE_LIFETIME)))
        .bind(created_at)
        .bind(user)
        .bind(i64::from(limit))
}

pub(super) fn user(user: &UserId, now: Timestamp) -> Ask<'_, UserRow> {
    sqlx::query_as(sql::USER).bind(PgTime::from(now.minus(NODE_LIFETIME))).bind(user.as_str())
}
