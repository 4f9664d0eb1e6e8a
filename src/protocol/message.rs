//! The messages both doors share.

use bytes::Bytes;

use super::ErrorCode;
use crate::domain::{EventName, JsonText, Profile, SessionId, StreamId, Timestamp, UserId};

/// How the client wants to hear that a message is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AckTag {
    /// Not at all.
    #[default]
    None,
    /// By its number; one answer covers everything before it (plain).
    Seq(i64),
    /// By an id of its own (Socket.IO).
    Id(i64),
}

impl AckTag {
    #[must_use]
    pub const fn is_wanted(self) -> bool {
        !matches!(self, Self::None)
    }
}

/// What a client can say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientMessage {
    Hello(Hello),
    /// The user behind this connection is known only now, or is another one from here on.
    Identify(UserId),
    StartRecording(StartRecording),
    /// Bytes of the recording.
    Audio {
        user: Option<UserId>,
        bytes: Bytes,
        ack: AckTag,
        /// Whether the bytes start a recording if none is on (the published widget sends nothing else).
        starts_recording: bool,
    },
    EndRecording {
        user: Option<UserId>,
        seq: Option<i64>,
        ack: AckTag,
    },
    Event(ClientEvent),
}

/// The first message of a connection.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Hello {
    pub user: Option<UserId>,
    pub profile: Profile,
    /// A stream to resume, or a fresh id that the client chose.
    pub stream: Option<StreamId>,
    /// The first byte of the stream's audio that the client still has: what is before it was acknowledged, perhaps by
    /// another node.
    pub audio_offset: u64,
    /// A session that must still be open.
    pub session: Option<SessionId>,
    /// A public write key.
    pub key: Option<String>,
    /// A JWT of the shop: says who the user is.
    pub token: Option<String>,
    /// Whether a user may still be named by a later message; if not, one without a name is anonymous at once.
    pub names_user_later: bool,
}

impl std::fmt::Debug for Hello {
    /// Keys and tokens stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("user", &self.user)
            .field("stream", &self.stream)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// `recording:start`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StartRecording {
    pub user: Option<UserId>,
    pub page: Option<String>,
    pub seq: Option<i64>,
    pub ack: AckTag,
}

/// Any other message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientEvent {
    /// Named in the payload (the published widget); `None`: the connection's user.
    pub user: Option<UserId>,
    pub name: EventName,
    pub data: JsonText,
    /// From 1; `None`: the server counts.
    pub seq: Option<i64>,
    pub at: Option<Timestamp>,
    pub ack: AckTag,
}

/// What the server can say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerMessage {
    /// The hello is accepted; the user behind it is not known yet.
    Admitted,
    Welcome {
        user: UserId,
        stream: StreamId,
        session: Option<SessionId>,
        /// Events from this number on are wanted.
        next_seq: i64,
        /// Audio from this byte of the stream on is wanted.
        audio_offset: u64,
    },
    /// Durable: with [`AckTag::Seq`] everything up to it, with [`AckTag::Id`] this one message.
    Acked(AckTag),
    /// This one message will never be stored. For clients that wait for an answer to each message by its id, and send it
    /// again until one comes; the [`Self::Error`] of it goes to everybody.
    Refused {
        tag: AckTag,
        code: ErrorCode,
        message: String,
        seq: Option<i64>,
    },
    /// The stream's audio is durable up to this byte.
    AudioAcked {
        tag: AckTag,
        stream_end: u64,
    },
    RecordingStarted {
        tag: AckTag,
        session: SessionId,
        resumed: bool,
    },
    /// `None`: no recording was on.
    RecordingEnded {
        tag: AckTag,
        session: Option<SessionId>,
    },
    AudioSaved {
        session: SessionId,
        audio_urls: Vec<String>,
    },
    Error {
        code: ErrorCode,
        message: String,
        /// The message that it is about, where it is about one.
        seq: Option<i64>,
    },
}
