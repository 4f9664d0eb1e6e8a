//! The reading side: queries, bound.

use sqlx::{
    Postgres, QueryBuilder,
    postgres::{PgArguments, PgRow},
    query::QueryAs,
    types::Uuid,
};

use super::time::PgTime;
use crate::{
    domain::{AudioPart, RunId, SessionId, StreamId, Timestamp, UserId},
    store::{
        EventQuery, EventRow, NODE_LIFETIME, OpenSession, SessionFilter, SessionQuery, SessionRow, UserFilter,
        UserQuery, UserRow,
        decode::decode_rows,
        listing::{push_sessions, push_users},
        sql::{self, part_columns, track_columns},
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

pub(super) fn sessions(query: &SessionQuery) -> QueryBuilder<Postgres> {
    let mut builder = QueryBuilder::new(sql::SESSION_BEGIN);
    builder.push(if query.counts_events { sql::SESSION_EVENTS } else { sql::NOT_COUNTED });
    push_sessions!(builder, query, PgTime::from);
    builder
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
                   AND received_at < $6 AND ($7::text[] IS NULL OR name = ANY ($7))
                 ORDER BY received_at, stream_id, seq
                 LIMIT $5
             ) e
             ORDER BY wanted.place, e.received_at, e.stream_id, e.seq
             LIMIT $5"
        )
    };
}

pub(super) fn session_events(sessions: &[SessionId], query: &EventQuery) -> Ask<'static, EventRow<SessionId>> {
    let select = sqlx::query_as(select_events!("uuid", "session_id", ""))
        .bind(sessions.iter().map(SessionId::as_uuid).collect::<Vec<_>>());
    bind_page(select, query)
}

pub(super) fn user_events<'q>(users: &'q [UserId], query: &EventQuery) -> Ask<'q, EventRow<UserId>> {
    let select = sqlx::query_as(select_events!("text", "user_id", "AND session_id IS NULL"))
        .bind(users.iter().map(UserId::as_str).collect::<Vec<_>>());
    bind_page(select, query)
}

fn bind_page<'q, T>(select: Ask<'q, T>, query: &EventQuery) -> Ask<'q, T> {
    let after = query.begin();
    let names: Vec<String> = query.filter.names.iter().map(|name| name.as_str().to_owned()).collect();
    select
        .bind(after.map_or(PgTime::MINUS_INFINITY, |cursor| cursor.received_at.into()))
        .bind(after.map_or(Uuid::nil(), |cursor| cursor.stream.as_uuid()))
        .bind(after.map_or(0, |cursor| cursor.seq))
        .bind(i64::from(query.limit))
        .bind(query.filter.until.map_or(PgTime::INFINITY, PgTime::from))
        .bind((!names.is_empty()).then_some(names))
}

pub(super) fn audio_parts(sessions: &[SessionId]) -> Ask<'static, AudioPart> {
    sqlx::query_as(concat!(
        "SELECT ",
        part_columns!(),
        " FROM audio_parts WHERE session_id = ANY($1) ORDER BY session_id, started_at, run_id"
    ))
    .bind(sessions.iter().map(SessionId::as_uuid).collect::<Vec<_>>())
}

pub(super) fn audio_tracks(sessions: &[SessionId]) -> Ask<'static, TrackRow> {
    sqlx::query_as(concat!("SELECT ", track_columns!(), " FROM audio_tracks WHERE session_id = ANY($1)"))
        .bind(sessions.iter().map(SessionId::as_uuid).collect::<Vec<_>>())
}

pub(super) fn stream_parts(stream: StreamId) -> Ask<'static, AudioPart> {
    sqlx::query_as(sql::STREAM_PARTS).bind(stream.as_uuid())
}

pub(super) fn audio_part(run: RunId) -> Ask<'static, AudioPart> {
    sqlx::query_as(sql::AUDIO_PART).bind(run.as_uuid())
}

pub(super) fn users(query: &UserQuery, now: Timestamp) -> QueryBuilder<Postgres> {
    let alive = now.minus(NODE_LIFETIME);
    let mut builder = QueryBuilder::new(sql::USER_BEGIN);
    builder.push_bind(PgTime::from(alive)).push(sql::USER_END);
    builder.push(if query.counts_events { sql::USER_EVENTS } else { sql::NOT_COUNTED });
    push_users!(builder, query, alive, PgTime::from);
    builder
}
