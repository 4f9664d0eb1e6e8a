//! A Socket.IO connection: frames of text and bytes, in any order, until one is refused.
//!
//! Promises checked: no panic, and no empty answer.

#![no_main]

use bytes::Bytes;
use bytestring::ByteString;
use libfuzzer_sys::fuzz_target;
use shopaloud::protocol::{Codec, Frame, socketio::SocketIoCodec};

const LIMIT_BYTES: usize = 4_096;

fuzz_target!(|frames: Vec<Result<&str, &[u8]>>| {
    // Little is reachable without a handshake: every other input begins after one.
    let mut codec = if frames.len().is_multiple_of(2) { SocketIoCodec::new(LIMIT_BYTES) } else { connected() };
    for frame in frames {
        let frame = match frame {
            Ok(text) => Frame::Text(ByteString::from(text)),
            Err(bytes) => Frame::Binary(Bytes::copy_from_slice(bytes)),
        };
        let Ok(decoded) = codec.decode(frame) else { return };
        for reply in &decoded.replies {
            assert!(!reply.is_empty());
        }
    }
});

fn connected() -> SocketIoCodec {
    let mut codec = SocketIoCodec::new(LIMIT_BYTES);
    codec.decode(Frame::Text(ByteString::from_static("0"))).expect("a bare handshake is good");
    codec
}
