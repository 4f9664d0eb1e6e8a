//! What became of tracks, counted.

use std::sync::atomic::AtomicU64;

/// Since the process began.
#[derive(Default, Debug)]
pub struct TrackStats {
    pub made: AtomicU64,
    /// Given up, until the session gets another part.
    pub failed: AtomicU64,
    /// Put off, since something was away.
    pub postponed: AtomicU64,
    /// In work.
    pub making: AtomicU64,
}
