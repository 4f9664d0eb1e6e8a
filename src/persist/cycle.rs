//! The write cycle: what is written next, and what follows from how it went.
//!
//! Promises: one write in flight; a batch that failed is tried again with the same records; answers, permits and the
//! journal's release come after the commit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::prelude::*;
use tokio::time::Instant;

use super::{
    PersistActor, RejectedRecord,
    actor::Mode,
    backlog::{Backlog, Reading, Step},
    batch::{Answer, Batch},
    hand::events_in,
    streams::Notices,
    write::{self, Attempt},
};
use crate::{
    domain::{Record, StreamId},
    journal::Position,
    store::StoreError,
};

/// Between two looks for entries that the journal's thread is about to write: a little more than one sync.
const DISK_POLL: Duration = Duration::from_millis(2);

impl PersistActor {
    /// Does the next thing, if there is one to do. Harmless at any time.
    pub(super) fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.writing_since.is_some() || self.is_paused {
            return;
        }
        if let Some(batch) = self.retry.take() {
            self.write(batch, ctx);
            return;
        }
        let is_due = !self.queue.is_empty() && (self.is_due || self.is_draining());
        match &mut self.mode {
            Mode::Live if is_due => {
                let batch = self.queue.take(self.limits);
                // What did not fit has waited long enough.
                self.is_due = !self.queue.is_empty();
                self.write(batch, ctx);
            }
            Mode::Live => self.finish_if_drained(ctx),
            Mode::Backlog(backlog) => match backlog.next(self.limits) {
                Step::Write(batch) => self.write(batch, ctx),
                Step::Read(reader) => {
                    backlog.let_go(self.deps.journal.synced());
                    let shard = self.shard;
                    let reading = tokio::task::spawn_blocking(move || Reading::read(reader, shard));
                    ctx.spawn(reading.into_actor(self).map(|reading, actor, ctx| actor.on_reading(reading.ok(), ctx)));
                }
                Step::Wait => {}
                Step::HandOver => self.go_live(ctx),
            },
        }
    }

    fn write(&mut self, batch: Batch, ctx: &mut Context<Self>) {
        self.writing_since = Some(Instant::now());
        let (store, is_prepared) = (Arc::clone(&self.deps.store), *self.deps.is_database_prepared.borrow());
        let attempt = write::attempt(store, self.deps.node, is_prepared, self.writer.take(), batch);
        ctx.spawn(attempt.into_actor(self).map(|attempt, actor, ctx| actor.on_written(attempt, ctx)));
    }

    fn on_written(&mut self, attempt: Attempt, ctx: &mut Context<Self>) {
        let Attempt { batch, writer, failure, took } = attempt;
        self.writing_since = None;
        self.writer = writer;
        match failure {
            None => {
                self.on_database_answered();
                let stats = &self.deps.stats;
                stats.batches.fetch_add(1, Relaxed);
                stats.write_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
                stats.batch_bytes.fetch_add(batch.bytes as u64, Relaxed);
                stats.events_stored.fetch_add(batch.plan.outcome.events_stored, Relaxed);
                stats.events_duplicate.fetch_add(batch.plan.outcome.events_duplicate, Relaxed);
                add(&stats.batch_rows, batch.records.len());
                self.on_committed(batch);
            }
            Some(error) => self.on_failed(batch, &error, ctx),
        }
        self.pump(ctx);
        self.finish_if_drained(ctx);
    }

    fn on_database_answered(&mut self) {
        if let Some(since) = self.failing_since.take() {
            let away_ms = since.elapsed().as_millis();
            tracing::info!(shard = self.shard.number, away_ms, "the database takes records again");
            self.condition.set_failing(false);
        }
        self.backoff.reset();
    }

    fn on_failed(&mut self, batch: Batch, error: &StoreError, ctx: &mut Context<Self>) {
        self.deps.stats.failures.fetch_add(1, Relaxed);
        if self.failing_since.is_none() {
            tracing::warn!(shard = self.shard.number, %error, "the database does not take records; trying on");
            self.set_failing(Instant::now());
        }
        match &mut self.mode {
            // It was spilled without this batch, whose items are older than all that followed.
            Mode::Backlog(_) if batch.positions.is_empty() => {
                let items: Vec<_> = batch.into_items().map(|item| self.promise(item)).collect();
                if let Mode::Backlog(backlog) = &mut self.mode {
                    backlog.push_front(items);
                }
            }
            Mode::Backlog(backlog) => {
                backlog.write_is_stuck(self.deps.journal.synced());
                self.retry = Some(batch);
            }
            Mode::Live => self.retry = Some(batch),
        }
        self.pause(ctx);
        self.spill_if_stuck(ctx);
    }

    fn pause(&mut self, ctx: &mut Context<Self>) {
        self.is_paused = true;
        ctx.run_later(self.backoff.next_delay(), |actor, ctx| {
            actor.is_paused = false;
            actor.pump(ctx);
        });
    }

    /// Everything in the batch has ended: committed, or refused for good.
    fn on_committed(&mut self, mut batch: Batch) {
        let rejected = std::mem::take(&mut batch.plan.rejected);
        if let Some((_, reason)) = rejected.first() {
            tracing::error!(records = rejected.len(), reason, "the database refuses records for good");
            add(&self.deps.stats.rejected, rejected.len());
            let events = events_in(rejected.iter().filter_map(|(index, _)| batch.records.get(*index)));
            self.deps.stats.events_rejected.fetch_add(events, Relaxed);
        }
        if batch.items.is_empty() {
            self.on_replayed(&batch, rejected);
        } else {
            let upto = self.answer(batch, rejected);
            let everything = match &mut self.mode {
                Mode::Live => self.queue.first_journaled().map_or_else(|| self.deps.journal.end(), |next| next.after),
                Mode::Backlog(backlog) => {
                    // It was spilled while this batch was under way, and has not begun to read.
                    let upto = upto.max(self.committed);
                    backlog.start_from(self.deps.journal.reader(upto));
                    upto
                }
            };
            self.release(everything);
        }
    }

    /// Answers the items of a batch built from memory. Returns the last position in it.
    fn answer(&mut self, batch: Batch, rejected: Vec<(usize, String)>) -> Position {
        let mut notices = Notices::default();
        let mut rejected = rejected.into_iter().peekable();
        let (mut row, mut upto) = (0, Position::default());
        for written in batch.items {
            let mut item = written.item;
            item.in_hand.all_ended();
            let mut refused = item.rejected;
            while let Some((index, reason)) = rejected.next_if(|(index, _)| *index < row + written.rows) {
                refused.push(RejectedRecord { seq: batch.records[index].seq(), reason });
            }
            row += written.rows;
            upto = upto.max(item.position.unwrap_or_default());
            match item.answer {
                Answer::Ticket { stream, connection, ticket } => {
                    if !self.deps.options.acknowledge_when_journaled {
                        notices.add(stream, connection, ticket, refused);
                    } else if !refused.is_empty() {
                        notices.add(stream, connection, 0, refused);
                    }
                }
                // Who asked may have given up.
                Answer::Reply(reply) => drop(reply.send(refused.into_iter().next().map_or(Ok(()), Err))),
                Answer::Nobody => {}
            }
        }
        notices.tell(&mut self.streams);
        upto
    }

    fn on_replayed(&mut self, batch: &Batch, rejected: Vec<(usize, String)>) {
        let reject = |(index, reason): (usize, String)| {
            let record = &batch.records[index];
            let rejected = RejectedRecord { seq: record.seq(), reason };
            (batch.positions[index], stream_of(record), rejected)
        };
        if let Mode::Backlog(backlog) = &mut self.mode {
            backlog.written(batch);
        }
        let rejected: Vec<_> = rejected.into_iter().map(reject).collect();
        for (position, stream, rejected) in &rejected {
            if let Some(stream) = stream {
                self.streams.reject(*stream, *position, rejected.clone());
            }
        }
        let rejected: Vec<_> = rejected.into_iter().map(|(position, _, rejected)| (position, rejected)).collect();
        self.on_stored_upto(batch.upto, &rejected);
    }

    fn on_stored_upto(&mut self, upto: Position, rejected: &[(Position, RejectedRecord)]) {
        if let Mode::Backlog(backlog) = &mut self.mode {
            backlog.committed(upto, rejected);
        }
        self.streams.pay(upto);
        self.release(upto);
    }

    fn on_reading(&mut self, reading: Option<Reading>, ctx: &mut Context<Self>) {
        let Mode::Backlog(backlog) = &mut self.mode else { return };
        let Some(reading) = reading else {
            // The blocking thread panicked, and the reader with it.
            backlog.start_from(self.deps.journal.reader(self.committed));
            return self.pause(ctx);
        };
        match backlog.finish_reading(reading) {
            Ok(0) => {
                let (read_to, is_ahead_of_the_disk) = (backlog.read_to(), backlog.is_ahead_of_the_disk());
                self.on_stored_upto(read_to, &[]);
                if is_ahead_of_the_disk {
                    ctx.run_later(DISK_POLL, Self::pump);
                    return;
                }
            }
            Ok(records) => add(&self.deps.stats.replayed, records),
            Err(error) => {
                tracing::error!(shard = self.shard.number, %error, "the backlog cannot be read; trying on");
                self.pause(ctx);
            }
        }
        self.pump(ctx);
    }

    /// Leaves what waits in memory to the journal when the database has failed, or has not answered, for too long.
    pub(super) fn spill_if_stuck(&mut self, ctx: &mut Context<Self>) {
        let limit = self.deps.options.spill_after;
        let is_stuck = |since: &Instant| since.elapsed() >= limit;
        if let Some(since) = self.writing_since.filter(is_stuck)
            && self.failing_since.is_none()
        {
            tracing::warn!(shard = self.shard.number, "the database does not answer");
            self.set_failing(since);
            if let Mode::Backlog(backlog) = &mut self.mode {
                backlog.write_is_stuck(self.deps.journal.synced());
            }
        }
        if !matches!(self.mode, Mode::Live) || self.failing_since.is_none_or(|since| !is_stuck(&since)) {
            return;
        }
        tracing::warn!(shard = self.shard.number, "records are left to the journal until the database takes them");
        self.mode = Mode::Backlog(Box::new(Backlog::new(
            self.deps.journal.reader(self.committed),
            Arc::clone(&self.deps.stats),
        )));
        let retried = self.retry.take().map(Batch::into_items).into_iter().flatten();
        let waiting: Vec<_> = retried.chain(self.queue.drain()).collect();
        self.is_due = false;
        for item in waiting {
            self.leave_to_journal(item, ctx);
        }
        self.show_backlog();
    }

    fn set_failing(&mut self, since: Instant) {
        self.failing_since = Some(since);
        self.condition.set_failing(true);
    }

    pub(super) fn show_backlog(&mut self) {
        self.condition.set_backlog(match &self.mode {
            Mode::Live => None,
            Mode::Backlog(_) => Some(self.deps.journal.end().0.saturating_sub(self.committed.0)),
        });
    }

    /// Everything up to the reader's place is stored, the rest is in memory.
    fn go_live(&mut self, ctx: &mut Context<Self>) {
        let Mode::Backlog(backlog) = std::mem::replace(&mut self.mode, Mode::Live) else { return };
        tracing::info!(shard = self.shard.number, "the backlog is stored");
        self.show_backlog();
        self.streams.forget_owed();
        for item in backlog.hand_over() {
            self.queue.push(item);
        }
        self.is_due = !self.queue.is_empty();
        self.release_if_idle();
        self.look_up_deferred(ctx);
        self.pump(ctx);
    }

    /// An idle shard must not keep the journal from being trimmed.
    pub(super) fn release_if_idle(&mut self) {
        let is_idle = matches!(self.mode, Mode::Live) && self.writing_since.is_none() && self.retry.is_none();
        if is_idle && self.queue.first_journaled().is_none() {
            self.release(self.deps.journal.end());
        }
    }

    fn release(&mut self, upto: Position) {
        if upto > self.committed {
            self.committed = upto;
            self.consumer.release(upto);
            self.streams.forget_closed(upto);
        }
    }
}

pub(super) fn add(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Relaxed);
}

/// The stream that a record names.
const fn stream_of(record: &Record) -> Option<StreamId> {
    match record {
        Record::StreamOpened(opened) => Some(opened.stream),
        Record::SessionOpened(opened) => Some(opened.stream),
        Record::SessionClosed(closed) => Some(closed.stream),
        Record::Event(event) => Some(event.stream),
        Record::AudioAttached(part) => Some(part.stream),
        Record::Presence(_) | Record::SessionTouched(_) => None,
    }
}
