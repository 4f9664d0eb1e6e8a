//! What the persistence actors are told, and what they tell.

use std::time::Duration;

use actix::prelude::*;

use crate::{
    domain::{Record, StreamId, Timestamp, UserId},
    runtime::Permit,
    store::OpenSession,
};

/// A connection takes (or takes back) a stream: answers go to `session` from now on, and an older connection of the
/// same stream is told [`StreamFenced`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct OpenStream {
    pub stream: StreamId,
    /// Tells the connections of a stream apart; unique in this process. What an older one still has under way
    /// must not be taken for the newer one's.
    pub connection: u64,
    pub user: UserId,
    /// Whether the stream may exist already. A stream just made by this node is not looked up.
    pub resume: bool,
    /// Sessions alive at or after, and opened at or after, can be resumed.
    pub alive_since: Timestamp,
    pub opened_since: Timestamp,
    pub session: StreamSubscriber,
}

/// Where a stream's news go.
#[derive(Clone)]
pub struct StreamSubscriber {
    pub ready: Recipient<StreamReady>,
    pub stored: Recipient<RecordsStored>,
    pub fenced: Recipient<StreamFenced>,
}

/// The answer to [`OpenStream`].
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct StreamReady {
    pub stream: StreamId,
    pub state: StreamLookup,
    /// The user's session to resume, if the database knows one. `None` also while the database is away.
    pub open_session: Option<OpenSession>,
}

/// What is known of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StreamLookup {
    /// Never seen before.
    New,
    /// Stored up to `last_seq` (0: nothing yet). Audio attached up to `audio_end` bytes.
    Known { last_seq: i64, audio_end: u64 },
    /// It belongs to someone else.
    Foreign,
    /// The database is away, so nobody knows: the client may send everything again, and numbers that the server
    /// gives must not collide with earlier ones.
    Unknown,
}

/// Records of one stream, in order.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AppendRecords {
    pub stream: StreamId,
    /// As in [`OpenStream`]. Records of a connection that was replaced are stored and never answered.
    pub connection: u64,
    /// Counts the appends of one subscriber, from 1.
    pub ticket: u64,
    pub records: Vec<Record>,
    /// Somebody waits for the answer: do not linger.
    pub ack_wanted: bool,
    /// Held until the bytes need no memory here any more.
    pub permit: Permit,
}

/// Everything up to and including `ticket` has ended: durable as the ack mode defines it, or rejected by name. The
/// same ticket comes again only with news of rejected records.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct RecordsStored {
    pub stream: StreamId,
    pub ticket: u64,
    pub rejected: Vec<RejectedRecord>,
}

/// One record that the database refuses for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RejectedRecord {
    pub seq: Option<i64>,
    pub reason: String,
}

/// A newer connection took the stream, or the actor that knew it died: unanswered appends stay unanswered.
#[derive(Message, Debug, Clone, Copy, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct StreamFenced {
    pub stream: StreamId,
    pub reason: FenceReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceReason {
    /// A newer connection resumed the stream.
    Replaced,
    /// What was appended and not answered may be lost to memory: reconnect and send it again.
    Aborted,
}

/// The connection is gone. Its subscriber hears nothing more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CloseStream {
    pub stream: StreamId,
    /// As in [`OpenStream`]: a connection that was replaced closes nothing.
    pub connection: u64,
}

/// Records without a stream of their own and without a subscriber (attached audio, presence): answered one by one.
/// All but attached audio are journaled; the run of attached audio is in the journal until the answer came.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StoreRecord {
    pub record: Record,
    /// Told when it is committed, or refused for good. Dropped unanswered when this process will not do it.
    pub reply: Option<tokio::sync::oneshot::Sender<Result<(), RejectedRecord>>>,
}

/// Write everything, then stop. Answered with whether everything is stored; if not, what is left is in the journal.
/// While the database is away nothing is waited for but the journal's sync.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct Drain {
    pub deadline: Duration,
}
