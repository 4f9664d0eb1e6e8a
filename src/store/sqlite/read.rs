//! The reading side: queries, bound. Times are milliseconds since the Unix epoch.

use sqlx::{
    QueryBuilder, Sqlite,
    query::QueryAs,
    sqlite::{SqliteArguments, SqliteRow},
    types::Uuid,
};

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

type Ask<'q, T> = QueryAs<'q, Sqlite, T, SqliteArguments>;

/// A stored time.
#[derive(sqlx::Type)]
#[sqlx(transparent)]
struct UnixMs(i64);

impl UnixMs {
    fn into_timestamp(self) -> Result<Timestamp, &'static str> {
        Timestamp::from_unix_ms(self.0).ok_or("time outside years 1 to 9999")
    }
}

decode_rows!(Sqlite, SqliteRow, UnixMs);

pub(super) fn stream_state(stream: StreamId) -> Ask<'static, StreamState> {
    sqlx::query_as(
        "SELECT user_id,
                max(control_seq, coalesce((SELECT max(seq) FROM events WHERE stream_id = $1), 0)),
                coalesce((SELECT max(stream_offset + size_bytes) FROM audio_parts WHERE stream_id = $1), 0)
         FROM streams WHERE id = $1",
    )
    .bind(stream.as_uuid())
}

pub(super) fn open_session(user: &UserId, alive_since: Timestamp, opened_since: Timestamp) -> Ask<'_, OpenSession> {
    sqlx::query_as(sql::OPEN_SESSION).bind(user.as_str()).bind(opened_since.as_unix_ms()).bind(alive_since.as_unix_ms())
}

pub(super) fn sessions(query: &SessionQuery) -> QueryBuilder<Sqlite> {
    let mut builder = QueryBuilder::new(sql::SESSION_BEGIN);
    builder.push(if query.counts_events { sql::SESSION_EVENTS } else { sql::NOT_COUNTED });
    push_sessions!(builder, query, Timestamp::as_unix_ms);
    builder
}

pub(super) fn session(session: SessionId) -> Ask<'static, SessionRow> {
    sqlx::query_as(sql::SESSION).bind(session.as_uuid())
}

macro_rules! select_events {
    ($owner:literal, $outside:literal) => {
        concat!(
            "SELECT ",
            $owner,
            ", stream_id, seq, name, data, client_at, received_at FROM events
             WHERE ",
            $owner,
            " = $1 ",
            $outside,
            " AND (received_at, stream_id, seq) > ($2, $3, $4)
               AND received_at < $6 AND ($7 IS NULL OR name IN (SELECT value FROM json_each($7)))
             ORDER BY received_at, stream_id, seq
             LIMIT $5"
        )
    };
}

pub(super) fn session_events(session: SessionId, query: &EventQuery) -> Ask<'static, EventRow<SessionId>> {
    bind_page(sqlx::query_as(select_events!("session_id", "")).bind(session.as_uuid()), query)
}

pub(super) fn user_events(user: &UserId, query: &EventQuery) -> Ask<'static, EventRow<UserId>> {
    let select = sqlx::query_as(select_events!("user_id", "AND session_id IS NULL"));
    bind_page(select.bind(user.as_str().to_owned()), query)
}

fn bind_page<'q, T>(select: Ask<'q, T>, query: &EventQuery) -> Ask<'q, T> {
    let after = query.begin();
    let names: Vec<String> = query.filter.names.iter().map(|name| name.as_str().to_owned()).collect();
    select
        .bind(after.map_or(i64::MIN, |cursor| cursor.received_at.as_unix_ms()))
        .bind(after.map_or(Uuid::nil(), |cursor| cursor.stream.as_uuid()))
        .bind(after.map_or(0, |cursor| cursor.seq))
        .bind(query.limit)
        .bind(query.filter.until.map_or(i64::MAX, Timestamp::as_unix_ms))
        .bind((!names.is_empty()).then_some(sqlx::types::Json(names)))
}

pub(super) fn audio_parts(sessions: &[SessionId]) -> Ask<'static, AudioPart> {
    sqlx::query_as(concat!(
        "SELECT ",
        part_columns!(),
        " FROM audio_parts WHERE session_id IN (SELECT unhex(value) FROM json_each($1))
          ORDER BY session_id, started_at, run_id"
    ))
    .bind(hex_list(sessions))
}

pub(super) fn audio_tracks(sessions: &[SessionId]) -> Ask<'static, TrackRow> {
    sqlx::query_as(concat!(
        "SELECT ",
        track_columns!(),
        " FROM audio_tracks WHERE session_id IN (SELECT unhex(value) FROM json_each($1))"
    ))
    .bind(hex_list(sessions))
}

/// SQLite binds no arrays: ids travel as one JSON text of hexadecimal digits.
fn hex_list(sessions: &[SessionId]) -> sqlx::types::Json<Vec<String>> {
    sqlx::types::Json(sessions.iter().map(|session| session.as_uuid().simple().to_string()).collect())
}

pub(super) fn stream_parts(stream: StreamId) -> Ask<'static, AudioPart> {
    sqlx::query_as(sql::STREAM_PARTS).bind(stream.as_uuid())
}

pub(super) fn audio_part(run: RunId) -> Ask<'static, AudioPart> {
    sqlx::query_as(sql::AUDIO_PART).bind(run.as_uuid())
}

pub(super) fn users(query: &UserQuery, now: Timestamp) -> QueryBuilder<Sqlite> {
    let alive = now.minus(NODE_LIFETIME);
    let mut builder = QueryBuilder::new(sql::USER_BEGIN);
    builder.push_bind(Timestamp::as_unix_ms(alive)).push(sql::USER_END);
    builder.push(if query.counts_events { sql::USER_EVENTS } else { sql::NOT_COUNTED });
    push_users!(builder, query, alive, Timestamp::as_unix_ms);
    builder
}
