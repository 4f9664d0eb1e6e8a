//! What the upload actors are told, and what they tell.

use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;

use crate::{
    domain::{AudioFormat, RunId, SessionId, StreamId, Timestamp, UserId},
    runtime::Permit,
};

/// A new run; always sent before its first [`AppendAudio`].
#[derive(Message, Clone, Debug)]
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

/// Bytes of a run, in order. A run that was about to be finished for a lost connection goes on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AppendAudio {
    pub run: RunId,
    pub at: Timestamp,
    pub bytes: Bytes,
    /// Told when the bytes are on stable storage.
    pub ack: Option<AudioAck>,
    pub permit: Permit,
}

/// Where to say that audio is durable.
pub struct AudioAck {
    pub to: Recipient<AudioJournaled>,
    /// The stream's audio bytes up to the end of this chunk.
    pub stream_end: u64,
    /// The caller's own mark, given back.
    pub ticket: u64,
}

/// The stream's audio is durable up to `stream_end`.
#[derive(Message, Debug, Clone, Copy, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct AudioJournaled {
    pub stream_end: u64,
    pub ticket: u64,
}

/// Finish a run unless it goes on within `grace`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct FinishRun {
    pub run: RunId,
    pub grace: Duration,
}

/// A run of a session is stored: its object verified, its row committed.
#[derive(Message, Debug, Clone, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct AudioStored {
    pub run: RunId,
    pub session: SessionId,
    pub user: UserId,
}

/// Finish what can be finished within `deadline`; the rest waits in the journal.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain {
    pub deadline: Duration,
}
