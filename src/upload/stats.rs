//! What the upload actors count, for `/metrics`.
//!
//! Promises: a gauge of an actor that died goes with it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Shared by all upload actors. Counters only grow.
#[derive(Debug, Default)]
pub struct UploadStats {
    /// Bytes taken from connections: staged and journaled.
    pub bytes_staged: AtomicU64,
    /// Bytes that an earlier process, or an actor that died, left here.
    pub bytes_recovered: AtomicU64,
    /// Bytes whose objects are verified and whose rows are committed.
    pub bytes_stored: AtomicU64,
    /// Bytes of runs of which another node had a part: that part is stored by it, the rest from here.
    pub bytes_shared: AtomicU64,
    /// Bytes whose rows the database refused for good; their objects stay.
    pub bytes_rejected: AtomicU64,
    /// Bytes that were deleted before they were stored.
    pub bytes_deleted: AtomicU64,
    /// Bytes that an actor had in hand when it died, to be recovered.
    pub bytes_left: AtomicU64,
    /// Runs whose object is verified and whose row is committed.
    pub runs_stored: AtomicU64,
    /// Requests to the store, or to have a row written, that failed and are tried again.
    pub retries: AtomicU64,
    /// Objects that were not what was recorded, and were uploaded again.
    pub verify_failures: AtomicU64,
    /// Rows that the database refused for good; their objects stay.
    pub rows_rejected: AtomicU64,
    /// Bytes of chunks for runs that were finished or not known.
    pub bytes_refused: AtomicU64,
    /// Times that audio had to wait because the journal or the disk was full.
    pub pauses: AtomicU64,
    /// Staged files that could not be synced or read.
    pub staging_failures: AtomicU64,
    /// Gauge: runs that take bytes.
    pub runs_open: AtomicU64,
    /// Gauge: bytes of all runs that have not ended yet. What was staged and recovered is what was stored, shared, rejected,
    /// deleted or left, and this.
    pub bytes_waiting: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

pub(super) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Relaxed);
}

/// What becomes of a run's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    Stored,
    Shared,
    Rejected,
    Deleted,
}

/// One actor's share of the gauges.
pub(super) struct Share {
    stats: Arc<UploadStats>,
    runs_open: u64,
    bytes_waiting: u64,
}

impl Share {
    pub(super) const fn new(stats: Arc<UploadStats>) -> Self {
        Self { stats, runs_open: 0, bytes_waiting: 0 }
    }

    pub(super) fn set_open(&mut self, runs: u64) {
        // In two steps, since a gauge may not go below what the other actors put into it.
        self.stats.runs_open.fetch_add(runs, Relaxed);
        self.stats.runs_open.fetch_sub(self.runs_open, Relaxed);
        self.runs_open = runs;
    }

    /// From a connection.
    pub(super) fn staged(&mut self, bytes: u64) {
        add(&self.stats.bytes_staged, bytes);
        self.waits(bytes);
    }

    /// From an earlier life.
    pub(super) fn recovered(&mut self, bytes: u64) {
        add(&self.stats.bytes_recovered, bytes);
        self.waits(bytes);
    }

    fn waits(&mut self, bytes: u64) {
        add(&self.stats.bytes_waiting, bytes);
        self.bytes_waiting += bytes;
    }

    /// The run that has them is done with.
    pub(super) fn ended(&mut self, bytes: u64, ending: Ending) {
        let counter = match ending {
            Ending::Stored => &self.stats.bytes_stored,
            Ending::Shared => &self.stats.bytes_shared,
            Ending::Rejected => &self.stats.bytes_rejected,
            Ending::Deleted => &self.stats.bytes_deleted,
        };
        add(counter, bytes);
        self.stats.bytes_waiting.fetch_sub(bytes, Relaxed);
        self.bytes_waiting -= bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set_open(0);
        add(&self.stats.bytes_left, self.bytes_waiting);
        self.stats.bytes_waiting.fetch_sub(self.bytes_waiting, Relaxed);
    }
}
