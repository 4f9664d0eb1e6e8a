//! What the journal keeps: records on their way to the database, audio on its way to the object store.
//!
//! Owns: the binary form of an [`Entry`]. Promises: reads back what it wrote, or says that it cannot.

use bytes::Bytes;

use crate::domain::{AudioFormat, Record, RunId, SessionId, StreamId, Timestamp, UserId};

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    Record(Record),
    AudioBegun(AudioBegun),
    AudioChunk(AudioChunk),
    AudioFinished(AudioFinished),
    /// The run's object is stored, verified and its row committed: nothing of it is needed any more.
    AudioStored(RunId),
}

/// A run began. Always before its first chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AudioBegun {
    pub run: RunId,
    pub session: SessionId,
    pub user: UserId,
    pub stream: StreamId,
    pub stream_offset: u64,
    pub format: AudioFormat,
    pub at: Timestamp,
}

/// Bytes of a run, `offset` from its beginning.
#[derive(Clone, PartialEq, Eq)]
pub struct AudioChunk {
    pub run: RunId,
    pub offset: u64,
    pub at: Timestamp,
    pub bytes: Bytes,
}

/// No more bytes will come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AudioFinished {
    pub run: RunId,
    pub at: Timestamp,
}

impl std::fmt::Debug for AudioChunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AudioChunk({}, {} bytes at {})", self.run, self.bytes.len(), self.offset)
    }
}
