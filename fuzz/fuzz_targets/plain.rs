//! The plain door's frames.
//!
//! Promises checked: no panic; an event's data is a slice of what was sent.

#![no_main]

use bytes::Bytes;
use bytestring::ByteString;
use libfuzzer_sys::fuzz_target;
use shopaloud::protocol::{ClientMessage, Codec, Frame, plain::PlainCodec};

fuzz_target!(|frame: Result<&str, &[u8]>| {
    let decoded = match frame {
        Ok(text) => PlainCodec.decode(Frame::Text(ByteString::from(text))),
        Err(bytes) => PlainCodec.decode(Frame::Binary(Bytes::copy_from_slice(bytes))),
    };
    let (Ok(decoded), Ok(text)) = (decoded, frame) else { return };
    for message in decoded.messages {
        if let ClientMessage::Event(event) = message {
            assert!(event.data.as_str() == "null" || text.contains(event.data.as_str()));
        }
    }
});
