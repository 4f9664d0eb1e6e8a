//! Doors for the fuzz targets into what is private here. Compiled for them only.

use std::{fs::File, io::Write as _, ops::Range, path::Path, sync::Arc};

use bytes::Bytes;

use super::{
    DecodeError, Entry, codec, frame,
    scan::{Found, Scanner},
    segment::{HEADER_BYTES, Segment},
};

/// # Errors
/// As for any entry.
pub fn decode(payload: Bytes) -> Result<Entry, DecodeError> {
    codec::decode(payload)
}

#[must_use]
pub fn encode(entry: &Entry) -> Bytes {
    let mut out = Vec::new();
    codec::encode(entry, &mut out);
    out.into()
}

/// Frames of `payloads` that lie from position `base` on, and where each of them is.
#[must_use]
pub fn frames(salt: u64, base: u64, payloads: &[&[u8]]) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut bytes = Vec::new();
    let mut places = Vec::new();
    for payload in payloads {
        let start = bytes.len();
        frame::push(&mut bytes, |out| out.extend_from_slice(payload));
        places.push(start..bytes.len());
    }
    frame::bind(&mut bytes, salt, base);
    (bytes, places)
}

/// The good payloads in a segment at `base` whose frames are `bytes`, read from a file at `path`.
///
/// # Panics
/// When the scanner does not move on.
#[must_use]
pub fn scan(path: &Path, salt: u64, base: u64, bytes: &[u8]) -> Vec<Bytes> {
    let mut file = File::create(path).expect("make a file");
    file.write_all(&vec![0; usize::try_from(HEADER_BYTES).expect("small")]).expect("write");
    file.write_all(bytes).expect("write");
    let segment = Arc::new(Segment { base, capacity: bytes.len() as u64, salt, path: path.to_owned() });
    let end = segment.end();
    let mut scanner = Scanner::open(segment, base).expect("open a file");
    let mut payloads = Vec::new();
    loop {
        let before = scanner.position();
        match scanner.next(end).expect("read a file") {
            Found::Frame { payload, .. } => payloads.push(payload),
            Found::Damage { .. } => {}
            Found::End { .. } => return payloads,
        }
        assert!(scanner.position() > before);
    }
}
