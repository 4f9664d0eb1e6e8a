//! What the journal keeps: records on their way to the database, audio on its way to the object store.
//!
//! Owns: the types. Their binary form is in [`super::codec`].

use bytes::Bytes;

use crate::domain::{AudioFormat, Record, RunId, SessionId, StreamId, Timestamp, UserId};

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    Record(ShardRecord),
    AudioBegun(AudioBegun),
    AudioChunk(AudioChunk),
    AudioFinished(AudioFinished),
    /// The run's object is stored, verified and its row committed: nothing of it is needed any more.
    AudioStored(RunId),
}

/// A record, and which of the persistence actors took it. Not every record names a stream, so the actor that reads
/// its backlog could not tell its own records by their contents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardRecord {
    /// The actor's number when the record was written. After a restart with another number of actors, old shards are
    /// spread over the new ones; those of one old shard stay together and in order.
    pub shard: u16,
    pub record: Record,
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
