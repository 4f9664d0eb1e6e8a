//! What clients say and hear, without I/O: bytes in, messages out, and back.
//!
//! Owns: the two wire formats (plain frames, Socket.IO over Engine.IO) and the one meaning behind them.
//! Promises: a [`ClientMessage`] is valid in every field; a codec never panics and holds no more than one message.
//! Refuses: clocks, sockets, and any knowledge of sessions.

pub mod engine_session;
pub mod engineio;
mod error;
mod message;
pub mod plain;
pub mod socketio;
pub mod websocket;

use bytes::Bytes;
use bytestring::ByteString;

pub use error::{CloseCode, ErrorCode, ProtocolError};
pub use message::{AckTag, ClientEvent, ClientMessage, Hello, ServerMessage, StartRecording};

/// One whole message of a transport: a websocket message, or one Engine.IO packet.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    Text(ByteString),
    Binary(Bytes),
}

impl Frame {
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

/// What one inbound frame means.
#[derive(Debug, Default)]
pub struct Decoded {
    /// For the session, in order.
    pub messages: Vec<ClientMessage>,
    /// For the client, at once: answers that the wire format itself demands.
    pub replies: Vec<Frame>,
}

impl From<ClientMessage> for Decoded {
    fn from(message: ClientMessage) -> Self {
        Self { messages: vec![message], replies: Vec::new() }
    }
}

/// One connection's wire format. Keeps what it must between frames (a half-received binary packet), nothing else.
pub trait Codec: Send + 'static {
    /// # Errors
    /// [`ProtocolError`] ends the connection after the client was told.
    fn decode(&mut self, frame: Frame) -> Result<Decoded, ProtocolError>;

    /// The frames that carry `message`; none when this format has no word for it.
    fn encode(&mut self, message: &ServerMessage) -> Vec<Frame>;
}
