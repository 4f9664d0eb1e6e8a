//! WebSocket frames: any bytes, cut anywhere.
//!
//! Promises checked: how bytes are cut changes nothing of what they mean; no message is above the limit.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use shopaloud::protocol::websocket::{FrameDecoder, Inbound, Step};

const LIMIT_BYTES: usize = 4_096;

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, cut) = input;
    let whole = decode(std::iter::once(bytes));
    let pieces = decode(bytes.chunks(usize::from(cut) + 1));
    assert_eq!(whole, pieces);
});

/// The messages, and the code of the error that ended them.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Inbound>, Option<String>) {
    let mut decoder = FrameDecoder::new(LIMIT_BYTES);
    let mut messages = Vec::new();
    for piece in pieces {
        decoder.feed(&Bytes::copy_from_slice(piece));
        loop {
            match decoder.step() {
                Ok(Step::NeedBytes) => break,
                Ok(Step::NeedRoom(room)) => {
                    assert!(room <= LIMIT_BYTES);
                    decoder.admit();
                }
                Ok(Step::Message(message)) => {
                    if let Inbound::Message(frame) = &message {
                        assert!(frame.len() <= LIMIT_BYTES);
                    }
                    messages.push(message);
                }
                Err(error) => return (messages, Some(format!("{error:?}"))),
            }
        }
    }
    (messages, None)
}
