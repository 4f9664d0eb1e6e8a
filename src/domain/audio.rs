//! Audio as it is recorded: the bytes of one `MediaRecorder` run become one part, one object.

use std::fmt;

use serde::Serialize;

use super::{Arrivals, RunId, SessionId, StreamId, Timestamp, UserId};

/// The container of a run, told by its first bytes: what a client calls its bytes does not make them play.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioFormat {
    WebM,
    Ogg,
    Mp4,
    /// Bytes that no player can be promised to open: a run whose first chunk is missing.
    Unknown,
}

impl AudioFormat {
    /// `Some` when `bytes` begin a container, and so a new run.
    #[must_use]
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1A, 0x45, 0xDF, 0xA3, ..] => Some(Self::WebM),
            [b'O', b'g', b'g', b'S', _, flags, ..] => {
                // Every Ogg page begins with the same word; only the first of a stream carries flag 0x02.
                (flags & 0x02 != 0).then_some(Self::Ogg)
            }
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(Self::Mp4),
            _ => None,
        }
    }

    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::WebM => "audio/webm",
            Self::Ogg => "audio/ogg",
            Self::Mp4 => "audio/mp4",
            Self::Unknown => "application/octet-stream",
        }
    }

    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::WebM => "webm",
            Self::Ogg => "ogg",
            Self::Mp4 => "m4a",
            Self::Unknown => "bin",
        }
    }

    /// The reverse of [`Self::content_type`], for what was stored; anything else is [`Self::Unknown`].
    #[must_use]
    pub fn from_content_type(content_type: &str) -> Self {
        match content_type {
            "audio/webm" => Self::WebM,
            "audio/ogg" => Self::Ogg,
            "audio/mp4" => Self::Mp4,
            _ => Self::Unknown,
        }
    }
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

/// A stored run: its object is in the object store, verified, when this exists as a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AudioPart {
    pub run: RunId,
    pub session: SessionId,
    pub user: UserId,
    pub stream: StreamId,
    /// Where in the stream's audio bytes the run begins.
    pub stream_offset: u64,
    /// The server's clock when its first and its last chunk arrived.
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    /// Key in the object store.
    pub object_key: String,
    pub format: AudioFormat,
    pub size_bytes: u64,
    pub sha256: Sha256,
    /// Written with the part, and read for those who need it only.
    pub arrivals: Arrivals,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_told_by_its_first_bytes() {
        assert_eq!(AudioFormat::sniff(&[0x1A, 0x45, 0xDF, 0xA3, 0x9F]), Some(AudioFormat::WebM));
        assert_eq!(AudioFormat::sniff(b"OggS\x00\x02rest"), Some(AudioFormat::Ogg));
        assert_eq!(AudioFormat::sniff(b"\0\0\0\x1cftypiso5"), Some(AudioFormat::Mp4));
    }

    #[test]
    fn later_bytes_begin_no_run() {
        assert_eq!(AudioFormat::sniff(b"OggS\x00\x00rest"), None);
        assert_eq!(AudioFormat::sniff(&[0xA3, 0x43, 0x21]), None);
        assert_eq!(AudioFormat::sniff(&[]), None);
        assert_eq!(AudioFormat::sniff(b"OggS"), None);
    }

    #[test]
    fn content_types_read_back() {
        for format in [AudioFormat::WebM, AudioFormat::Ogg, AudioFormat::Mp4, AudioFormat::Unknown] {
            assert_eq!(AudioFormat::from_content_type(format.content_type()), format);
        }
    }
}
