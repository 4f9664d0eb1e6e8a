//! The Socket.IO door's wire format: what `socket.io-client` 4 and its relatives speak, inside Engine.IO messages.
//!
//! Owns: one client's connection to the main namespace.
//! Promises: a published widget, which sends no handshake payload, hears only what it knows: `audio:saved`, `error` and
//! the acknowledgements it asked for. `welcome` is for clients whose handshake named a stream.
//! Refuses: other namespaces, as the protocol says it; events before the handshake.
//!
//! A handshake is answered once the session has taken it, so that it can still be refused. One that names no user is
//! taken before there is one, since it may be named much later.

pub mod event;
pub mod packet;
mod words;

use bytestring::ByteString;
use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide_core::Sid;

use self::{
    packet::{Incoming, MAIN_NAMESPACE, PacketReader},
    words::Meaning,
};
use super::{
    AckTag, ClientMessage, Codec, Decoded, ErrorCode, Frame, ProtocolError, ServerMessage,
    plain::{Welcome, decode_hello, json_error},
};
use crate::domain::SessionId;

/// The codec of one connection.
#[derive(Debug)]
pub struct SocketIoCodec {
    reader: PacketReader,
    phase: Phase,
    /// The handshake named a stream, so that the client knows what a welcome is.
    wants_welcome: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    AwaitingConnect,
    /// The handshake is with the session.
    Connecting,
    Connected,
    /// The client left the namespace: it hears nothing more. The transport is its to close.
    Disconnected,
}

impl SocketIoCodec {
    /// `max_message_bytes` bounds the attachments of one packet together; its text is bounded by the transport.
    #[must_use]
    pub fn new(max_message_bytes: usize) -> Self {
        Self { reader: PacketReader::new(max_message_bytes), phase: Phase::AwaitingConnect, wants_welcome: false }
    }

    fn connect(&mut self, auth: Option<&ByteString>) -> Result<Decoded, ProtocolError> {
        if self.phase != Phase::AwaitingConnect {
            return Err(ProtocolError::bad_message("this connection was made before"));
        }
        // Before the payload is looked at: its error is the answer to this handshake.
        self.phase = Phase::Connecting;
        let auth = auth.map(|auth| serde_json::from_str::<&RawValue>(auth)).transpose().map_err(json_error)?;
        let mut hello = decode_hello(auth)?;
        hello.names_user_later = hello.user.is_none();
        self.wants_welcome = hello.stream.is_some();
        Ok(ClientMessage::Hello(hello).into())
    }

    fn accept(&mut self) -> Vec<Frame> {
        self.phase = Phase::Connected;
        packet::connected(MAIN_NAMESPACE, Sid::new())
    }

    fn event(&self, namespace: &str, ack: Option<i64>, event: &event::EventText) -> Result<Decoded, ProtocolError> {
        if namespace != MAIN_NAMESPACE || !matches!(self.phase, Phase::Connecting | Phase::Connected) {
            return Err(ProtocolError::new(ErrorCode::HelloRequired, "connect to the namespace first"));
        }
        Ok(match words::meaning(event, ack)? {
            Meaning::Message(message) => message.into(),
            Meaning::Identity(user) => Decoded {
                messages: vec![ClientMessage::Identify(user)],
                replies: ack.map(acknowledged).unwrap_or_default(),
            },
        })
    }
}

impl Codec for SocketIoCodec {
    fn decode(&mut self, frame: Frame) -> Result<Decoded, ProtocolError> {
        let Some(incoming) = self.reader.read(frame)? else { return Ok(Decoded::default()) };
        match incoming {
            Incoming::Connect { namespace, auth } if &*namespace == MAIN_NAMESPACE => self.connect(auth.as_ref()),
            Incoming::Connect { namespace, .. } => Ok(Decoded {
                messages: Vec::new(),
                replies: packet::connect_error(&namespace, "Invalid namespace", None),
            }),
            Incoming::Event { namespace, ack, event } => self.event(&namespace, ack, &event),
            _ if self.phase == Phase::AwaitingConnect => {
                Err(ProtocolError::new(ErrorCode::HelloRequired, "connect to the namespace first"))
            }
            Incoming::Disconnect { namespace } => {
                if &*namespace == MAIN_NAMESPACE {
                    self.phase = Phase::Disconnected;
                }
                Ok(Decoded::default())
            }
            // The server asks for no acknowledgements; one that comes all the same tells nothing.
            Incoming::Ack { .. } => Ok(Decoded::default()),
        }
    }

    fn encode(&mut self, message: &ServerMessage) -> Vec<Frame> {
        if self.phase == Phase::Disconnected {
            return Vec::new();
        }
        match message {
            ServerMessage::Admitted => self.accept(),
            ServerMessage::Welcome { user, stream, session, next_seq, audio_offset } => {
                let mut frames = if self.phase == Phase::Connecting { self.accept() } else { Vec::new() };
                if self.wants_welcome {
                    let welcome = Welcome {
                        user_id: user,
                        stream: *stream,
                        session_id: *session,
                        next_seq: *next_seq,
                        audio_offset: *audio_offset,
                    };
                    frames.extend(packet::event(MAIN_NAMESPACE, "welcome", &welcome));
                }
                frames
            }
            ServerMessage::Acked(tag) | ServerMessage::AudioAcked { tag, .. } => {
                id_of(*tag).map(acknowledged).unwrap_or_default()
            }
            ServerMessage::Refused { tag, code, message, seq } => {
                let refused = Refused { error: ErrorBody { code: code.as_str(), message, seq: *seq } };
                id_of(*tag).map(|id| packet::acknowledgement(MAIN_NAMESPACE, id, &refused)).unwrap_or_default()
            }
            ServerMessage::RecordingStarted { tag, session, resumed } => {
                let started = Started { session_id: *session, resumed: *resumed };
                id_of(*tag).map(|id| packet::acknowledgement(MAIN_NAMESPACE, id, &started)).unwrap_or_default()
            }
            ServerMessage::RecordingEnded { tag, session } => {
                let ended = Ended { session_id: *session };
                id_of(*tag).map(|id| packet::acknowledgement(MAIN_NAMESPACE, id, &ended)).unwrap_or_default()
            }
            ServerMessage::AudioSaved { session, audio_urls } => {
                packet::event(MAIN_NAMESPACE, "audio:saved", &AudioSaved { session_id: *session, audio_urls })
            }
            ServerMessage::Error { code, message, .. } if self.phase == Phase::Connecting && is_final(*code) => {
                packet::connect_error(MAIN_NAMESPACE, message, Some(code.as_str()))
            }
            ServerMessage::Error { code, message, seq } => {
                packet::event(MAIN_NAMESPACE, "error", &ErrorBody { code: code.as_str(), message, seq: *seq })
            }
        }
    }
}

const fn id_of(tag: AckTag) -> Option<i64> {
    match tag {
        AckTag::Id(id) => Some(id),
        AckTag::None | AckTag::Seq(_) => None,
    }
}

fn acknowledged(id: i64) -> Vec<Frame> {
    packet::acknowledgement_of(MAIN_NAMESPACE, id, "[]".to_owned(), [].into())
}

/// Whether trying the same handshake again is useless. A refused handshake stops the stock client for good, and one
/// that may go well next time must not do that.
const fn is_final(code: ErrorCode) -> bool {
    match code {
        ErrorCode::BadJson
        | ErrorCode::BadMessage
        | ErrorCode::HelloRequired
        | ErrorCode::UnknownSession
        | ErrorCode::UnknownStream
        | ErrorCode::Rejected
        | ErrorCode::Unauthorized
        | ErrorCode::TokenExpired
        | ErrorCode::WrongUser
        | ErrorCode::ForeignOrigin => true,
        ErrorCode::BadFrame
        | ErrorCode::HelloTimeout
        | ErrorCode::TooLarge
        | ErrorCode::TooSlow
        | ErrorCode::NotRecording
        | ErrorCode::Replaced
        | ErrorCode::Aborted
        | ErrorCode::SlowReader
        | ErrorCode::RateLimited
        | ErrorCode::HeartbeatLost
        | ErrorCode::Deleted
        | ErrorCode::Draining
        | ErrorCode::Overloaded => false,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    session_id: SessionId,
    resumed: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    session_id: Option<SessionId>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AudioSaved<'a> {
    session_id: SessionId,
    audio_urls: &'a [String],
}

#[derive(Serialize)]
struct Refused<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
}

#[cfg(test)]
mod tests;
