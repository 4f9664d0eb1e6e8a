//! What the upload actors are told, and what they tell.

use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;

use crate::{
    domain::{AudioFormat, Deletion, RunId, SessionId, StreamId, Timestamp, UserId},
    runtime::Permit,
};

/// A new run; always sent before its first [`AppendAudio`].
#[derive(Message, Clone, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct BeginRun {
    pub run: RunId,
    pub session: SessionId,
    pub user: UserId,
    pub stream: StreamId,
    /// Where in the stream's audio bytes the run begins.
    pub stream_offset: u64,
    pub format: AudioFormat,
    pub at: Timestamp,
}

/// Bytes of a run, in order. A run that was about to be finished for a lost connection goes on. For a run that is
/// finished or not known they are refused: the `ack` stays unanswered. What its stream sent into the run before is not
/// taken again: a chunk that had to wait may come a second time, from its client's next connection.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AppendAudio {
    pub run: RunId,
    /// Who sends them: a run that lost its connection may go on with another stream's bytes.
    pub stream: StreamId,
    /// Where in the stream's audio bytes they begin.
    pub stream_offset: u64,
    pub at: Timestamp,
    pub bytes: Bytes,
    /// Told when the bytes are on stable storage.
    pub ack: Option<AudioAck>,
    pub permit: Permit,
}

/// Where to say that audio is durable. Dropped unanswered (the run is finished, its actor died), it says that the audio
/// was refused: whoever waits is never left waiting.
pub struct AudioAck {
    journaled: Recipient<AudioJournaled>,
    refused: Option<Recipient<AudioRefused>>,
    stream_end: u64,
    ticket: u64,
}

impl AudioAck {
    /// `stream_end`: the stream's audio bytes up to the end of this chunk. `ticket`: the caller's own mark.
    #[must_use]
    pub const fn new(
        journaled: Recipient<AudioJournaled>,
        refused: Recipient<AudioRefused>,
        stream_end: u64,
        ticket: u64,
    ) -> Self {
        Self { journaled, refused: Some(refused), stream_end, ticket }
    }

    /// The bytes are on stable storage.
    pub fn answer(mut self) {
        self.refused = None;
        // A session that is gone needs no answer.
        self.journaled.do_send(AudioJournaled { stream_end: self.stream_end, ticket: self.ticket });
    }
}

impl Drop for AudioAck {
    fn drop(&mut self) {
        if let Some(refused) = self.refused.take() {
            refused.do_send(AudioRefused { ticket: self.ticket });
        }
    }
}

/// The audio was not taken and is not durable: it has to be sent again.
#[derive(Message, Debug, Clone, Copy, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct AudioRefused {
    pub ticket: u64,
}

/// The stream's audio is durable up to `stream_end`.
#[derive(Message, Debug, Clone, Copy, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct AudioJournaled {
    pub stream_end: u64,
    pub ticket: u64,
}

/// Finish a run after `grace`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct FinishRun {
    pub run: RunId,
    /// Chunks that arrive within it still belong to the run.
    pub grace: Duration,
    pub reason: FinishReason,
}

/// Why a run is finished, and so whether a late chunk puts it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// `recording:end`, or another run began: late chunks are taken, and the run ends all the same.
    Ended,
    /// The client may come back: a chunk within the grace means that it did, and the run goes on.
    ConnectionLost,
}

impl FinishReason {
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Ended => true,
            Self::ConnectionLost => false,
        }
    }
}

/// A run of a session is stored: its object verified, its row committed.
#[derive(Message, Debug, Clone, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct AudioStored {
    pub run: RunId,
    pub session: SessionId,
    pub user: UserId,
}

/// What a deletion covers and is not stored yet is dropped: bytes, uploads in progress, staged files. Ask every actor of the
/// pool. Objects that were stored, and have no row yet, are removed.
#[derive(Message, Debug, Clone)]
#[rtype(result = "DroppedAudio")]
pub struct DropAudio {
    pub deletion: Deletion,
}

/// What [`DropAudio`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, MessageResponse)]
pub struct DroppedAudio {
    pub runs: u64,
    pub bytes: u64,
}

/// The runs of a stream that are not stored yet. Ask every actor of the pool: runs are spread by their own ids.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Vec<UnstoredRun>")]
pub struct LookupStreamAudio {
    pub stream: StreamId,
}

/// A run that this node holds, as after a restart: a client that resumes the stream goes on behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnstoredRun {
    pub run: RunId,
    pub session: SessionId,
    pub user: UserId,
    /// Where in the stream's audio bytes the run begins.
    pub stream_offset: u64,
    /// Bytes taken so far.
    pub len: u64,
    /// More may be appended.
    pub open: bool,
}

/// Finish what can be finished within `deadline`; the rest waits in the journal. Answered when the actor has stopped.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain {
    pub deadline: Duration,
}
