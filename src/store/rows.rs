//! What reads return. JSON stays text: nothing is parsed on the way from the database to the socket.

use crate::domain::{EventName, SessionId, SessionStatus, StreamId, Timestamp, UserId};

/// What one write did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteOutcome {
    pub events_stored: u64,
    /// Events whose `(stream, seq)` was there already.
    pub events_duplicate: u64,
}

impl WriteOutcome {
    pub(super) const fn of(events_sent: usize, events_stored: u64) -> Self {
        Self { events_stored, events_duplicate: (events_sent as u64).saturating_sub(events_stored) }
    }
}

/// A stream as far as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamState {
    pub user: UserId,
    /// Highest position stored; 0 when nothing is.
    pub last_seq: i64,
    /// End of the stream's stored audio, in bytes from its beginning.
    pub audio_end: u64,
}

/// A session that can be resumed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenSession {
    pub session: SessionId,
    pub opened_at: Timestamp,
    pub alive_at: Timestamp,
}

/// A session that [`super::Store::expire_sessions`] ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExpiredSession {
    pub session: SessionId,
    pub user: UserId,
}

/// A session as `GET /sessions` shows it, without events and audio.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionRow {
    pub session: SessionId,
    pub user: UserId,
    pub status: SessionStatus,
    pub page: Option<String>,
    pub opened_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub num_events: u64,
}

/// Where a page of sessions ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionCursor {
    pub opened_at: Timestamp,
    pub session: SessionId,
}

/// A user as `GET /users` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserRow {
    pub user: UserId,
    pub name: Option<String>,
    pub email: Option<String>,
    pub connected: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub num_sessions: u64,
    /// Events outside any session.
    pub num_events: u64,
}

/// Where a page of users ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserCursor {
    pub created_at: Timestamp,
    pub user: UserId,
}

/// One event; `O` says whose: a session's or a user's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventRow<O> {
    pub owner: O,
    pub stream: StreamId,
    pub seq: i64,
    pub name: EventName,
    /// JSON text as it was sent.
    pub data: String,
    pub client_at: Option<Timestamp>,
    pub received_at: Timestamp,
}

/// Where a page of events ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventCursor {
    pub received_at: Timestamp,
    pub stream: StreamId,
    pub seq: i64,
}

impl EventCursor {
    /// Numbers begin at 1.
    #[must_use]
    pub const fn before_everything_at(received_at: Timestamp) -> Self {
        Self { received_at, stream: StreamId::from_bytes([0; 16]), seq: 0 }
    }
}

impl<O> EventRow<O> {
    /// The place of this event, to go on after it.
    pub const fn cursor(&self) -> EventCursor {
        EventCursor { received_at: self.received_at, stream: self.stream, seq: self.seq }
    }
}
