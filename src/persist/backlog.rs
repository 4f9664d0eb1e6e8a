//! Working from the journal, and the way back to working from memory.
//!
//! Owns: the reader, what was read and is not written yet, and the *tail*: items appended meanwhile that are not
//! synced yet, with their permits.
//! Promises: between the last record read and the first one built from memory there is no gap: the tail is let go of
//! only once the journal is synced that far, and is kept from the moment that the reader comes near the end.
//! Refuses: to hold more than one reading of the journal in memory.
//!
//! # The hand-over
//! A reading that ends at the written end says that the end is near: from then on the tail is kept. The next reading
//! that ends there has everything that was let go of behind it; once it is written, what the tail holds beyond the
//! reader's place is all that is missing, and becomes the open batch.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::oneshot;

use super::{
    RejectedRecord,
    batch::{Answer, Batch, Item, Limits, Plan, bytes_of},
    hand::{InHand, events_in},
    stats::PersistStats,
};
use crate::{
    domain::Record,
    journal::{Entry, JournalReader, Position, ReadError},
};

/// Read at a time. A few thousand events: large enough to batch, small enough for several actors at once.
const READ_BYTES: usize = 1 << 20;

/// Which of the journal's records an actor takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shard {
    pub(super) number: u16,
    pub(super) count: u16,
    /// Where this process began. Presence from before is another process': all its connections are gone.
    pub(super) process_began: Position,
}

impl Shard {
    fn takes(self, position: Position, entry: Entry) -> Option<Record> {
        let Entry::Record(owned) = entry else { return None };
        let is_stale = matches!(owned.record, Record::Presence(_)) && position <= self.process_began;
        // With another number of actors than before, old shards are spread over the new ones.
        (!is_stale && owned.shard % self.count == self.number).then_some(owned.record)
    }
}

type Reply = oneshot::Sender<Result<(), RejectedRecord>>;

pub(super) struct Backlog {
    /// Away while it reads.
    reader: Option<JournalReader>,
    ready: VecDeque<(Position, Record)>,
    /// Events that were read and are not written yet.
    in_hand: InHand,
    /// Everything at or below was read.
    read_to: Position,
    /// The last reading ended at the written end.
    reached_end: bool,
    /// Since the actor began, so that the database does not know yet what was acknowledged before.
    pub(super) is_replay: bool,
    tail: VecDeque<Item>,
    keep_tail: bool,
    /// Everything behind is in the tail.
    let_go: Position,
    /// Items that are not in the journal. They wait: few, and small.
    unjournaled: VecDeque<Item>,
    replies: VecDeque<(Position, Reply)>,
}

/// What to do next.
pub(super) enum Step {
    Write(Batch),
    Read(JournalReader),
    /// The reader is under way.
    Wait,
    HandOver,
}

/// What came of a reading.
pub(super) struct Reading {
    reader: JournalReader,
    records: Result<Vec<(Position, Record)>, ReadError>,
}

impl Reading {
    /// Blocking file I/O.
    pub(super) fn read(mut reader: JournalReader, shard: Shard) -> Self {
        let records = reader.next_batch(READ_BYTES).map(|entries| {
            let mine = |(position, entry)| Some((position, shard.takes(position, entry)?));
            entries.into_iter().filter_map(mine).collect()
        });
        Self { reader, records }
    }
}

impl Backlog {
    /// A backlog that begins with nothing in memory: what was appended up to `end` is in the journal alone, or will be
    /// once it is written.
    pub(super) fn replay(reader: JournalReader, end: Position, stats: Arc<PersistStats>) -> Self {
        Self { is_replay: true, let_go: end, ..Self::new(reader, stats) }
    }

    /// A backlog that is given all items which are not stored yet.
    pub(super) fn new(reader: JournalReader, stats: Arc<PersistStats>) -> Self {
        Self {
            read_to: reader.position(),
            reader: Some(reader),
            ready: VecDeque::new(),
            in_hand: InHand::nothing(stats),
            reached_end: false,
            is_replay: false,
            tail: VecDeque::new(),
            keep_tail: false,
            let_go: Position::default(),
            unjournaled: VecDeque::new(),
            replies: VecDeque::new(),
        }
    }

    /// Starts over behind what turned out to be stored. Only before the first step.
    pub(super) fn start_from(&mut self, reader: JournalReader) {
        self.read_to = reader.position();
        self.reader = Some(reader);
    }

    /// An item that was appended after all earlier ones.
    pub(super) fn push(&mut self, item: Item) {
        if item.position.is_some() {
            self.tail.push_back(item);
        } else {
            self.unjournaled.push_back(item);
        }
    }

    /// Items that were appended before all others here.
    pub(super) fn push_front(&mut self, items: Vec<Item>) {
        let later = (std::mem::take(&mut self.tail), std::mem::take(&mut self.unjournaled));
        for item in items {
            self.push(item);
        }
        self.tail.extend(later.0);
        self.unjournaled.extend(later.1);
    }

    /// Gives the memory of what is synced back.
    pub(super) fn let_go(&mut self, synced: Position) {
        if self.keep_tail {
            return;
        }
        while let Some(item) = self.tail.pop_front_if(|item| item.position <= Some(synced)) {
            let Some(position) = item.position else { continue };
            self.let_go = self.let_go.max(position);
            if let Answer::Reply(reply) = item.answer {
                self.replies.push_back((position, reply));
            }
        }
    }

    /// The position that must be synced before more of the tail can go.
    pub(super) fn last_of_tail(&self) -> Option<Position> {
        self.tail.back().and_then(|item| item.position)
    }

    pub(super) fn next(&mut self, limits: Limits) -> Step {
        if !self.ready.is_empty() {
            return Step::Write(self.take(limits));
        }
        let has_everything = self.has_everything();
        match self.reader.take() {
            None => Step::Wait,
            Some(reader) if has_everything => {
                self.reader = Some(reader);
                Step::HandOver
            }
            Some(reader) => {
                self.keep_tail = self.reached_end;
                Step::Read(reader)
            }
        }
    }

    fn has_everything(&self) -> bool {
        self.reached_end && self.let_go <= self.read_to
    }

    /// Whether the reader is at the written end, and what it looks for is still to be written.
    pub(super) fn is_ahead_of_the_disk(&self) -> bool {
        self.reached_end && !self.has_everything()
    }

    fn take(&mut self, limits: Limits) -> Batch {
        let mut batch = Batch::default();
        while batch.records.len() < limits.rows
            && let Some((position, record)) = self
                .ready
                .pop_front_if(|(_, record)| batch.records.is_empty() || batch.bytes + bytes_of(record) <= limits.bytes)
        {
            batch.bytes += bytes_of(&record);
            batch.records.push(record);
            batch.positions.push(position);
        }
        batch.upto =
            if self.ready.is_empty() { self.read_to } else { batch.positions.last().copied().unwrap_or_default() };
        batch.plan = Plan::new(batch.records.len());
        batch
    }

    /// Takes the reader back. The number of records that are to be written, or why it must be tried again.
    pub(super) fn finish_reading(&mut self, reading: Reading) -> Result<usize, ReadError> {
        self.read_to = reading.reader.position();
        self.reached_end = reading.reader.reached_end();
        self.reader = Some(reading.reader);
        let records = reading.records?;
        let count = records.len();
        self.in_hand.replayed(events_in(records.iter().map(|(_, record)| record)));
        self.ready.extend(records);
        Ok(count)
    }

    /// A batch that was read has ended.
    pub(super) fn written(&mut self, batch: &Batch) {
        self.in_hand.ended(events_in(&batch.records));
    }

    /// Everything up to `upto` has ended; `rejected` tells where records were refused. Answers single records.
    pub(super) fn committed(&mut self, upto: Position, rejected: &[(Position, RejectedRecord)]) {
        let outcome = |at: Position| match rejected.iter().find(|(position, _)| *position == at) {
            None => Ok(()),
            Some((_, rejected)) => Err(rejected.clone()),
        };
        while let Some((position, reply)) = self.replies.pop_front_if(|(position, _)| *position <= upto) {
            // Who asked may have given up.
            let _ = reply.send(outcome(position));
        }
        while let Some(item) = self.tail.pop_front_if(|item| item.position <= Some(upto)) {
            if let (Some(position), Answer::Reply(reply)) = (item.position, item.answer) {
                let _ = reply.send(outcome(position));
            }
        }
    }

    /// The write fails or hangs: it may take long, so memory is not kept for it.
    pub(super) fn write_is_stuck(&mut self, synced: Position) {
        self.keep_tail = false;
        self.let_go(synced);
    }

    /// Everything read up to.
    pub(super) const fn read_to(&self) -> Position {
        self.read_to
    }

    /// What is not stored yet, in the order it came.
    pub(super) fn hand_over(mut self) -> impl Iterator<Item = Item> {
        let (mut tail, mut unjournaled) = (std::mem::take(&mut self.tail), std::mem::take(&mut self.unjournaled));
        std::iter::from_fn(move || match (tail.front(), unjournaled.front()) {
            (Some(journaled), Some(other)) if other.sequence < journaled.sequence => unjournaled.pop_front(),
            (Some(_), _) => tail.pop_front(),
            (None, _) => unjournaled.pop_front(),
        })
    }
}
