//! Engine.IO v4 packets: one per websocket message, or several in one body of HTTP long polling.
//!
//! Owns: the packet types, the polling payload (packets joined by U+001E, binary as base64) and the open packet.
//! Promises: a packet type is the whole packet where the protocol gives it no data; text is sliced, not copied.
//! Refuses: version 3, packets that only a server may send, more packets in a payload than
//! [`MAX_PACKETS_PER_PAYLOAD`].
//!
//! Session ids and the open packet are those of `engineioxide-core`. Its `Packet::parse` is not used: it takes
//! `2xyz` for a ping and `b…` also on websockets, and its text type would cost a copy of every message.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use engineioxide_core::{OpenPacket, Sid, TransportType};

use super::{ErrorCode, Frame, ProtocolError};

/// Between the packets of a payload.
const SEPARATOR: u8 = 0x1E;

/// What a client sends in one body is at most `maxPayload` (a million bytes by default) of packets, and the shortest
/// event, `42["a"]`, is eight bytes with its separator: no honest client comes here. Each packet costs some 100 bytes
/// on its way, whatever its length.
pub const MAX_PACKETS_PER_PAYLOAD: usize = 131_072;

/// One packet. The open packet is not among them: it is written once, by [`open_packet`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet {
    Close,
    Ping,
    Pong,
    /// `2probe`: a websocket asks to take over from polling.
    ProbePing,
    /// `3probe`: it may.
    ProbePong,
    /// The websocket has taken over.
    Upgrade,
    Noop,
    Message(Frame),
}

impl Packet {
    /// A packet of a websocket message. Binary messages have no type: they are data.
    ///
    /// # Errors
    /// [`ErrorCode::BadFrame`] for anything that is no packet.
    pub fn from_websocket(frame: Frame) -> Result<Self, ProtocolError> {
        match frame {
            Frame::Binary(_) => Ok(Self::Message(frame)),
            Frame::Text(text) => Self::from_text(&text),
        }
    }

    fn from_text(text: &ByteString) -> Result<Self, ProtocolError> {
        if let Some(data) = text.strip_prefix('4') {
            return Ok(Self::Message(Frame::Text(text.slice_ref(data))));
        }
        match text.as_ref() {
            "1" => Ok(Self::Close),
            "2" => Ok(Self::Ping),
            "3" => Ok(Self::Pong),
            "2probe" => Ok(Self::ProbePing),
            "3probe" => Ok(Self::ProbePong),
            "5" => Ok(Self::Upgrade),
            "6" => Ok(Self::Noop),
            _ => Err(bad("this is no packet of Engine.IO 4")),
        }
    }

    /// The websocket message that carries it.
    #[must_use]
    pub fn into_websocket(self) -> Frame {
        match self {
            Self::Message(Frame::Binary(bytes)) => Frame::Binary(bytes),
            Self::Message(Frame::Text(data)) => {
                let mut text = String::with_capacity(1 + data.len());
                text.push('4');
                text.push_str(&data);
                Frame::Text(text.into())
            }
            control => Frame::Text(ByteString::from_static(control.control_text())),
        }
    }

    const fn control_text(&self) -> &'static str {
        match self {
            Self::Close => "1",
            Self::Ping => "2",
            Self::Pong => "3",
            Self::ProbePing => "2probe",
            Self::ProbePong => "3probe",
            Self::Upgrade => "5",
            Self::Noop => "6",
            Self::Message(_) => "4",
        }
    }
}

/// What the session's first packet says.
#[derive(Clone, Copy, Debug)]
pub struct OpenFields {
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// Up to here a client joins several packets into one body. A longer packet travels alone.
    pub max_payload_bytes: usize,
}

/// The open packet, type and all.
#[must_use]
pub fn open_packet(sid: Sid, can_upgrade: bool, fields: &OpenFields) -> ByteString {
    let open = OpenPacket {
        sid,
        upgrades: can_upgrade.then_some(TransportType::Websocket).into_iter().collect(),
        ping_interval: fields.ping_interval,
        ping_timeout: fields.ping_timeout,
        max_payload: fields.max_payload_bytes as u64,
    };
    String::from(engineioxide_core::Packet::Open(open)).into()
}

/// The longest body that a client needs for one message of `max_message_bytes`: base64, and the type.
#[must_use]
pub const fn max_body_bytes(max_message_bytes: usize, max_payload_bytes: usize) -> usize {
    let encoded = max_message_bytes.div_ceil(3).saturating_mul(4).saturating_add(1);
    if encoded > max_payload_bytes { encoded } else { max_payload_bytes }
}

/// A polling body, as far as it could be read.
#[derive(Debug, Default)]
pub struct Payload {
    pub packets: Vec<Packet>,
    /// Why the packet after these is none: [`ErrorCode::TooLarge`] for a message above the limit,
    /// [`ErrorCode::BadFrame`] for anything else. What comes after it is not looked at.
    pub broken: Option<ProtocolError>,
}

/// The packets of a polling body. Those before a broken one are good, and not lost with it.
#[must_use]
pub fn decode_payload(body: Bytes, max_message_bytes: usize) -> Payload {
    let Ok(body) = ByteString::try_from(body) else {
        return Payload { packets: Vec::new(), broken: Some(bad("a payload is not UTF-8")) };
    };
    let mut packets = Vec::new();
    for text in body.split(char::from(SEPARATOR)) {
        if packets.len() == MAX_PACKETS_PER_PAYLOAD {
            return Payload { packets, broken: Some(bad("too many packets in one payload")) };
        }
        match decode_packet(&body, text, max_message_bytes) {
            Ok(packet) => packets.push(packet),
            Err(error) => return Payload { packets, broken: Some(error) },
        }
    }
    Payload { packets, broken: None }
}

/// `text` is a slice of `body`.
fn decode_packet(body: &ByteString, text: &str, max_message_bytes: usize) -> Result<Packet, ProtocolError> {
    let packet = if let Some(encoded) = text.strip_prefix('b') {
        // Before anything is decoded that will not be kept.
        if encoded.len() > max_message_bytes.div_ceil(3) * 4 {
            return Err(too_large(max_message_bytes));
        }
        let decoded = STANDARD.decode(encoded).map_err(|_| bad("a binary packet is not base64"))?;
        Packet::Message(Frame::Binary(decoded.into()))
    } else {
        Packet::from_text(&body.slice_ref(text))?
    };
    match &packet {
        Packet::Message(frame) if frame.len() > max_message_bytes => Err(too_large(max_message_bytes)),
        _ => Ok(packet),
    }
}

/// A message, or the body around it, is longer than is taken.
#[must_use]
pub fn too_large(max_message_bytes: usize) -> ProtocolError {
    ProtocolError::new(ErrorCode::TooLarge, format!("a message may have {max_message_bytes} bytes"))
}

fn bad(reason: &'static str) -> ProtocolError {
    ProtocolError::new(ErrorCode::BadFrame, reason)
}

/// The polling body that carries `packets`.
#[must_use]
pub fn encode_payload(packets: &[Packet]) -> Bytes {
    let room: usize = packets.iter().map(|packet| encoded_len(packet) + 1).sum();
    let mut body = BytesMut::with_capacity(room);
    for packet in packets {
        if !body.is_empty() {
            body.extend_from_slice(&[SEPARATOR]);
        }
        match packet {
            Packet::Message(Frame::Text(data)) => {
                body.extend_from_slice(b"4");
                body.extend_from_slice(data.as_bytes());
            }
            Packet::Message(Frame::Binary(data)) => {
                body.extend_from_slice(b"b");
                body.extend_from_slice(STANDARD.encode(data).as_bytes());
            }
            control => body.extend_from_slice(control.control_text().as_bytes()),
        }
    }
    body.freeze()
}

fn encoded_len(packet: &Packet) -> usize {
    match packet {
        Packet::Message(Frame::Text(data)) => 1 + data.len(),
        Packet::Message(Frame::Binary(data)) => 1 + data.len().div_ceil(3) * 4,
        control => control.control_text().len(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Packet {
        Packet::Message(Frame::Text(text.into()))
    }

    fn binary(bytes: &[u8]) -> Packet {
        Packet::Message(Frame::Binary(Bytes::copy_from_slice(bytes)))
    }

    fn decode(body: &str) -> Result<Vec<Packet>, ProtocolError> {
        let payload = decode_payload(Bytes::copy_from_slice(body.as_bytes()), 1_000);
        payload.broken.map_or(Ok(payload.packets), Err)
    }

    #[test]
    fn a_payload_is_split_at_the_separator() {
        let packets = decode("4hello\u{1e}3\u{1e}4\u{1e}bAQIDBA==\u{1e}1").unwrap();
        assert_eq!(packets, [text("hello"), Packet::Pong, text(""), binary(&[1, 2, 3, 4]), Packet::Close]);
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for body in ["", "abc", "7", "2xyz", "3prob", "5 ", "66", "0{}", "4a\u{1e}", "\u{1e}4a", "b%%", "bAQIDBA", "é"]
        {
            assert_eq!(decode(body).unwrap_err().code, ErrorCode::BadFrame, "{body:?}");
        }
        let payload = decode_payload(Bytes::from_static(b"4\xff"), 10);
        assert_eq!(payload.broken.unwrap().code, ErrorCode::BadFrame);
    }

    #[test]
    fn what_stands_before_a_broken_packet_is_not_lost_with_it() {
        let payload = decode_payload(Bytes::from_static(b"4a\x1e4b\x1e4too long\x1e4c"), 3);
        assert_eq!(payload.packets, [text("a"), text("b")]);
        assert_eq!(payload.broken.unwrap().code, ErrorCode::TooLarge);
    }

    #[test]
    fn base64_is_for_polling_only() {
        assert!(Packet::from_websocket(Frame::Text("bAQIDBA==".into())).is_err());
        assert_eq!(Packet::from_websocket(Frame::Binary(Bytes::from_static(b"4a"))), Ok(binary(b"4a")));
    }

    #[test]
    fn messages_are_limited_by_what_they_hold() {
        let fits = [format!("4{}", "x".repeat(1_000)), format!("b{}", STANDARD.encode(vec![7; 1_000]))];
        let too_large = [format!("4{}", "x".repeat(1_001)), format!("b{}", STANDARD.encode(vec![7; 1_001]))];
        for body in fits {
            assert!(body.len() <= max_body_bytes(1_000, 0));
            assert!(decode(&body).is_ok());
        }
        for body in too_large {
            assert_eq!(decode(&body).unwrap_err().code, ErrorCode::TooLarge);
        }
    }

    #[test]
    fn a_payload_of_nothing_but_packets_is_bounded() {
        let body = "3\u{1e}".repeat(MAX_PACKETS_PER_PAYLOAD) + "3";
        assert_eq!(decode(&body).unwrap_err().code, ErrorCode::BadFrame);
    }

    #[test]
    fn the_open_packet_has_its_five_fields() {
        let fields = OpenFields {
            ping_interval: Duration::from_millis(300),
            ping_timeout: Duration::from_millis(200),
            max_payload_bytes: 1_000_000,
        };
        let rest = r#""pingInterval":300,"pingTimeout":200,"maxPayload":1000000}"#;
        let sid = Sid::new();
        let polling = format!(r#"0{{"sid":"{sid}","upgrades":["websocket"],{rest}"#);
        assert_eq!(open_packet(sid, true, &fields), polling.as_str());
        let websocket = format!(r#"0{{"sid":"{sid}","upgrades":[],{rest}"#);
        assert_eq!(open_packet(sid, false, &fields), websocket.as_str());
    }

    fn any_packet() -> impl Strategy<Value = Packet> {
        prop_oneof![
            Just(Packet::Close),
            Just(Packet::Ping),
            Just(Packet::Pong),
            Just(Packet::ProbePing),
            Just(Packet::ProbePong),
            Just(Packet::Upgrade),
            Just(Packet::Noop),
            "[^\u{1e}]{0,40}".prop_map(|data| text(&data)),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|data| binary(&data)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(packets in prop::collection::vec(any_packet(), 1..20)) {
            let body = encode_payload(&packets);
            prop_assert_eq!(decode_payload(body, 1_000).packets, packets);
        }

        #[test]
        fn a_websocket_message_reads_back(packet in any_packet()) {
            prop_assert_eq!(Packet::from_websocket(packet.clone().into_websocket()).unwrap(), packet);
        }

        #[test]
        fn arbitrary_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_payload(body.into(), 50);
        }

        #[test]
        fn arbitrary_text_never_panics(body in "[0-6bé\u{1e}=A-Z]{0,60}") {
            let _ = decode_payload(body.into(), 50);
        }
    }
}
