//! Batches: what waits, what goes together, and which record is to blame. Pure: no clock, no I/O.
//!
//! Promises: items leave in the order they came; an item is never split over two batches. The search for guilty
//! records ends: each refusal halves a range or rejects a record.

use std::{collections::VecDeque, ops::Range};

use tokio::sync::oneshot;

use super::{RejectedRecord, hand::InHand};
use crate::{
    domain::{Record, StreamId},
    journal::Position,
    runtime::Permit,
    store::WriteOutcome,
};

/// What a row takes besides its texts: the other columns and the bookkeeping around it.
const ROW_OVERHEAD_BYTES: usize = 128;

/// Bytes of a record, roughly as the database will see them.
pub(super) fn bytes_of(record: &Record) -> usize {
    ROW_OVERHEAD_BYTES
        + match record {
            Record::Event(event) => event.data.len() + event.name.as_str().len(),
            Record::SessionOpened(opened) => opened.page.as_ref().map_or(0, String::len),
            Record::StreamOpened(_)
            | Record::Presence(_)
            | Record::SessionTouched(_)
            | Record::SessionClosed(_)
            | Record::AudioAttached(_) => 0,
        }
}

/// Whom to tell how it ended.
#[derive(Debug)]
pub(super) enum Answer {
    /// A stream's connection.
    Ticket {
        stream: StreamId,
        connection: u64,
        ticket: u64,
    },
    Reply(oneshot::Sender<Result<(), RejectedRecord>>),
    Nobody,
}

impl Answer {
    /// Whoever waits for a single record; afterwards nobody does.
    pub(super) fn take_reply(&mut self) -> Option<oneshot::Sender<Result<(), RejectedRecord>>> {
        match std::mem::replace(self, Self::Nobody) {
            Self::Reply(reply) => Some(reply),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// What came with one message.
#[derive(Debug)]
pub(super) struct Item {
    /// Counts the items of the actor.
    pub(super) sequence: u64,
    pub(super) records: Vec<Record>,
    pub(super) bytes: usize,
    /// Everything of this actor at or below is in earlier items.
    pub(super) after: Position,
    /// Where it is in the journal; `None` when it is not.
    pub(super) position: Option<Position>,
    pub(super) answer: Answer,
    /// Records that never became part of `records`.
    pub(super) rejected: Vec<RejectedRecord>,
    #[expect(dead_code, reason = "held until the item goes")]
    pub(super) permit: Permit,
    pub(super) in_hand: InHand,
}

/// Most of one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// The open batch, and whatever is beyond it.
#[derive(Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    rows: usize,
    bytes: usize,
}

impl Queue {
    pub(super) fn push(&mut self, item: Item) {
        self.rows += item.records.len();
        self.bytes += item.bytes;
        self.items.push_back(item);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether it is large enough not to wait for more.
    pub(super) const fn is_full(&self, limits: Limits) -> bool {
        self.rows >= limits.rows || self.bytes >= limits.bytes / 4
    }

    /// The first item that is in the journal.
    pub(super) fn first_journaled(&self) -> Option<&Item> {
        self.items.iter().find(|item| item.position.is_some())
    }

    /// Takes a batch off the front: at least one item, if there is any.
    pub(super) fn take(&mut self, limits: Limits) -> Batch {
        let mut batch = Batch::default();
        while let Some(item) = self.items.front() {
            let rows = batch.records.len() + item.records.len();
            if !batch.items.is_empty() && (rows > limits.rows || batch.bytes + item.bytes > limits.bytes) {
                break;
            }
            let Some(mut item) = self.items.pop_front() else { break };
            self.rows -= item.records.len();
            self.bytes -= item.bytes;
            batch.bytes += item.bytes;
            let records = std::mem::take(&mut item.records);
            batch.items.push(Written { rows: records.len(), item });
            batch.records.extend(records);
        }
        batch.plan = Plan::new(batch.records.len());
        batch
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Item> {
        (self.rows, self.bytes) = (0, 0);
        self.items.drain(..)
    }
}

/// An item whose records are in a batch: its next `rows` ones.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) item: Item,
    pub(super) rows: usize,
}

/// What is written together.
#[derive(Default, Debug)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    pub(super) bytes: usize,
    /// Where the records came from; empty when they were read from the journal.
    pub(super) items: Vec<Written>,
    /// Where the records are, when they were read from the journal; and what is stored once they are.
    pub(super) positions: Vec<Position>,
    pub(super) upto: Position,
    pub(super) plan: Plan,
}

impl Batch {
    /// Takes the batch apart again.
    pub(super) fn into_items(self) -> impl Iterator<Item = Item> {
        let mut records = self.records.into_iter();
        self.items.into_iter().map(move |Written { mut item, rows }| {
            item.records = records.by_ref().take(rows).collect();
            item
        })
    }
}

/// How a batch is written: first as a whole, and in ever smaller parts once it was refused.
#[derive(Default, Debug)]
pub(super) struct Plan {
    /// Still to be written; the last one comes next.
    ranges: Vec<Range<usize>>,
    pub(super) rejected: Vec<(usize, String)>,
    pub(super) outcome: WriteOutcome,
}

impl Plan {
    pub(super) fn new(rows: usize) -> Self {
        let whole = 0..rows;
        Self { ranges: if rows == 0 { Vec::new() } else { vec![whole] }, ..Self::default() }
    }

    /// What to write next.
    pub(super) fn next(&self) -> Option<Range<usize>> {
        self.ranges.last().cloned()
    }

    /// The next range is committed.
    pub(super) fn committed(&mut self, outcome: WriteOutcome) {
        self.ranges.pop();
        self.outcome.events_stored += outcome.events_stored;
        self.outcome.events_duplicate += outcome.events_duplicate;
    }

    /// The next range is refused for good.
    pub(super) fn refused(&mut self, reason: impl FnOnce() -> String) {
        let Some(range) = self.ranges.pop() else { return };
        if range.len() == 1 {
            self.rejected.push((range.start, reason()));
        } else {
            let middle = range.start + range.len() / 2;
            // The front comes first, so that records keep their order.
            self.ranges.push(middle..range.end);
            self.ranges.push(range.start..middle);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{SessionId, SessionTouched, Timestamp, UserId};

    fn record() -> Record {
        let user = UserId::parse("anna").unwrap();
        Record::SessionTouched(SessionTouched { session: SessionId::new(), user, at: Timestamp::now() })
    }

    fn item(sequence: u64, rows: usize, bytes: usize) -> Item {
        Item {
            sequence,
            records: (0..rows).map(|_| record()).collect(),
            bytes,
            after: Position(sequence),
            position: Some(Position(sequence + 1)),
            answer: Answer::Nobody,
            rejected: Vec::new(),
            permit: Permit::none(),
            in_hand: InHand::nothing(std::sync::Arc::default()),
        }
    }

    const LIMITS: Limits = Limits { rows: 10, bytes: 1000 };

    #[test]
    fn a_batch_stops_before_its_limits() {
        let mut queue = Queue::default();
        for sequence in 0..8 {
            queue.push(item(sequence, 3, 10));
        }
        let sizes: Vec<_> = std::iter::from_fn(|| Some(queue.take(LIMITS)).filter(|batch| !batch.items.is_empty()))
            .map(|batch| batch.records.len())
            .collect();
        assert_eq!(sizes, [9, 9, 6]);
    }

    #[test]
    fn an_append_above_the_limits_goes_alone() {
        let mut queue = Queue::default();
        queue.push(item(0, 50, 5000));
        queue.push(item(1, 1, 1));
        assert_eq!(queue.take(LIMITS).records.len(), 50);
        assert_eq!(queue.take(LIMITS).records.len(), 1);
        assert!(queue.is_empty());
    }

    #[test]
    fn rows_or_bytes_make_it_full() {
        let mut queue = Queue::default();
        queue.push(item(0, 9, 249));
        assert!(!queue.is_full(LIMITS));
        queue.push(item(1, 0, 1));
        assert!(queue.is_full(LIMITS));
        queue.take(LIMITS);
        queue.push(item(0, 10, 0));
        assert!(queue.is_full(LIMITS));
    }

    #[test]
    fn a_batch_comes_apart_as_it_was_put_together() {
        let mut queue = Queue::default();
        let items: Vec<_> = [2, 0, 3].into_iter().enumerate().map(|(at, rows)| item(at as u64, rows, 1)).collect();
        let before: Vec<_> = items.iter().map(|item| item.records.clone()).collect();
        for item in items {
            queue.push(item);
        }
        let after: Vec<_> = queue.take(LIMITS).into_items().map(|item| item.records).collect();
        assert_eq!(after, before);
    }

    #[test]
    fn a_batch_of_no_rows_has_nothing_to_write() {
        assert_eq!(Plan::new(0).next(), None);
    }

    proptest! {
        #[test]
        fn exactly_the_guilty_are_rejected_and_the_rest_is_written_in_order(
            guilty in proptest::collection::vec(any::<bool>(), 1..200),
        ) {
            let mut plan = Plan::new(guilty.len());
            let (mut written, mut writes) = (Vec::new(), 0);
            while let Some(range) = plan.next() {
                writes += 1;
                if guilty[range.clone()].iter().any(|guilty| *guilty) {
                    plan.refused(|| "guilty".into());
                } else {
                    written.extend(range);
                    plan.committed(WriteOutcome { events_stored: 1, events_duplicate: 0 });
                }
            }
            let is_guilty = |index: &usize| guilty[*index];
            prop_assert_eq!(written, (0..guilty.len()).filter(|index| !is_guilty(index)).collect::<Vec<_>>());
            prop_assert_eq!(
                plan.rejected.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
                (0..guilty.len()).filter(is_guilty).collect::<Vec<_>>()
            );
            prop_assert!(writes < 2 * guilty.len());
        }
    }
}
