//! Journal first: what becomes of a message before it is part of a batch.
//!
//! Promises: what can be known to be refused is refused before it is promised anything, by name; a record is in the
//! journal before it is anywhere else. While the journal has no room, messages wait in
//! order with their permits, and so their senders wait.

use std::sync::Arc;

use actix::prelude::*;
use futures_util::future::ready;

use super::{
    AppendRecords, PersistActor, RejectedRecord, StoreRecord,
    actor::{Mode, UnsyncedTicket},
    batch::{Answer, Item, bytes_of},
    cycle::add,
    hand::{InHand, events_in},
    stats::PersistStats,
    streams::Notices,
};
use crate::{
    domain::Record,
    journal::{AppendError, Entry, Position, ShardRecord},
    runtime::Permit,
    store::refusal,
};

/// A message on its way to the journal.
pub(super) struct Arrival {
    entries: Vec<Entry>,
    is_journaled: bool,
    is_urgent: bool,
    answer: Answer,
    /// Records that never became part of `entries`.
    rejected: Vec<RejectedRecord>,
    permit: Permit,
    in_hand: InHand,
}

impl Arrival {
    pub(super) fn of_stream(append: AppendRecords, shard: u16, stats: &Arc<PersistStats>) -> Self {
        let AppendRecords { stream, connection, ticket, records, ack_wanted, permit } = append;
        Self {
            in_hand: InHand::received(stats, events_in(&records)),
            entries: records.into_iter().map(|record| Entry::Record(ShardRecord { shard, record })).collect(),
            is_journaled: true,
            is_urgent: ack_wanted,
            answer: Answer::Ticket { stream, connection, ticket },
            rejected: Vec::new(),
            permit,
        }
    }

    pub(super) fn of_single(store: StoreRecord, shard: u16, stats: &Arc<PersistStats>) -> Self {
        let StoreRecord { record, reply } = store;
        Self {
            in_hand: InHand::received(stats, events_in([&record])),
            // Attached audio is in the journal as audio until it is stored.
            is_journaled: !matches!(record, Record::AudioAttached(_)),
            entries: vec![Entry::Record(ShardRecord { shard, record })],
            is_urgent: reply.is_some(),
            answer: reply.map_or(Answer::Nobody, Answer::Reply),
            rejected: Vec::new(),
            permit: Permit::none(),
        }
    }

    /// Takes out what `check` has a reason against, and says so to whoever asked for a single record. How many it were.
    fn reject<'r>(&mut self, check: impl Fn(&Record) -> Option<&'r str>) -> usize {
        let (before, rejected) = (self.entries.len(), &mut self.rejected);
        let mut events = 0;
        self.entries.retain(|entry| {
            let Entry::Record(ShardRecord { record, .. }) = entry else { return true };
            let Some(reason) = check(record) else { return true };
            events += events_in([record]);
            rejected.push(RejectedRecord { seq: record.seq(), reason: reason.to_owned() });
            false
        });
        if let Some(rejected) = self.rejected.last()
            && let Some(reply) = self.answer.take_reply()
        {
            // Who asked may have given up.
            let _ = reply.send(Err(rejected.clone()));
        }
        self.in_hand.rejected(events);
        before - self.entries.len()
    }

    fn into_item(self, after: Position, position: Option<Position>) -> Item {
        let records: Vec<_> = self.entries.into_iter().filter_map(into_record).collect();
        Item {
            sequence: 0,
            bytes: records.iter().map(bytes_of).sum(),
            records,
            after,
            position,
            answer: self.answer,
            rejected: self.rejected,
            permit: self.permit,
            in_hand: self.in_hand,
        }
    }
}

fn into_record(entry: Entry) -> Option<Record> {
    match entry {
        Entry::Record(owned) => Some(owned.record),
        _ => None,
    }
}

impl PersistActor {
    pub(super) fn take_in(&mut self, mut arrival: Arrival, ctx: &mut Context<Self>) {
        add(&self.deps.stats.received, arrival.entries.len());
        // Before anything is promised: where an ack means journaled, it may be the last word on a record.
        self.reject(&mut arrival, refusal);
        // What needs no room waits for none: stored audio frees the room that the others wait for.
        if self.parked.is_empty() || !arrival.is_journaled {
            if let Some(full) = self.journal(arrival, ctx) {
                self.parked.push_back(full);
                self.wait_for_room(ctx);
            }
        } else {
            self.parked.push_back(arrival);
        }
    }

    /// Gives the arrival back when the journal is full.
    fn journal(&mut self, arrival: Arrival, ctx: &mut Context<Self>) -> Option<Arrival> {
        let after = self.deps.journal.end();
        let is_urgent = arrival.is_urgent;
        let item = if !arrival.is_journaled {
            arrival.into_item(after, None)
        } else if arrival.entries.is_empty() {
            // A ticket alone: it has ended when everything before it has.
            arrival.into_item(after, Some(after))
        } else {
            match self.deps.journal.append(&arrival.entries) {
                Ok(position) => arrival.into_item(after, Some(position)),
                Err(AppendError::Full) => return Some(arrival),
                // The process is about to end, and has said why. No answer is an answer too.
                Err(AppendError::Failed | AppendError::Closed) => return None,
                // Nothing may be stored that is not journaled.
                Err(error @ AppendError::TooLarge { .. }) => {
                    let mut arrival = arrival;
                    let reason = error.to_string();
                    self.reject(&mut arrival, |_| Some(&reason));
                    arrival.into_item(after, Some(after))
                }
            }
        };
        self.accept(item, is_urgent, ctx);
        None
    }

    fn reject<'r>(&self, arrival: &mut Arrival, check: impl Fn(&Record) -> Option<&'r str>) {
        let records = arrival.reject(check);
        if let (Some(last), true) = (arrival.rejected.last(), records > 0) {
            tracing::error!(shard = self.shard.number, records, reason = last.reason, "records are rejected");
            add(&self.deps.stats.rejected, records);
        }
    }

    fn accept(&mut self, mut item: Item, is_urgent: bool, ctx: &mut Context<Self>) {
        self.sequence += 1;
        item.sequence = self.sequence;
        if let Some(position) = item.position {
            self.last_position = position;
        }
        let is_acknowledged_when_journaled = self.deps.options.acknowledge_when_journaled;
        if let (Answer::Ticket { stream, connection, ticket }, Some(position)) = (&item.answer, item.position) {
            let (stream, connection, ticket) = (*stream, *connection, *ticket);
            self.streams.appended(stream, connection, position);
            if is_acknowledged_when_journaled {
                let rejected = std::mem::take(&mut item.rejected);
                self.unsynced.push_back(UnsyncedTicket { position, stream, connection, ticket, rejected });
                self.wait_for_sync(ctx);
            }
        }
        if let Mode::Backlog(_) = self.mode {
            self.leave_to_journal(item, ctx);
        } else {
            self.queue.push(item);
            // Whoever is acknowledged by the journal does not wait for the database.
            self.is_due |= is_urgent && !is_acknowledged_when_journaled || self.queue.is_full(self.limits);
            if self.is_due { self.schedule_pump(ctx) } else { self.linger(ctx) }
        }
    }

    /// The item will be stored from the journal. Its memory is given back as soon as it is synced.
    pub(super) fn leave_to_journal(&mut self, item: Item, ctx: &mut Context<Self>) {
        let item = self.promise(item);
        if let Mode::Backlog(backlog) = &mut self.mode {
            backlog.push(item);
            self.wait_for_sync(ctx);
        }
    }

    /// Notes what is owed to a stream for an item that will be let go of.
    pub(super) fn promise(&mut self, mut item: Item) -> Item {
        if let (Answer::Ticket { stream, connection, ticket }, Some(position)) = (&item.answer, item.position) {
            if !self.deps.options.acknowledge_when_journaled {
                self.streams.owe(*stream, *connection, *ticket, position);
            }
            for rejected in item.rejected.drain(..) {
                self.streams.reject(*stream, position, rejected);
            }
        }
        item
    }

    fn wait_for_room(&mut self, ctx: &mut Context<Self>) {
        let journal = self.deps.journal.clone();
        let room = async move { journal.room().await };
        ctx.spawn(room.into_actor(self).map(|(), actor, ctx| actor.unpark(ctx)));
    }

    fn unpark(&mut self, ctx: &mut Context<Self>) {
        while let Some(arrival) = self.parked.pop_front() {
            if let Some(full) = self.journal(arrival, ctx) {
                self.parked.push_front(full);
                self.wait_for_room(ctx);
                return;
            }
        }
        self.finish_if_drained(ctx);
    }

    /// Calls [`Self::on_synced`] when the last record taken is synced.
    fn wait_for_sync(&mut self, ctx: &mut Context<Self>) {
        if self.waits_for_sync {
            return;
        }
        self.waits_for_sync = true;
        let (journal, position) = (self.deps.journal.clone(), self.last_position);
        let synced = async move { journal.synced_at(position).await };
        ctx.spawn(synced.into_actor(self).map(|synced, actor, ctx| {
            actor.waits_for_sync = false;
            // A journal that failed or closed syncs nothing any more.
            if synced.is_ok() {
                actor.on_synced(ctx);
            }
        }));
    }

    fn on_synced(&mut self, ctx: &mut Context<Self>) {
        let synced = self.deps.journal.synced();
        let mut notices = Notices::default();
        while let Some(ticket) = self.unsynced.pop_front_if(|ticket| ticket.position <= synced) {
            notices.add(ticket.stream, ticket.connection, ticket.ticket, ticket.rejected);
        }
        notices.tell(&mut self.streams);
        let mut is_more = !self.unsynced.is_empty();
        if let Mode::Backlog(backlog) = &mut self.mode {
            backlog.let_go(synced);
            is_more |= backlog.last_of_tail().is_some_and(|last| last > synced);
        }
        if is_more {
            self.wait_for_sync(ctx);
        }
    }

    fn linger(&mut self, ctx: &mut Context<Self>) {
        if self.is_lingering {
            return;
        }
        self.is_lingering = true;
        ctx.run_later(self.deps.options.linger, |actor, ctx| {
            actor.is_lingering = false;
            actor.is_due = !actor.queue.is_empty();
            actor.pump(ctx);
        });
    }

    /// After the mailbox is empty: what arrived together is written together.
    fn schedule_pump(&mut self, ctx: &mut Context<Self>) {
        if self.is_pump_scheduled || self.writing_since.is_some() || self.is_paused {
            return;
        }
        self.is_pump_scheduled = true;
        ctx.spawn(ready(()).into_actor(self).map(|(), actor, ctx| {
            actor.is_pump_scheduled = false;
            actor.pump(ctx);
        }));
    }
}
