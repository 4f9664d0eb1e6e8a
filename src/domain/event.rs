//! One thing a page told: a move, a scroll, a click, a changed DOM.

use super::{EventName, JsonText, SessionId, StreamId, Timestamp, UserId};

/// An event as it is stored. `(stream, seq)` is its key: stored twice, it is still one row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub stream: StreamId,
    /// Position in the stream, from 1; given by the client or counted by the server. Gaps are allowed.
    pub seq: i64,
    pub user: UserId,
    /// The recording it belongs to; `None` outside a recording.
    pub session: Option<SessionId>,
    pub name: EventName,
    /// As sent, byte for byte.
    pub data: JsonText,
    /// The client's clock, if it told.
    pub client_at: Option<Timestamp>,
    /// The server's clock at arrival; never goes back within a stream.
    pub received_at: Timestamp,
}
