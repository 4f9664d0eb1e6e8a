//! A record: one fact that must not be lost. It is journaled, batched and stored; applying it twice changes nothing.

use super::{AudioPart, Event, Profile, SessionId, SessionStatus, StreamId, Timestamp, UserId};

/// The unit that the journal keeps and the store writes. Within a stream records are applied in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    StreamOpened(StreamOpened),
    Presence(Presence),
    SessionOpened(SessionOpened),
    SessionTouched(SessionTouched),
    SessionClosed(SessionClosed),
    Event(Event),
    AudioAttached(AudioPart),
}

/// A stream said hello: its user exists from now on, with what is known of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamOpened {
    pub stream: StreamId,
    pub user: UserId,
    pub profile: Profile,
    pub at: Timestamp,
}

/// A user's first connection to this node came, or the last one went. Not replayed after a restart: a restarted
/// node has no connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presence {
    pub user: UserId,
    pub connected: bool,
    pub at: Timestamp,
}

/// `recording:start` opened a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionOpened {
    pub session: SessionId,
    pub user: UserId,
    pub stream: StreamId,
    /// The message's place in its stream; `None` when the server counts.
    pub seq: Option<i64>,
    pub page: Option<String>,
    pub at: Timestamp,
}

/// A session is alive: sent now and then while events or audio arrive. It also brings a session back to `recording`
/// that was taken for idle while this node could not reach the database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionTouched {
    pub session: SessionId,
    /// Whose session it is: the record may be stored before the session's opening, which another actor has.
    pub user: UserId,
    pub at: Timestamp,
}

/// A session ended, by `recording:end` or by time. Of its user's ends the earliest stays; time ends it only until there
/// is news of it again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionClosed {
    pub session: SessionId,
    /// As in [`SessionTouched`].
    pub user: UserId,
    pub stream: StreamId,
    pub seq: Option<i64>,
    /// [`SessionStatus::Ended`] or [`SessionStatus::Expired`].
    pub status: SessionStatus,
    pub at: Timestamp,
}

impl Record {
    /// The stream's highest position that this record settles, if it has one.
    #[must_use]
    pub const fn seq(&self) -> Option<i64> {
        match self {
            Self::Event(event) => Some(event.seq),
            Self::SessionOpened(opened) => opened.seq,
            Self::SessionClosed(closed) => closed.seq,
            Self::StreamOpened(_) | Self::Presence(_) | Self::SessionTouched(_) | Self::AudioAttached(_) => None,
        }
    }
}
