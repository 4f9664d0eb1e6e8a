//! Events that an actor has in its hands, as the accounts see them.
//!
//! Promises: what comes into somebody's hands leaves them by one of the endings: stored, duplicate or rejected, counted where
//! that is known, or left to the journal, counted here: let go of unfinished, to be read again, also when an actor dies.
//! So, at any moment: received + replayed = stored + duplicate + rejected + left + waiting.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::stats::PersistStats;
use crate::domain::Record;

pub(super) fn events_in<'r>(records: impl IntoIterator<Item = &'r Record>) -> u64 {
    records.into_iter().filter(|record| matches!(record, Record::Event(_))).count() as u64
}

/// A number of events that wait.
#[derive(Debug)]
pub(super) struct InHand {
    stats: Arc<PersistStats>,
    events: u64,
}

impl InHand {
    pub(super) const fn nothing(stats: Arc<PersistStats>) -> Self {
        Self { stats, events: 0 }
    }

    /// From a connection or an upload.
    pub(super) fn received(stats: &Arc<PersistStats>, events: u64) -> Self {
        stats.events_received.fetch_add(events, Relaxed);
        stats.events_waiting.fetch_add(events, Relaxed);
        Self { stats: Arc::clone(stats), events }
    }

    /// From the journal.
    pub(super) fn replayed(&mut self, events: u64) {
        self.stats.events_replayed.fetch_add(events, Relaxed);
        self.stats.events_waiting.fetch_add(events, Relaxed);
        self.events += events;
    }

    /// They are stored, were there already, or are refused for good.
    pub(super) fn ended(&mut self, events: u64) {
        debug_assert!(events <= self.events, "{events} of {} ended", self.events);
        let events = events.min(self.events);
        self.stats.events_waiting.fetch_sub(events, Relaxed);
        self.events -= events;
    }

    /// They are refused before they are promised anything.
    pub(super) fn rejected(&mut self, events: u64) {
        self.stats.events_rejected.fetch_add(events, Relaxed);
        self.ended(events);
    }

    pub(super) fn all_ended(&mut self) {
        self.ended(self.events);
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.stats.events_left.fetch_add(self.events, Relaxed);
        self.stats.events_waiting.fetch_sub(self.events, Relaxed);
    }
}
