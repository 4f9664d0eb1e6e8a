//! What the upload actors count, for `/metrics`.
//!
//! Promises: a gauge of an actor that died goes with it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Shared by all upload actors. Counters only grow; gauges are as fresh as the last tick of each actor.
#[derive(Debug, Default)]
pub struct UploadStats {
    /// Bytes written to staged files.
    pub bytes_staged: AtomicU64,
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
    /// Gauge: bytes of all runs that are not stored yet.
    pub bytes_waiting: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

pub(super) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Relaxed);
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

    pub(super) fn publish(&mut self, runs_open: u64, bytes_waiting: u64) {
        for (gauge, old, new) in [
            (&self.stats.runs_open, self.runs_open, runs_open),
            (&self.stats.bytes_waiting, self.bytes_waiting, bytes_waiting),
        ] {
            // In two steps, since a gauge may not go below what the other actors put into it.
            gauge.fetch_add(new, Relaxed);
            gauge.fetch_sub(old, Relaxed);
        }
        (self.runs_open, self.bytes_waiting) = (runs_open, bytes_waiting);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.publish(0, 0);
    }
}
