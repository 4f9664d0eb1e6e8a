//! Engine.IO payloads and packets.
//!
//! Promises checked: what was decoded reads back the same after it was encoded; no message is above the limit.

#![no_main]

use bytes::Bytes;
use bytestring::ByteString;
use libfuzzer_sys::fuzz_target;
use shopaloud::protocol::{
    Frame,
    engineio::{Packet, decode_payload, encode_payload},
};

const LIMIT_BYTES: usize = 1_024;

fuzz_target!(|body: &[u8]| {
    let payload = decode_payload(Bytes::copy_from_slice(body), LIMIT_BYTES);
    for packet in &payload.packets {
        if let Packet::Message(frame) = packet {
            assert!(frame.len() <= LIMIT_BYTES);
        }
    }
    // A text may not hold the separator, so what came out of one payload fits another.
    if !payload.packets.is_empty() {
        let again = decode_payload(encode_payload(&payload.packets), LIMIT_BYTES);
        assert!(again.broken.is_none());
        assert_eq!(payload.packets, again.packets);
    }
    if let Ok(text) = std::str::from_utf8(body)
        && let Ok(packet) = Packet::from_websocket(Frame::Text(ByteString::from(text)))
    {
        assert_eq!(packet.into_websocket(), Frame::Text(ByteString::from(text)));
    }
});
