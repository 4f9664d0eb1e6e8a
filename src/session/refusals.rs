//! What clients were told went wrong, counted by its name.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::protocol::ErrorCode;

/// Errors sent since the start.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; ErrorCode::ALL.len()]);

impl Refusals {
    pub(super) fn count(&self, code: ErrorCode) {
        if let Some(counter) = self.0.get(code as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub fn snapshot(&self) -> impl Iterator<Item = (ErrorCode, u64)> {
        ErrorCode::ALL.into_iter().zip(&self.0).map(|(code, count)| (code, count.load(Relaxed)))
    }
}
