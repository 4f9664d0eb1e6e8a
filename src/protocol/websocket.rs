//! WebSocket framing: bytes in, whole messages out (RFC 6455), before any of it is believed.
//!
//! Owns: the input buffer, the joining of fragments.
//! Promises: a length that is announced above the limit is refused before its bytes are buffered; nothing is read
//! ahead of a whole message; text is valid UTF-8; an empty buffer holds no memory.
//! Refuses: compression (never negotiated here).
//!
//! The parser of `actix_http` does the unmasking. It looks at the limit only once the whole frame is there, which is
//! why the length is looked at here first.

use actix_http::ws::{OpCode, Parser};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::{ErrorCode, Frame, ProtocolError};

/// Two bytes, eight of length, four of mask.
const MAX_HEADER_BYTES: usize = 14;

/// What the decoder needs or has.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Feed more bytes.
    NeedBytes,
    /// A frame of this many payload bytes begins: have room for it, then call [`FrameDecoder::admit`].
    NeedRoom(usize),
    Message(Inbound),
}

/// A whole message or a control frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound {
    Message(Frame),
    Ping(Bytes),
    Pong,
    Close,
}

/// The decoder of one connection.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    limit_bytes: usize,
    /// The frame at the head of the buffer was admitted.
    admitted: bool,
    fragments: Option<Fragments>,
}

#[derive(Debug)]
struct Fragments {
    is_text: bool,
    bytes: BytesMut,
}

impl FrameDecoder {
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self { buffer: BytesMut::new(), limit_bytes, admitted: false, fragments: None }
    }

    pub fn feed(&mut self, bytes: &Bytes) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The frame that [`Step::NeedRoom`] announced has its room.
    pub const fn admit(&mut self) {
        self.admitted = true;
    }

    /// Whether a message has begun and is not whole.
    #[must_use]
    pub fn is_inside_message(&self) -> bool {
        self.fragments.is_some() || !self.buffer.is_empty()
    }

    /// # Errors
    /// [`ErrorCode::TooLarge`] for a message above the limit, [`ErrorCode::BadFrame`] for anything that is no
    /// WebSocket frame, [`ErrorCode::BadJson`] for text that is no UTF-8. The connection cannot go on after one.
    pub fn step(&mut self) -> Result<Step, ProtocolError> {
        loop {
            if !self.admitted {
                match announced_length(&self.buffer) {
                    None => return Ok(self.need_bytes()),
                    Some(announced) => {
                        // Control frames (opcode 8 and up) stand between fragments and are not joined to them.
                        let is_control = self.buffer.first().is_some_and(|first| first & 0x08 != 0);
                        let fragments = self.fragments.as_ref().filter(|_| !is_control);
                        let joined = fragments.map_or(0, |fragments| fragments.bytes.len());
                        let total = usize::try_from(announced).ok().and_then(|length| length.checked_add(joined));
                        match total {
                            Some(total) if total <= self.limit_bytes => {}
                            _ => return Err(self.too_large()),
                        }
                        return Ok(Step::NeedRoom(total.unwrap_or(0) - joined));
                    }
                }
            }
            let parsed = Parser::parse(&mut self.buffer, true, self.limit_bytes)
                .map_err(|error| ProtocolError::new(ErrorCode::BadFrame, error.to_string()))?;
            let Some((is_final, opcode, payload)) = parsed else { return Ok(self.need_bytes()) };
            self.admitted = false;
            if let Some(message) = self.take_frame(is_final, opcode, payload.unwrap_or_default())? {
                return Ok(Step::Message(message));
            }
        }
    }

    fn need_bytes(&mut self) -> Step {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        Step::NeedBytes
    }

    fn too_large(&self) -> ProtocolError {
        ProtocolError::new(ErrorCode::TooLarge, format!("a message may have {} bytes", self.limit_bytes))
    }

    fn take_frame(
        &mut self,
        is_final: bool,
        opcode: OpCode,
        payload: BytesMut,
    ) -> Result<Option<Inbound>, ProtocolError> {
        let bad = |reason| Err(ProtocolError::new(ErrorCode::BadFrame, reason));
        match opcode {
            OpCode::Ping | OpCode::Pong | OpCode::Close if !is_final => bad("a control frame is fragmented"),
            OpCode::Ping => Ok(Some(Inbound::Ping(payload.freeze()))),
            OpCode::Pong => Ok(Some(Inbound::Pong)),
            OpCode::Close => Ok(Some(Inbound::Close)),
            OpCode::Bad => bad("unknown opcode"),
            OpCode::Text | OpCode::Binary if self.fragments.is_some() => {
                bad("a new message begins inside a fragmented one")
            }
            OpCode::Text | OpCode::Binary => {
                let is_text = opcode == OpCode::Text;
                if is_final {
                    return message(is_text, payload.freeze()).map(Some);
                }
                self.fragments = Some(Fragments { is_text, bytes: payload });
                Ok(None)
            }
            OpCode::Continue => {
                let Some(mut fragments) = self.fragments.take() else { return bad("nothing to continue") };
                fragments.bytes.extend_from_slice(&payload);
                if is_final {
                    return message(fragments.is_text, fragments.bytes.freeze()).map(Some);
                }
                self.fragments = Some(fragments);
                Ok(None)
            }
        }
    }
}

fn message(is_text: bool, bytes: Bytes) -> Result<Inbound, ProtocolError> {
    if !is_text {
        return Ok(Inbound::Message(Frame::Binary(bytes)));
    }
    ByteString::try_from(bytes)
        .map(|text| Inbound::Message(Frame::Text(text)))
        .map_err(|_| ProtocolError::new(ErrorCode::BadJson, "a text frame is not UTF-8"))
}

/// The payload length that a frame's header tells, once that much of it is there.
fn announced_length(buffer: &[u8]) -> Option<u64> {
    let header = &buffer[..buffer.len().min(MAX_HEADER_BYTES)];
    match (header.get(1)? & 0x7F, header) {
        (126, [_, _, a, b, ..]) => Some(u64::from(u16::from_be_bytes([*a, *b]))),
        (127, [_, _, rest @ ..]) => rest.first_chunk().map(|length| u64::from_be_bytes(*length)),
        (126, _) => None,
        (length, _) => Some(u64::from(length)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(is_final: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![(u8::from(is_final) << 7) | opcode];
        match payload.len() {
            length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap()),
            length @ 126..=65_535 => {
                bytes.push(0xFE);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                bytes.push(0xFF);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        let mask = [1, 2, 3, 4];
        bytes.extend(mask);
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        bytes
    }

    fn all(decoder: &mut FrameDecoder) -> Result<Vec<Inbound>, ProtocolError> {
        let mut messages = Vec::new();
        loop {
            match decoder.step()? {
                Step::NeedBytes => return Ok(messages),
                Step::NeedRoom(_) => decoder.admit(),
                Step::Message(message) => messages.push(message),
            }
        }
    }

    fn decode(bytes: &[u8], limit: usize) -> Result<Vec<Inbound>, ProtocolError> {
        let mut decoder = FrameDecoder::new(limit);
        decoder.feed(&Bytes::copy_from_slice(bytes));
        all(&mut decoder)
    }

    fn text(text: &'static str) -> Inbound {
        Inbound::Message(Frame::Text(ByteString::from_static(text)))
    }

    #[test]
    fn a_length_above_the_limit_is_refused_from_its_header_alone() {
        for header in [&[0x82_u8, 0xFF, 0, 0, 0, 16, 0, 0, 0, 0][..], &[0x82, 0xFE, 0x04, 0x01]] {
            assert_eq!(decode(header, 1024).unwrap_err().code, ErrorCode::TooLarge);
        }
        assert_eq!(decode(&[0x82, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0], 1024).unwrap_err().code, ErrorCode::TooLarge);
    }

    #[test]
    fn room_is_asked_for_before_the_payload_is_there() {
        let mut decoder = FrameDecoder::new(1024);
        decoder.feed(&Bytes::from_static(&[0x82, 0xFE, 0x03, 0xE8]));
        assert_eq!(decoder.step(), Ok(Step::NeedRoom(1000)));
    }

    #[test]
    fn fragments_are_joined_around_control_frames() {
        let mut bytes = frame(false, 1, b"hel");
        bytes.extend(frame(true, 9, b"beat"));
        bytes.extend(frame(false, 0, b"l"));
        bytes.extend(frame(true, 0, b"o"));
        bytes.extend(frame(true, 1, b"next"));
        let expected = [Inbound::Ping(Bytes::from_static(b"beat")), text("hello"), text("next")];
        assert_eq!(decode(&bytes, 5).unwrap(), expected);
    }

    #[test]
    fn fragments_are_limited_together() {
        let mut bytes = frame(false, 2, &[0; 600]);
        bytes.extend(frame(true, 0, &[0; 600]));
        assert_eq!(decode(&bytes, 1024).unwrap_err().code, ErrorCode::TooLarge);
    }

    #[test]
    fn broken_frames_have_a_name() {
        let unmasked = [0x81, 0x01, b'a'];
        let cases: [(&[u8], ErrorCode); 6] = [
            (&unmasked, ErrorCode::BadFrame),
            (&frame(true, 0, b"x"), ErrorCode::BadFrame),
            (&[frame(false, 1, b"a"), frame(true, 1, b"b")].concat(), ErrorCode::BadFrame),
            (&frame(false, 9, b""), ErrorCode::BadFrame),
            (&frame(true, 3, b""), ErrorCode::BadFrame),
            (&frame(true, 1, &[0xFF]), ErrorCode::BadJson),
        ];
        for (bytes, code) in cases {
            assert_eq!(decode(bytes, 1024).unwrap_err().code, code, "{bytes:?}");
        }
    }

    #[test]
    fn an_idle_decoder_holds_no_memory() {
        let mut decoder = FrameDecoder::new(1 << 20);
        decoder.feed(&Bytes::from(frame(true, 2, &vec![7; 60_000])));
        assert_eq!(all(&mut decoder).unwrap().len(), 1);
        assert_eq!(decoder.buffer.capacity(), 0);
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_messages(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
            cuts in prop::collection::vec(1_usize..50, 1..40),
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| frame(true, 2, payload)).collect();
            let mut decoder = FrameDecoder::new(1024);
            let (mut rest, mut messages, mut cuts) = (&bytes[..], Vec::new(), cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                decoder.feed(&Bytes::copy_from_slice(head));
                messages.extend(all(&mut decoder).unwrap());
                rest = tail;
            }
            let expected: Vec<Inbound> =
                payloads.into_iter().map(|payload| Inbound::Message(Frame::Binary(payload.into()))).collect();
            prop_assert_eq!(messages, expected);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, 1024);
        }
    }
}
