//! Socket.IO v5 packets, with their attachments, over `socketioxide-parser-common`.
//!
//! Owns: the half-received binary packet of a connection.
//! Promises: a packet's JSON is looked at before any of its attachments is waited for; attachments are bounded in
//! number and, together, in bytes; an acknowledgement id is a number or the packet is refused.
//! Refuses: to know which events there are. Namespaces are the caller's too.

use std::{collections::VecDeque, sync::PoisonError};

use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;
use serde::de::IgnoredAny;
use socketioxide_core::{
    Sid, Str, Value,
    packet::{ConnectPacket, Packet, PacketData},
    parser::{Parse, ParseConfig, ParseError, ParserState},
};
use socketioxide_parser_common::CommonParser;

use super::{
    super::{ErrorCode, Frame, ProtocolError, plain::json_error},
    event::EventText,
};

/// An event of a page carries one recording chunk; a form with files some more.
const MAX_ATTACHMENTS: usize = 16;

/// The namespace that every client means unless it says another.
pub const MAIN_NAMESPACE: &str = "/";

/// One whole packet of a client.
#[derive(Debug)]
pub enum Incoming {
    Connect {
        namespace: Str,
        /// JSON, not looked at.
        auth: Option<ByteString>,
    },
    Disconnect {
        namespace: Str,
    },
    Event {
        namespace: Str,
        ack: Option<i64>,
        event: EventText,
    },
    /// The client acknowledges an event of the server, which asks for none.
    Ack {
        namespace: Str,
    },
}

/// Reads the packets of one connection.
#[derive(Debug)]
pub struct PacketReader {
    config: ParseConfig,
    state: ParserState,
}

impl PacketReader {
    #[must_use]
    pub fn new(max_message_bytes: usize) -> Self {
        let config = ParseConfig {
            max_incoming_binary_buf_size: max_message_bytes,
            max_incoming_binaries: MAX_ATTACHMENTS,
            ..ParseConfig::default()
        };
        Self { config, state: ParserState::default() }
    }

    /// `None`: attachments are still to come.
    ///
    /// # Errors
    /// [`ProtocolError`] when the frame is no packet, or not one that may come now. The connection cannot go on.
    pub fn read(&mut self, frame: Frame) -> Result<Option<Incoming>, ProtocolError> {
        let decoded = match frame {
            Frame::Text(text) => {
                let text = into_str(text)?;
                let decoded = CommonParser.decode_str(&self.config, &self.state, text.clone());
                match &decoded {
                    Ok(packet) => check_ack_id(&text, packet)?,
                    Err(ParseError::NeedsMoreBinaryData) => self.check_header(&text)?,
                    Err(_) => {}
                }
                decoded
            }
            Frame::Binary(bytes) => CommonParser.decode_bin(&self.config, &self.state, bytes),
        };
        match decoded {
            Ok(packet) => incoming(packet).map(Some),
            Err(ParseError::NeedsMoreBinaryData) => Ok(None),
            Err(error) => Err(broken(&error)),
        }
    }

    /// The packet that waits for attachments is JSON and an event: a client that sends nonsense hears it now.
    fn check_header(&self, text: &str) -> Result<(), ProtocolError> {
        let partial = self.state.partial_bin_packet.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(packet) = partial.as_ref().map(|partial| &partial.packet) else { return Ok(()) };
        check_ack_id(text, packet)?;
        match &packet.inner {
            PacketData::BinaryEvent(Value::Str(json, _), _) => EventText::check(json),
            PacketData::BinaryAck(Value::Str(json, _), _) => check_array(json),
            _ => Ok(()),
        }
    }
}

fn incoming(Packet { inner, ns: namespace }: Packet) -> Result<Incoming, ProtocolError> {
    match inner {
        PacketData::Connect(None) => Ok(Incoming::Connect { namespace, auth: None }),
        PacketData::Connect(Some(Value::Str(auth, _))) => {
            Ok(Incoming::Connect { namespace, auth: Some(into_text(auth)?) })
        }
        PacketData::Disconnect => Ok(Incoming::Disconnect { namespace }),
        PacketData::Event(Value::Str(json, attachments), ack)
        | PacketData::BinaryEvent(Value::Str(json, attachments), ack) => {
            let event = EventText::new(into_text(json)?, attachments.unwrap_or_default())?;
            Ok(Incoming::Event { namespace, ack, event })
        }
        PacketData::EventAck(Value::Str(json, _), _) | PacketData::BinaryAck(Value::Str(json, _), _) => {
            check_array(&json).map(|()| Incoming::Ack { namespace })
        }
        PacketData::Connect(Some(Value::Bytes(_)))
        | PacketData::Event(Value::Bytes(_), _)
        | PacketData::BinaryEvent(Value::Bytes(_), _)
        | PacketData::EventAck(Value::Bytes(_), _)
        | PacketData::BinaryAck(Value::Bytes(_), _)
        | PacketData::ConnectError(_) => Err(ProtocolError::bad_message("this packet is not a client's to send")),
    }
}

fn check_array(json: &str) -> Result<(), ProtocolError> {
    // Ignored elements take no memory.
    serde_json::from_str::<Vec<IgnoredAny>>(json).map(|_| ()).map_err(json_error)
}

/// An id too large for the parser becomes "no acknowledgement wanted", and the client would wait for ever.
fn check_ack_id(text: &str, packet: &Packet) -> Result<(), ProtocolError> {
    let (PacketData::Event(Value::Str(json, _), None) | PacketData::BinaryEvent(Value::Str(json, _), None)) =
        &packet.inner
    else {
        return Ok(());
    };
    // The type is a digit as well, and the first byte.
    let header = &text.as_bytes()[..text.len() - json.len()];
    if header.len() > 1 && header.last().is_some_and(u8::is_ascii_digit) {
        return Err(ProtocolError::bad_message("the acknowledgement id is too large"));
    }
    Ok(())
}

fn broken(error: &ParseError) -> ProtocolError {
    let code = match error {
        ParseError::AttachmentsTooHeavy { .. } => ErrorCode::TooLarge,
        ParseError::TimeoutWhileWaitingAttachments => ErrorCode::TooSlow,
        _ => ErrorCode::BadMessage,
    };
    ProtocolError::new(code, error.to_string())
}

/// Moves the text when nobody else holds it; a part of a larger buffer is copied, and so lets go of the rest.
fn into_str(text: ByteString) -> Result<Str, ProtocolError> {
    String::from_utf8(Vec::from(text.into_bytes())).map(Str::from).map_err(|_| not_utf8())
}

fn into_text(text: Str) -> Result<ByteString, ProtocolError> {
    ByteString::try_from(Bytes::from(text)).map_err(|_| not_utf8())
}

fn not_utf8() -> ProtocolError {
    ProtocolError::new(ErrorCode::BadJson, "text is not UTF-8")
}

/// `0`: the client is connected to the namespace.
#[must_use]
pub fn connected(namespace: &str, sid: Sid) -> Vec<Frame> {
    match CommonParser.encode_default(&ConnectPacket { sid }) {
        Ok(value) => encode(Packet::connect(owned(namespace), Some(value))),
        Err(_) => Vec::new(),
    }
}

/// `4`: the client is not let in. The parser has no word for `data`, so that this one is written here.
#[must_use]
pub fn connect_error(namespace: &str, message: &str, code: Option<&str>) -> Vec<Frame> {
    #[derive(Serialize)]
    struct Refusal<'a> {
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<RefusalData<'a>>,
    }
    #[derive(Serialize)]
    struct RefusalData<'a> {
        code: &'a str,
    }
    let refusal = Refusal { message, data: code.map(|code| RefusalData { code }) };
    let address = if namespace == MAIN_NAMESPACE { String::new() } else { format!("{namespace},") };
    serde_json::to_string(&refusal).map(|json| Frame::Text(format!("4{address}{json}").into())).into_iter().collect()
}

/// An event of the server with one argument.
#[must_use]
pub fn event(namespace: &str, name: &str, argument: &impl Serialize) -> Vec<Frame> {
    match CommonParser.encode_value(argument, Some(name)) {
        Ok(value) => encode(Packet::event(owned(namespace), value)),
        Err(_) => Vec::new(),
    }
}

/// An acknowledgement with one argument.
#[must_use]
pub fn acknowledgement(namespace: &str, id: i64, argument: &impl Serialize) -> Vec<Frame> {
    match CommonParser.encode_value(argument, None) {
        Ok(value) => encode(Packet::ack(owned(namespace), value, id)),
        Err(_) => Vec::new(),
    }
}

/// An event whose array of name and arguments is JSON already.
#[must_use]
pub fn event_of(namespace: &str, array: String, attachments: VecDeque<Bytes>) -> Vec<Frame> {
    encode(Packet::event(owned(namespace), Value::Str(array.into(), Some(attachments))))
}

/// An acknowledgement whose array of arguments is JSON already.
#[must_use]
pub fn acknowledgement_of(namespace: &str, id: i64, array: String, attachments: VecDeque<Bytes>) -> Vec<Frame> {
    encode(Packet::ack(owned(namespace), Value::Str(array.into(), Some(attachments)), id))
}

fn owned(namespace: &str) -> Str {
    if namespace == MAIN_NAMESPACE { Str::from(MAIN_NAMESPACE) } else { Str::copy_from_slice(namespace) }
}

fn encode(packet: Packet) -> Vec<Frame> {
    let Value::Str(text, attachments) = CommonParser.encode(packet) else { return Vec::new() };
    let Ok(text) = into_text(text) else { return Vec::new() };
    std::iter::once(Frame::Text(text)).chain(attachments.unwrap_or_default().into_iter().map(Frame::Binary)).collect()
}
