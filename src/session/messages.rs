//! What transports and sessions tell each other. A session never learns which transport it has.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use actix::prelude::*;

use crate::{
    auth::Access,
    domain::SessionId,
    objects::{Location, ObjectKey},
    protocol::{CloseCode, Frame, ProtocolError},
    runtime::Permit,
};

/// One whole inbound message with the right to hold it.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct FrameIn {
    pub frame: Frame,
    pub permit: Permit,
}

/// The transport ended: nothing more comes in. Sent exactly once. After [`LostCause::Violation`] it can still send:
/// it waits a moment for the session's error and its [`FrameOut::Close`].
#[derive(Message, Debug, Clone, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct ConnectionLost {
    pub cause: LostCause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LostCause {
    /// The client closed it, or the network did.
    ClosedByPeer,
    /// The client broke the transport's rules. The session tells it so and closes.
    Violation(ProtocolError),
    /// This server closed it.
    ClosedByUs,
}

/// One message for the client, or the end.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub enum FrameOut {
    Frame(Frame),
    /// Everything sent before goes out, then the transport closes.
    Close {
        code: CloseCode,
        reason: String,
    },
}

/// The session's end of a transport.
#[derive(Clone)]
pub struct ConnectionHandle {
    to: Recipient<FrameOut>,
    /// Bytes handed over and not yet taken by the transport.
    queued_bytes: Arc<AtomicUsize>,
    limit_bytes: usize,
}

/// The client does not read: more than the limit waits for it.
#[derive(Debug, PartialEq, Eq)]
pub struct OutboundFull;

impl ConnectionHandle {
    /// `queued_bytes` is shared with the transport, which subtracts what it has taken (see [`Self::taken`]).
    #[must_use]
    pub const fn new(to: Recipient<FrameOut>, queued_bytes: Arc<AtomicUsize>, limit_bytes: usize) -> Self {
        Self { to, queued_bytes, limit_bytes }
    }

    /// # Errors
    /// [`OutboundFull`] when the client has not read enough of what was sent before. A transport that is gone takes
    /// anything: its [`ConnectionLost`] is on the way.
    pub fn send(&self, frame: Frame) -> Result<(), OutboundFull> {
        let cost = Self::cost(&frame);
        if self.queued_bytes.fetch_add(cost, Ordering::Relaxed) + cost > self.limit_bytes {
            return Err(OutboundFull);
        }
        self.tell(FrameOut::Frame(frame));
        Ok(())
    }

    pub fn close(&self, code: CloseCode, reason: impl Into<String>) {
        self.tell(FrameOut::Close { code, reason: reason.into() });
    }

    /// The transport took `frame` off its queue.
    pub fn taken(queued_bytes: &AtomicUsize, frame: &Frame) {
        queued_bytes.fetch_sub(Self::cost(frame), Ordering::Relaxed);
    }

    /// A frame costs its bytes and a queue slot.
    fn cost(frame: &Frame) -> usize {
        frame.len() + 64
    }

    /// Bounded by bytes in [`Self::send`]; a transport that is gone reports itself lost.
    fn tell(&self, message: FrameOut) {
        self.to.do_send(message);
    }
}

/// The transport's end of a session.
#[derive(Clone)]
pub struct SessionHandle {
    pub frames: Recipient<FrameIn>,
    pub lost: Recipient<ConnectionLost>,
}

/// What a session is told about its user by the rest of the node.
#[derive(Message, Debug, Clone, PartialEq, Eq)]
#[rtype(result = "()")]
pub enum SessionNews {
    /// Another connection of the user opened a session.
    Opened(SessionId),
    /// A session of the user is over.
    Closed(SessionId),
    /// A session of the user was deleted, while it may have been recording.
    SessionDeleted(SessionId),
    /// All that is known of the user was deleted: the connection ends, and the next one is a new user's.
    UserDeleted,
    /// A session's audio is stored; the paths are completed with the connection's base URL.
    AudioSaved { session: SessionId, audio_urls: Vec<AudioUrl> },
    /// Keys were made or revoked: whose key is gone, goes too.
    KeysChanged,
    /// The node stops: say goodbye.
    Drain,
}

/// Where stored audio can be heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioUrl {
    /// Complete as it is (presigned).
    Absolute(String),
    /// A path on this server, with the query that opens it.
    Path(String),
}

impl AudioUrl {
    /// Where a client hears what an object store has at `location`: files are served by this server, to those whom
    /// `access` gave the link.
    #[must_use]
    pub fn of(location: Location, key: &ObjectKey, access: &Access) -> Self {
        match location {
            Location::Url(url) => Self::Absolute(url),
            Location::File(_) => Self::Path(access.link(&format!("/audio/{}", key.as_str()))),
        }
    }

    /// The URL as a client of the server at `base_url` (no slash at its end) opens it.
    #[must_use]
    pub fn complete(self, base_url: &str) -> String {
        match self {
            Self::Absolute(url) => url,
            Self::Path(path) => format!("{base_url}{path}"),
        }
    }
}
