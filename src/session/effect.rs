//! What a session wants done. The state decides, the actor does.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    domain::{Record, RunId, SessionId, StreamId, Timestamp, UserId},
    protocol::{ErrorCode, ServerMessage},
    runtime::Permit,
    upload::{BeginRun, FinishRun},
};

/// One thing to do. Effects are done in order.
#[derive(Debug)]
pub(super) enum Effect {
    /// Ask the persistence actor for the stream.
    OpenStream {
        stream: StreamId,
        user: UserId,
        resume: bool,
    },
    /// The stream's connection is gone.
    CloseStream {
        stream: StreamId,
    },
    /// Have the records stored.
    Append {
        stream: StreamId,
        ticket: u64,
        records: Vec<Record>,
        ack_wanted: bool,
        permit: Permit,
    },
    BeginRun(BeginRun),
    AppendAudio(AudioEffect),
    FinishRun(FinishRun),
    /// This connection is the user's from now on.
    Join {
        user: UserId,
    },
    Leave {
        user: UserId,
    },
    /// A session is over: tell the user once its audio is stored.
    SessionOver {
        session: SessionId,
        user: UserId,
    },
    Send(ServerMessage),
    /// The client's token or key is valid for so long.
    EndAfter(Duration),
    /// Close the transport after everything sent before.
    Close(ErrorCode),
}

/// Audio on its way.
#[derive(Debug)]
pub(super) struct AudioEffect {
    pub(super) run: RunId,
    pub(super) stream: StreamId,
    pub(super) at: Timestamp,
    pub(super) bytes: Bytes,
    pub(super) ticket: u64,
    /// The stream's audio bytes up to the end of this chunk.
    pub(super) stream_end: u64,
    pub(super) permit: Permit,
}
