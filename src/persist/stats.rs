//! What the persistence actors count.

use std::sync::{
    Arc,
    atomic::{
        AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
};

/// Counters of all actors of a pool, since the process began, and what is so right now.
#[derive(Default, Debug)]
pub struct PersistStats {
    pub(super) received: AtomicU64,
    pub(super) events_stored: AtomicU64,
    pub(super) events_duplicate: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) batch_rows: AtomicU64,
    pub(super) batch_bytes: AtomicU64,
    pub(super) write_us: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) replayed: AtomicU64,
    pub(super) events_received: AtomicU64,
    pub(super) events_replayed: AtomicU64,
    pub(super) events_rejected: AtomicU64,
    pub(super) events_left: AtomicU64,
    pub(super) events_waiting: AtomicU64,
    failing_actors: AtomicU64,
    backlog_actors: AtomicU64,
    backlog_bytes: AtomicU64,
}

/// One reading of [`PersistStats`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PersistSnapshot {
    /// Records taken from connections and uploads.
    pub received: u64,
    pub events_stored: u64,
    /// Events that were there already: our own retries, or a client's resends.
    pub events_duplicate: u64,
    /// Records that the database, or the journal for their size, refused for good.
    pub rejected: u64,
    pub batches: u64,
    /// Sum over all batches.
    pub batch_rows: u64,
    pub batch_bytes: u64,
    /// Sum of the time from the start of a write to its commit, in microseconds.
    pub write_us: u64,
    /// Writes that failed and were tried again.
    pub failures: u64,
    /// Records read from the journal.
    pub replayed: u64,
    /// Events taken from connections.
    pub events_received: u64,
    /// Events read from the journal: those that an earlier process left there, and [`Self::events_left`].
    pub events_replayed: u64,
    /// Events that the database, or the journal for their size, refused for good.
    pub events_rejected: u64,
    /// Events that were let go of, to be read from the journal again.
    pub events_left: u64,
    /// Events in memory right now.
    pub events_waiting: u64,
    /// Actors whose last write failed.
    pub failing_actors: u64,
    /// Actors that work from the journal.
    pub backlog_actors: u64,
    /// Journal between what those actors have stored and its end: the sum over them.
    pub backlog_bytes: u64,
}

impl PersistStats {
    /// Whether no actor's last write failed.
    #[must_use]
    pub fn is_database_up(&self) -> bool {
        self.failing_actors.load(SeqCst) == 0
    }

    #[must_use]
    pub fn snapshot(&self) -> PersistSnapshot {
        PersistSnapshot {
            received: self.received.load(Relaxed),
            events_stored: self.events_stored.load(Relaxed),
            events_duplicate: self.events_duplicate.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            batches: self.batches.load(Relaxed),
            batch_rows: self.batch_rows.load(Relaxed),
            batch_bytes: self.batch_bytes.load(Relaxed),
            write_us: self.write_us.load(Relaxed),
            failures: self.failures.load(Relaxed),
            replayed: self.replayed.load(Relaxed),
            events_received: self.events_received.load(Relaxed),
            events_replayed: self.events_replayed.load(Relaxed),
            events_rejected: self.events_rejected.load(Relaxed),
            events_left: self.events_left.load(Relaxed),
            events_waiting: self.events_waiting.load(Relaxed),
            failing_actors: self.failing_actors.load(SeqCst),
            backlog_actors: self.backlog_actors.load(SeqCst),
            backlog_bytes: self.backlog_bytes.load(SeqCst),
        }
    }
}

/// One actor's part of what is so right now; taken back when the actor is gone, however it went.
pub(super) struct Condition {
    stats: Arc<PersistStats>,
    failing: bool,
    backlog_bytes: Option<u64>,
}

impl Condition {
    pub(super) const fn new(stats: Arc<PersistStats>) -> Self {
        Self { stats, failing: false, backlog_bytes: None }
    }

    pub(super) fn set_failing(&mut self, failing: bool) {
        match (self.failing, failing) {
            (false, true) => self.stats.failing_actors.fetch_add(1, SeqCst),
            (true, false) => self.stats.failing_actors.fetch_sub(1, SeqCst),
            _ => 0,
        };
        self.failing = failing;
    }

    /// `None`: not working from the journal.
    pub(super) fn set_backlog(&mut self, bytes: Option<u64>) {
        match (self.backlog_bytes, bytes) {
            (None, Some(_)) => self.stats.backlog_actors.fetch_add(1, SeqCst),
            (Some(_), None) => self.stats.backlog_actors.fetch_sub(1, SeqCst),
            _ => 0,
        };
        self.stats.backlog_bytes.fetch_add(bytes.unwrap_or(0), SeqCst);
        self.stats.backlog_bytes.fetch_sub(self.backlog_bytes.unwrap_or(0), SeqCst);
        self.backlog_bytes = bytes;
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        self.set_failing(false);
        self.set_backlog(None);
    }
}
