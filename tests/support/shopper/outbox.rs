//! What a numbered shopper still has to say, over as many connections as it takes. No I/O, no clock.
//!
//! Promises: everything is said in the order of its numbers, and again on the next connection until it is acknowledged;
//! audio goes on where the server, or the last acknowledgement, says that it ends.

use std::collections::VecDeque;

use super::{door::Asked, ledger::StreamLedger};

/// Acknowledged events that are said again after a reconnect: the server has to take that.
const SAID_AGAIN: usize = 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Item {
    Event(u64),
    Start(u64),
    End(u64),
    Audio { from: u64, to: u64 },
}

/// What to say next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    Event { n: u64, is_again: bool },
    Start(Option<u64>),
    End(Option<u64>),
    Audio { from: u64, to: u64 },
}

/// Whether a recording was started anew, for audio that came too late for its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Reopened {
    #[default]
    No,
    /// It is to be ended once everything was said.
    Yes,
    IsEnding,
}

#[derive(Default, Debug)]
pub(crate) struct Outbox {
    items: VecDeque<Item>,
    /// The first item that was not said on this connection.
    cursor: usize,
    is_recording: bool,
    /// Whether a recording is on for sure. A word that is said again may have been obeyed long ago, so it starts
    /// nothing and may end something.
    server_records: bool,
    /// Highest number said, and said before this connection.
    said: u64,
    said_before: u64,
    /// The last thing said was the end of a recording, whose last chunk may follow.
    within_grace: bool,
    reopened: Reopened,
    /// What the server counts audio from, and which byte of the stream that is.
    audio_base: (u64, u64),
    recent: VecDeque<u64>,
    again: VecDeque<u64>,
}

impl Outbox {
    pub(crate) const fn is_recording(&self) -> bool {
        self.is_recording
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Everything was said and acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.reopened == Reopened::No
    }

    pub(crate) fn add_event(&mut self, ledger: &mut StreamLedger) {
        ledger.sent += 1;
        self.items.push_back(Item::Event(ledger.sent));
    }

    pub(crate) fn add_start(&mut self, ledger: &mut StreamLedger) {
        ledger.sent += 1;
        ledger.words.insert(ledger.sent);
        self.is_recording = true;
        self.items.push_back(Item::Start(ledger.sent));
    }

    pub(crate) fn add_end(&mut self, ledger: &mut StreamLedger) {
        ledger.sent += 1;
        ledger.words.insert(ledger.sent);
        self.is_recording = false;
        self.items.push_back(Item::End(ledger.sent));
    }

    pub(crate) fn add_audio(&mut self, bytes: u64, begins_run: bool, ledger: &mut StreamLedger) {
        let from = ledger.audio_sent;
        if begins_run {
            ledger.audio_runs.push(from);
        }
        ledger.audio_sent += bytes;
        self.items.push_back(Item::Audio { from, to: ledger.audio_sent });
    }

    /// A connection was welcomed. What contradicts what this side knows comes back as a complaint.
    pub(crate) fn welcomed(
        &mut self,
        next_seq: u64,
        audio_offset: u64,
        is_recording: bool,
        ledger: &mut StreamLedger,
    ) -> Option<String> {
        let (sent, audio_sent) = (ledger.sent, ledger.audio_sent);
        let is_sane = next_seq <= sent + 1 && audio_offset <= audio_sent;
        ledger.acknowledge_upto(next_seq.saturating_sub(1));
        ledger.acknowledge_audio_upto(audio_offset);
        self.audio_base = (audio_offset, ledger.audio_acknowledged);
        self.server_records = is_recording;
        self.said_before = self.said;
        self.within_grace = false;
        if self.reopened != Reopened::No {
            self.reopened = if is_recording { Reopened::Yes } else { Reopened::No };
        }
        self.settle(ledger);
        self.cursor = 0;
        self.again = self.recent.clone();
        (!is_sane).then(|| format!("welcomed at {next_seq}, {audio_offset} after {sent}, {audio_sent} were sent"))
    }

    /// What the next message is. It counts as said.
    pub(crate) fn next(&mut self, ledger: &StreamLedger) -> Option<Next> {
        if let Some(n) = self.again.pop_front() {
            return Some(Next::Event { n, is_again: true });
        }
        loop {
            let Some(item) = self.items.get(self.cursor).copied() else {
                if !self.has_to_end() {
                    return None;
                }
                (self.reopened, self.server_records) = (Reopened::IsEnding, false);
                return Some(Next::End(None));
            };
            let next = match item {
                Item::Event(n) | Item::Start(n) | Item::End(n) if ledger.is_acknowledged(n) => None,
                Item::Event(n) => Some(Next::Event { n, is_again: false }),
                Item::Start(n) => {
                    self.server_records |= n > self.said_before;
                    Some(Next::Start(Some(n)))
                }
                Item::End(n) => {
                    self.server_records = false;
                    Some(Next::End(Some(n)))
                }
                Item::Audio { to, .. } if to <= ledger.audio_acknowledged => None,
                Item::Audio { .. } if !self.server_records && !self.within_grace => {
                    (self.server_records, self.reopened) = (true, Reopened::Yes);
                    return Some(Next::Start(None));
                }
                Item::Audio { from, to } => Some(Next::Audio { from: from.max(ledger.audio_acknowledged), to }),
            };
            self.cursor += 1;
            if let Item::Event(n) | Item::Start(n) | Item::End(n) = item {
                self.said = self.said.max(n);
            }
            if let Some(next) = next {
                self.within_grace = matches!(next, Next::End(Some(n)) if n > self.said_before);
                return Some(next);
            }
        }
    }

    /// Whether [`Self::next`] may have something.
    pub(crate) fn has_next(&self) -> bool {
        !self.again.is_empty() || self.cursor < self.items.len() || self.has_to_end()
    }

    fn has_to_end(&self) -> bool {
        self.reopened == Reopened::Yes && !self.is_recording
    }

    pub(crate) fn acknowledged(&mut self, asked: Asked, ledger: &mut StreamLedger) {
        match asked {
            Asked::Number(n) => ledger.acknowledge(n),
            Asked::Upto(n) => ledger.acknowledge_upto(n),
            Asked::AudioUpto(offset) => ledger.acknowledge_audio_upto(offset),
            Asked::End => {
                if self.reopened == Reopened::IsEnding {
                    self.reopened = Reopened::No;
                }
            }
            Asked::Nothing => {}
        }
        self.settle(ledger);
    }

    /// Where in the stream the server's count of audio bytes is.
    pub(crate) const fn audio_offset_of(&self, server_count: u64) -> u64 {
        let (server_base, base) = self.audio_base;
        server_count.saturating_sub(server_base) + base
    }

    /// A message was refused for good.
    pub(crate) fn rejected(&mut self, n: u64, ledger: &mut StreamLedger) {
        ledger.rejected.insert(n);
        ledger.acknowledge(n);
        self.settle(ledger);
    }

    /// Forgets what is acknowledged.
    fn settle(&mut self, ledger: &StreamLedger) {
        while let Some(item) = self.items.front() {
            let is_settled = match item {
                Item::Event(n) | Item::Start(n) | Item::End(n) => ledger.is_acknowledged(*n),
                Item::Audio { to, .. } => *to <= ledger.audio_acknowledged,
            };
            if !is_settled {
                break;
            }
            if let Some(Item::Event(n)) = self.items.pop_front() {
                self.recent.push_back(n);
                if self.recent.len() > SAID_AGAIN {
                    self.recent.pop_front();
                }
            }
            self.cursor = self.cursor.saturating_sub(1);
        }
    }
}
