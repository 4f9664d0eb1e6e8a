//! The persistence actors: records in, rows out, answers back.
//!
//! Owns: the open batch and the one write in flight of each shard, the streams' acks, the backlog.
//! Promises: a record taken is journaled before anything else happens to it, and stored at least once; within a
//! stream in order; [`RecordsStored`] is sent after the commit (or the journal's sync, where that is what an ack
//! means), never before. A record that the database refuses for good is told to its sender by name, and costs nobody
//! else anything.
//! Refuses: to hold records in memory while the database is away: the journal holds them, so permits come back and
//! recording goes on.
//!
//! # Two modes
//! *Live*: batches are built from memory; while one is written the next fills, so batches grow under load.
//! *Backlog*: batches are read from the journal. An actor begins so (which is the replay after a restart, or after
//! its predecessor's panic), and returns to it when the database fails for longer than
//! [`PersistOptions::spill_after`]. [`backlog`] tells how it gets back to live without a gap.

mod actor;
mod backlog;
mod batch;
mod cycle;
mod hand;
mod intake;
mod lookup;
mod messages;
mod stats;
mod streams;
mod write;

use std::{sync::Arc, time::Duration};

pub use actor::PersistActor;
use futures_util::future::join_all;
pub use messages::{
    AppendRecords, CloseStream, Drain, FenceReason, OpenStream, RecordsStored, RejectedRecord, StoreRecord,
    StreamFenced, StreamLookup, StreamReady, StreamSubscriber,
};
pub use stats::{PersistSnapshot, PersistStats};
use tokio::sync::watch;

/// Part of [`StreamReady`].
pub use crate::store::OpenSession;

use crate::{domain::NodeId, journal::Journal, runtime::ActorPool, store::Store};

/// What the actors are made with.
#[derive(Clone)]
pub struct PersistDeps {
    pub node: NodeId,
    pub store: Arc<dyn Store>,
    /// Nothing is written before this says so: the schema may be on its way.
    pub is_database_prepared: watch::Receiver<bool>,
    pub journal: Journal,
    pub stats: Arc<PersistStats>,
    pub options: PersistOptions,
}

/// How batches are built and how failures are met.
#[derive(Clone, Debug)]
pub struct PersistOptions {
    /// An ack means synced in the journal instead of committed in the database: for nodes with a disk of their own.
    pub acknowledge_when_journaled: bool,
    /// How long a record waits for company when nobody waits for its answer.
    pub linger: Duration,
    /// Most rows of one batch. A batch of so many goes without lingering.
    pub max_rows: usize,
    /// Most bytes of one batch; a single larger append goes alone. A quarter of it goes without lingering.
    pub max_bytes: usize,
    /// How long the database may fail before what waits in memory is left to the journal.
    pub spill_after: Duration,
    /// Longest wait for what the database knows of a stream; the client waits for its welcome meanwhile.
    pub lookup_timeout: Duration,
    /// First and longest delay between two attempts.
    pub retry: (Duration, Duration),
}

impl Default for PersistOptions {
    fn default() -> Self {
        Self {
            acknowledge_when_journaled: false,
            linger: Duration::from_millis(10),
            max_rows: 1_000,
            max_bytes: 4 << 20,
            spill_after: Duration::from_secs(2),
            lookup_timeout: Duration::from_secs(1),
            retry: (Duration::from_millis(100), Duration::from_secs(5)),
        }
    }
}

/// Drains every actor at once; `false` when something was not stored in time, or an actor is gone. Whatever was
/// acknowledged waits in the journal then.
pub async fn drain(pool: &ActorPool<PersistActor>, deadline: Duration) -> bool {
    let drains = pool.all().into_iter().map(|actor| actor.send(Drain { deadline }));
    join_all(drains).await.into_iter().all(|drained| drained.unwrap_or(false))
}
