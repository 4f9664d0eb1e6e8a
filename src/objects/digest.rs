//! SHA-256 in the spellings that files, headers and sidecars use.
//!
//! Promises: hashes a stream of any length with the memory of one digest.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    path::Path,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::Digest;

use super::UploadedPart;
use crate::domain::Sha256;

/// Bytes read at a time: large enough for the disk, small enough to hold one per upload in flight.
const CHUNK_BYTES: usize = 128 * 1024;

/// Hashes what is written piece by piece.
#[derive(Clone, Default)]
pub struct Sha256Hasher(sha2::Sha256);

impl Sha256Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    #[must_use]
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }

    /// The digest of everything so far; more may follow.
    #[must_use]
    pub fn so_far(&self) -> Sha256 {
        self.clone().finish()
    }
}

/// Reads to the end, hands every piece to `write`, and returns the length and the digest.
pub(super) fn copy_hashed(
    mut from: impl Read,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, Sha256)> {
    let mut hasher = Sha256Hasher::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut len = 0;
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => return Ok((len, hasher.finish())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&chunk[..read]);
        write(&chunk[..read])?;
        len += read as u64;
    }
}

/// The digest of `len` bytes of a file, from `offset`.
///
/// # Errors
/// The file cannot be read.
pub fn digest_of(path: &Path, offset: u64, len: u64) -> io::Result<Sha256> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(copy_hashed(file.take(len), |_| Ok(()))?.1)
}

/// As S3's headers spell it.
pub(super) fn base64_of(digest: &Sha256) -> String {
    BASE64_STANDARD.encode(digest.0)
}

/// As [`UploadedPart::sha256`] spells it.
pub(super) fn parse_hex(text: &str) -> Option<Sha256> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, hex) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok()?;
    }
    Some(Sha256(digest))
}

/// What S3 calls the composite checksum of a multipart object: the digest of its parts' digests, and their number.
/// `None` without parts.
pub(super) fn composite_of(parts: &[UploadedPart]) -> Option<String> {
    if parts.is_empty() {
        return None;
    }
    let mut hasher = Sha256Hasher::default();
    for part in parts {
        hasher.update(&parse_hex(&part.sha256)?.0);
    }
    Some(format!("{}-{}", base64_of(&hasher.finish()), parts.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_back() {
        let digest = Sha256(std::array::from_fn(|index| u8::try_from(index * 7 % 256).unwrap()));
        assert_eq!(parse_hex(&digest.to_string()), Some(digest));
        for text in ["", "00", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(parse_hex(text), None);
        }
    }

    #[test]
    fn a_composite_is_the_digest_of_digests() {
        // Computed with: printf abc | sha256sum, then the two raw digests hashed again and spelled in base64.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let part = |number| UploadedPart { number, etag: String::new(), size_bytes: 3, sha256: abc.into() };
        assert_eq!(composite_of(&[part(1), part(2)]).unwrap(), "O3ccqX48F2mK/yEif6BGtWIqMNjuXS3k7hERoc3yWO4=-2");
        assert_eq!(composite_of(&[]), None);
    }
}
