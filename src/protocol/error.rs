//! Names for what goes wrong between a client and this server, for programs to branch on.
//!
//! Promises: a code never changes its meaning; every close for cause is preceded by an error with one of these.

use std::{borrow::Cow, fmt};

/// What went wrong, as `error.code` on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ErrorCode {
    /// A text frame is not JSON, or not UTF-8.
    BadJson,
    /// JSON, but not a message: a field is missing, of the wrong type or out of bounds.
    BadMessage,
    /// A frame breaks the transport's protocol.
    BadFrame,
    /// The first message must be a hello.
    HelloRequired,
    /// No hello within the handshake timeout.
    HelloTimeout,
    /// A message is larger than `server.max_message_bytes`.
    TooLarge,
    /// A message took longer than `server.message_timeout_ms` to arrive.
    TooSlow,
    /// Audio without a recording.
    NotRecording,
    /// The session named in the hello is not this user's, or not open any more.
    UnknownSession,
    /// The stream named in the hello is another user's.
    UnknownStream,
    /// A newer connection resumed this stream.
    Replaced,
    /// The server lost track of what this connection sent: reconnect and send again what was not acknowledged.
    Aborted,
    /// The database refuses this one event for good.
    Rejected,
    /// The client does not read what it is sent.
    SlowReader,
    /// The client did not answer the heartbeat.
    HeartbeatLost,
    /// No key or token, or one that is not valid.
    Unauthorized,
    /// The token's time is over: reconnect with a new one.
    TokenExpired,
    /// A message names another user than the token does.
    WrongUser,
    /// The key is not for pages of this origin.
    ForeignOrigin,
    /// As many connections as this address or key may have.
    RateLimited,
    /// All that was known of this user was deleted: reconnect as a new one.
    Deleted,
    /// The server stops or restarts: reconnect.
    Draining,
    /// The server carries as many connections as it is set to.
    Overloaded,
}

impl ErrorCode {
    /// In the order of their numbers.
    pub const ALL: [Self; 23] = [
        Self::BadJson,
        Self::BadMessage,
        Self::BadFrame,
        Self::HelloRequired,
        Self::HelloTimeout,
        Self::TooLarge,
        Self::TooSlow,
        Self::NotRecording,
        Self::UnknownSession,
        Self::UnknownStream,
        Self::Replaced,
        Self::Aborted,
        Self::Rejected,
        Self::SlowReader,
        Self::HeartbeatLost,
        Self::Unauthorized,
        Self::TokenExpired,
        Self::WrongUser,
        Self::ForeignOrigin,
        Self::RateLimited,
        Self::Deleted,
        Self::Draining,
        Self::Overloaded,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::BadMessage => "bad_message",
            Self::BadFrame => "bad_frame",
            Self::HelloRequired => "hello_required",
            Self::HelloTimeout => "hello_timeout",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::NotRecording => "not_recording",
            Self::UnknownSession => "unknown_session",
            Self::UnknownStream => "unknown_stream",
            Self::Replaced => "replaced",
            Self::Aborted => "aborted",
            Self::Rejected => "rejected",
            Self::SlowReader => "slow_reader",
            Self::HeartbeatLost => "heartbeat_lost",
            Self::Unauthorized => "unauthorized",
            Self::TokenExpired => "token_expired",
            Self::WrongUser => "wrong_user",
            Self::ForeignOrigin => "foreign_origin",
            Self::RateLimited => "rate_limited",
            Self::Deleted => "deleted",
            Self::Draining => "draining",
            Self::Overloaded => "overloaded",
        }
    }

    /// The websocket close code that follows the error.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        CloseCode(match self {
            Self::BadJson | Self::BadMessage | Self::NotRecording | Self::HelloRequired => 4400,
            Self::BadFrame => 1002,
            Self::Unauthorized | Self::TokenExpired | Self::WrongUser | Self::ForeignOrigin => 4401,
            Self::UnknownSession | Self::UnknownStream => 4404,
            Self::HelloTimeout | Self::TooSlow | Self::HeartbeatLost => 4408,
            Self::Replaced => 4409,
            Self::TooLarge => 1009,
            Self::SlowReader | Self::RateLimited => 4429,
            Self::Rejected => 4422,
            Self::Aborted | Self::Deleted | Self::Draining => 1012,
            Self::Overloaded => 1013,
        })
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A websocket close code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CloseCode(pub u16);

impl CloseCode {
    pub const NORMAL: Self = Self(1000);
    pub const GOING_AWAY: Self = Self(1001);
}

/// What a client did wrong, in a word and a sentence.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ProtocolError {
    pub code: ErrorCode,
    pub message: Cow<'static, str>,
}

impl ProtocolError {
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// A message that is JSON but makes no sense.
    pub fn bad_message(reason: impl fmt::Display) -> Self {
        Self::new(ErrorCode::BadMessage, reason.to_string())
    }
}
