//! How an entry lies in a segment: a header of 12 bytes, then the payload. Pure: bytes in, bytes out.
//!
//! ```text
//! 0  u32  length of the payload, at least 1
//! 4  u32  CRC-32 of the payload
//! 8  u32  CRC-32 of the segment's salt (u64), the frame's position (u64) and the eight bytes above
//! 12      payload
//! ```
//! All little-endian.
//!
//! Promises: a frame is taken only at the position it was made for, so stale or shifted bytes never pass; zeros are
//! never a frame; without the salt, which clients never learn, nobody can send bytes that a search after damage would
//! take for a frame. The header has a checksum of its own, so that a damaged payload is stepped over exactly, and so
//! that a search after a damaged header costs a few nanoseconds a byte.

use crc32fast::Hasher;

pub(super) const HEADER_BYTES: usize = 12;

/// Adds a frame whose payload `write` produces. It has no position yet: see [`bind`].
pub(super) fn push(frames: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = frames.len();
    frames.extend_from_slice(&[0; HEADER_BYTES]);
    write(frames);
    let payload = &frames[start + HEADER_BYTES..];
    // A length that does not fit is refused later, by its size.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let payload_crc = crc32fast::hash(payload);
    frames[start..start + 4].copy_from_slice(&length.to_le_bytes());
    frames[start + 4..start + 8].copy_from_slice(&payload_crc.to_le_bytes());
}

/// Gives the frames made by [`push`] their positions, the first one `position`. Cheap: payloads are not read.
pub(super) fn bind(frames: &mut [u8], salt: u64, position: u64) {
    let mut at = 0;
    while let Some(header) = frames.get_mut(at..at + HEADER_BYTES) {
        let length = read_u32(header, 0) as usize;
        let crc = header_crc(header, salt, position + at as u64);
        header[8..].copy_from_slice(&crc.to_le_bytes());
        at += HEADER_BYTES + length;
    }
}

/// What a header says that was found good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) length: usize,
    payload_crc: u32,
}

impl Head {
    pub(super) fn matches(self, payload: &[u8]) -> bool {
        payload.len() == self.length && crc32fast::hash(payload) == self.payload_crc
    }
}

/// Reads the header at the front of `bytes`, which lie at `position`. `None` when there is no good one.
pub(super) fn read_header(bytes: &[u8], salt: u64, position: u64) -> Option<Head> {
    let header = bytes.get(..HEADER_BYTES)?;
    let length = read_u32(header, 0);
    let good = length > 0 && read_u32(header, 8) == header_crc(header, salt, position);
    good.then(|| Head { length: length as usize, payload_crc: read_u32(header, 4) })
}

/// Offset of the first whole good frame in `bytes`, which lie at `position`.
pub(super) fn find(bytes: &[u8], salt: u64, position: u64) -> Option<usize> {
    let mut at = 0;
    while at + HEADER_BYTES < bytes.len() {
        let rest = &bytes[at..];
        let zeros = rest.iter().position(|byte| *byte != 0)?;
        // A length has at most three zero bytes in front of its first other byte.
        if zeros > 3 {
            at += zeros - 3;
            continue;
        }
        if let Some(head) = read_header(rest, salt, position + at as u64)
            && let Some(payload) = rest.get(HEADER_BYTES..HEADER_BYTES + head.length)
            && head.matches(payload)
        {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn header_crc(header: &[u8], salt: u64, position: u64) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&position.to_le_bytes());
    hasher.update(&header[..8]);
    hasher.finalize()
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: u64 = 0x5A17;

    fn frames(payloads: &[Vec<u8>], position: u64) -> Vec<u8> {
        let mut frames = Vec::new();
        for payload in payloads {
            push(&mut frames, |out| out.extend_from_slice(payload));
        }
        bind(&mut frames, SALT, position);
        frames
    }

    fn read(bytes: &[u8], position: u64) -> Option<&[u8]> {
        let head = read_header(bytes, SALT, position)?;
        bytes.get(HEADER_BYTES..HEADER_BYTES + head.length).filter(|payload| head.matches(payload))
    }

    #[test]
    fn frames_read_back_one_after_the_other() {
        let bytes = frames(&[b"one".to_vec(), b"three".to_vec()], 1_000);
        assert_eq!(read(&bytes, 1_000), Some(&b"one"[..]));
        assert_eq!(read(&bytes[15..], 1_015), Some(&b"three"[..]));
    }

    #[test]
    fn a_frame_is_good_only_at_its_own_position() {
        let bytes = frames(&[b"one".to_vec()], 1_000);
        for wrong in [0, 999, 1_001, 1_015, 1_000 + (1 << 32)] {
            assert_eq!(read(&bytes, wrong), None);
        }
    }

    #[test]
    fn a_frame_that_was_made_without_the_salt_is_none() {
        let mut forged = Vec::new();
        push(&mut forged, |out| out.extend_from_slice(b"one"));
        bind(&mut forged, SALT + 1, 1_000);
        assert_eq!(read(&forged, 1_000), None);
        assert_eq!(find(&forged, SALT, 1_000), None);
    }

    #[test]
    fn zeros_are_no_frame_anywhere() {
        let zeros = [0; 64];
        for position in 0..100_000 {
            assert_eq!(read_header(&zeros, SALT, position), None);
        }
        assert_eq!(find(&zeros, SALT, 0), None);
    }

    #[test]
    fn a_length_of_round_size_is_found_behind_zeros() {
        let frame = frames(&[vec![7; 1 << 16]], 100 + 50);
        let mut bytes = vec![0; 50];
        bytes.extend_from_slice(&frame);
        assert_eq!(find(&bytes, SALT, 100), Some(50));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_never_taken(
            payload in proptest::collection::vec(any::<u8>(), 1..200),
            position in any::<u32>(),
            flip in any::<prop::sample::Index>(),
        ) {
            let mut bytes = frames(&[payload], u64::from(position));
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(read(&bytes, u64::from(position)), None);
        }

        #[test]
        fn the_frame_behind_garbage_is_found(
            garbage in proptest::collection::vec(any::<u8>(), 0..300),
            payload in proptest::collection::vec(any::<u8>(), 1..100),
        ) {
            let mut bytes = garbage.clone();
            bytes.extend_from_slice(&frames(&[payload], 77 + garbage.len() as u64));
            prop_assert_eq!(find(&bytes, SALT, 77), Some(garbage.len()));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), position in any::<u32>()) {
            let position = u64::from(position);
            let _ = (read(&bytes, position), find(&bytes, SALT, position));
        }
    }
}
