//! The reading side: queries, bound. Times are milliseconds since the Unix epoch.

use sqlx::{
    Sqlite,
    query::QueryAs,
    sqlite::{SqliteArguments, SqliteRow},
    types::Uuid,
};

use crate::{
    domain::{AudioPart, RunId, SessionId, StreamId, Timestamp, UserId},
    store::{
        EventCursor, EventRow, NODE_LIFETIME, OpenSession, SessionCursor, SessionRow, UserCursor, UserRow,
        decode::decode_rows,
        sql::{self, part_columns},
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

pub(super) fn sessions(after: Option<SessionCursor>, limit: u32) -> Ask<'static, SessionRow> {
    sqlx::query_as(sql::SESSIONS)
        .bind(after.map_or(i64::MAX, |cursor| cursor.opened_at.as_unix_ms()))
        .bind(after.map_or(Uuid::nil(), |cursor| cursor.session.as_uuid()))
        .bind(limit)
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
             ORDER BY received_at, stream_id, seq
             LIMIT $5"
        )
    };
}

pub(super) fn session_events(
    session: SessionId,
    after: Option<EventCursor>,
    limit: u32,
) -> Ask<'static, EventRow<SessionId>> {
    bind_page(sqlx::query_as(select_events!("session_id", "")).bind(session.as_uuid()), after, limit)
}

pub(super) fn user_events(user: &UserId, after: Option<EventCursor>, limit: u32) -> Ask<'static, EventRow<UserId>> {
    bind_page(
        sqlx::query_as(select_events!("user_id", "AND session_id IS NULL")).bind(user.as_str().to_owned()),
        after,
        limit,
    )
}

fn bind_page<T>(query: Ask<'_, T>, after: Option<EventCursor>, limit: u32) -> Ask<'_, T> {
    query
        .bind(after.map_or(i64::MIN, |cursor| cursor.received_at.as_unix_ms()))
        .bind(after.map_or(Uuid::nil(), |cursor| cursor.stream.as_uuid()))
        .bind(after.map_or(0, |cursor| cursor.seq))
        .bind(limit)
}

pub(super) fn audio_parts(sessions: &[SessionId]) -> Ask<'static, AudioPart> {
    // SQLite binds no arrays: the ids travel as one JSON text of hexadecimal digits.
    let wanted: Vec<String> = sessions.iter().map(|session| session.as_uuid().simple().to_string()).collect();
    sqlx::query_as(concat!(
        "SELECT ",
        part_columns!(),
        " FROM audio_parts WHERE session_id IN (SELECT unhex(value) FROM json_each($1))
          ORDER BY session_id, started_at, run_id"
    ))
    .bind(sqlx::types::Json(wanted))
}

pub(super) fn stream_parts(stream: StreamId) -> Ask<'static, AudioPart> {
    sqlx::query_as(sql::STREAM_PARTS).bind(stream.as_uuid())
}

pub(super) fn audio_part(run: RunId) -> Ask<'static, AudioPart> {
    sqlx::query_as(sql::AUDIO_PART).bind(run.as_uuid())
}

pub(super) fn users(after: Option<&UserCursor>, limit: u32, now: Timestamp) -> Ask<'_, UserRow> {
    let (created_at, user) =
        after.map_or((i64::MAX, ""), |cursor| (cursor.created_at.as_unix_ms(), cursor.user.as_str()));
    sqlx::query_as(sql::USERS).bind(now.minus(NODE_LIFETIME).as_unix_ms()).bind(created_at).bind(user).bind(limit)
}

pub(super) fn user(user: &UserId, now: Timestamp) -> Ask<'_, UserRow> {
    sqlx::query_as(sql::USER).bind(now.minus(NODE_LIFETIME).as_unix_ms()).bind(user.as_str())
}
