//! What was sent and what was promised, per stream.
//!
//! Promises: numbers only; the bytes themselves are [`super::content`]'s. What was acknowledged stays acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use super::content::StreamName;

/// One stream, as its shopper knows it.
#[derive(Clone, Debug)]
pub(crate) struct StreamLedger {
    pub(crate) name: StreamName,
    pub(crate) user: String,
    /// Whether messages carry their numbers, and are sent again until they are acknowledged. A silent stream is sent
    /// once, so that what is stored of it must be a beginning of what was sent.
    pub(crate) is_numbered: bool,
    /// Highest number used; events and recording words share them.
    pub(crate) sent: u64,
    /// Numbers of recording words, which leave no event behind.
    pub(crate) words: BTreeSet<u64>,
    /// Everything up to here is acknowledged, and these beyond.
    pub(crate) acknowledged: u64,
    acknowledged_beyond: BTreeSet<u64>,
    /// Refused for good, and told so.
    pub(crate) rejected: BTreeSet<u64>,
    pub(crate) audio_sent: u64,
    pub(crate) audio_acknowledged: u64,
    /// Offsets where recorders were started.
    pub(crate) audio_runs: Vec<u64>,
}

impl StreamLedger {
    pub(crate) const fn new(name: StreamName, user: String, is_numbered: bool) -> Self {
        Self {
            name,
            user,
            is_numbered,
            sent: 0,
            words: BTreeSet::new(),
            acknowledged: 0,
            acknowledged_beyond: BTreeSet::new(),
            rejected: BTreeSet::new(),
            audio_sent: 0,
            audio_acknowledged: 0,
            audio_runs: Vec::new(),
        }
    }

    /// Everything up to `n` is durable.
    pub(crate) fn acknowledge_upto(&mut self, n: u64) {
        self.acknowledged = self.acknowledged.max(n.min(self.sent));
        self.close_ranks();
    }

    /// This one is.
    pub(crate) fn acknowledge(&mut self, n: u64) {
        if n > self.acknowledged {
            self.acknowledged_beyond.insert(n);
            self.close_ranks();
        }
    }

    fn close_ranks(&mut self) {
        self.acknowledged_beyond = self.acknowledged_beyond.split_off(&(self.acknowledged + 1));
        while self.acknowledged_beyond.remove(&(self.acknowledged + 1)) {
            self.acknowledged += 1;
        }
    }

    pub(crate) fn is_acknowledged(&self, n: u64) -> bool {
        n <= self.acknowledged || self.acknowledged_beyond.contains(&n)
    }

    pub(crate) const fn acknowledge_audio_upto(&mut self, offset: u64) {
        if offset > self.audio_acknowledged {
            self.audio_acknowledged = if offset < self.audio_sent { offset } else { self.audio_sent };
        }
    }

    /// Events, without recording words and what was rejected, that are acknowledged.
    pub(crate) fn acknowledged_events(&self) -> u64 {
        let uncounted = self.words.union(&self.rejected).filter(|n| self.is_acknowledged(**n)).count() as u64;
        self.acknowledged + self.acknowledged_beyond.len() as u64 - uncounted
    }
}

/// How connections ended, and everything else that a load saw.
#[derive(Clone, Default, Debug)]
pub(crate) struct ShopperLedger {
    pub(crate) streams: Vec<StreamLedger>,
    pub(crate) connections: u64,
    pub(crate) resent_events: u64,
    /// Connections that the server ended, by the code of its last error.
    pub(crate) closed_for: BTreeMap<String, u64>,
    /// Connections that broke off without a word.
    pub(crate) cut: u64,
    /// What contradicts the protocol.
    pub(crate) complaints: Vec<String>,
    /// Whether everything that was said is acknowledged and the last connection was closed in order.
    pub(crate) is_finished: bool,
}

/// Sums over a load.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Totals {
    pub(crate) sent_events: u64,
    pub(crate) acknowledged_events: u64,
    pub(crate) sent_audio_bytes: u64,
    pub(crate) acknowledged_audio_bytes: u64,
    pub(crate) connections: u64,
    pub(crate) resent_events: u64,
    pub(crate) cut: u64,
    pub(crate) closed: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, shopper: &ShopperLedger) {
        for stream in &shopper.streams {
            self.sent_events += stream.sent - stream.words.len() as u64;
            self.acknowledged_events += stream.acknowledged_events();
            self.sent_audio_bytes += stream.audio_sent;
            self.acknowledged_audio_bytes += stream.audio_acknowledged;
        }
        self.connections += shopper.connections;
        self.resent_events += shopper.resent_events;
        self.cut += shopper.cut;
        self.closed += shopper.closed_for.values().sum::<u64>();
    }
}
