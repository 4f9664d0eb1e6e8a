//! The persistence actor: its state, its life and its mailbox.
//!
//! Owns: one shard of the records, on a thread of its own. What it does with them is in [`super::intake`] (journal
//! first) and [`super::cycle`] (batch, write, answer).
//! Promises: stops when told to drain, not before everything is stored or, failing that, synced in the journal.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use actix::prelude::*;
use futures_util::FutureExt;
use tokio::{sync::oneshot, time::Instant};

use super::{
    AppendRecords, CloseStream, Drain, OpenStream, PersistDeps, RejectedRecord, StoreRecord, StreamLookup, StreamReady,
    backlog::{Backlog, Shard},
    batch::{Batch, Limits, Queue},
    intake::Arrival,
    lookup::{LookedUp, Lookup},
    stats::Condition,
    streams::{Opened, Streams},
};
use crate::{
    domain::StreamId,
    journal::{Consumer, Position},
    runtime::{ActorPool, Backoff, Exhausted, Lifeline, MAILBOX_BOUNDED_BY_BYTES},
    store::StoreWriter,
};

/// How often the actor looks at what no message tells it: hung writes, late look-ups, an idle shard's release.
const TICK: Duration = Duration::from_millis(200);

/// Longest wait for the journal's sync after a drain has given up on the database.
const LAST_SYNC: Duration = Duration::from_secs(1);

/// One shard's writer. Made by [`PersistActor::start_pool`].
#[expect(clippy::struct_excessive_bools, reason = "each tells of one timer or future, and all are independent")]
pub struct PersistActor {
    pub(super) deps: PersistDeps,
    pub(super) shard: Shard,
    pub(super) limits: Limits,
    pub(super) consumer: Consumer,
    lifeline: Lifeline<Self>,
    pub(super) condition: Condition,
    pub(super) streams: Streams,
    pub(super) mode: Mode,
    /// What waits to be written, while live.
    pub(super) queue: Queue,
    /// The queue's front need not wait for company.
    pub(super) is_due: bool,
    pub(super) is_lingering: bool,
    /// What waits for room in the journal, in order.
    pub(super) parked: VecDeque<Arrival>,
    pub(super) writer: Option<Box<dyn StoreWriter>>,
    /// Since when a write is in flight.
    pub(super) writing_since: Option<Instant>,
    pub(super) is_pump_scheduled: bool,
    /// The batch to try again.
    pub(super) retry: Option<Batch>,
    pub(super) failing_since: Option<Instant>,
    pub(super) backoff: Backoff,
    /// Between two attempts.
    pub(super) is_paused: bool,
    /// Everything of this shard at or below is stored.
    pub(super) committed: Position,
    /// The last record of this shard.
    pub(super) last_position: Position,
    pub(super) sequence: u64,
    pub(super) waits_for_sync: bool,
    /// Tickets to be told when the journal is synced, where that is what an ack means.
    pub(super) unsynced: VecDeque<UnsyncedTicket>,
    /// Openings that wait for the replay, with their deadlines.
    deferred: Vec<(Instant, Lookup)>,
    draining: Option<Draining>,
}

/// Where batches come from.
pub(super) enum Mode {
    Live,
    Backlog(Box<Backlog>),
}

pub(super) struct UnsyncedTicket {
    pub(super) position: Position,
    pub(super) stream: StreamId,
    pub(super) connection: u64,
    pub(super) ticket: u64,
    /// Records of it that were refused before they were journaled.
    pub(super) rejected: Vec<RejectedRecord>,
}

struct Draining {
    deadline: Instant,
    done: oneshot::Sender<bool>,
}

impl PersistActor {
    /// Starts `count` actors. They begin by storing what an earlier process left in the journal. Must be called
    /// inside an actix system, once in a process.
    pub fn start_pool(count: usize, deps: PersistDeps, exhausted: Exhausted) -> ActorPool<Self> {
        let count = u16::try_from(count.max(1)).unwrap_or(u16::MAX);
        let process_began = deps.journal.end();
        // One for each slot, not for each actor: the successor of an actor that died goes on where it was, and
        // nothing is trimmed in between.
        let consumers: Vec<_> = (0..count).map(|_| deps.journal.consumer("persist")).collect();
        let start = move |slot: usize, lifeline| {
            let shard = Shard { number: u16::try_from(slot).unwrap_or_default(), count, process_began };
            Self::new(deps.clone(), shard, consumers[slot].clone(), lifeline)
        };
        ActorPool::start("persist", usize::from(count), start, exhausted)
    }

    fn new(deps: PersistDeps, shard: Shard, consumer: Consumer, lifeline: Lifeline<Self>) -> Self {
        let committed = consumer.released();
        let limits = Limits { rows: deps.options.max_rows.max(1), bytes: deps.options.max_bytes.max(1) };
        Self {
            mode: Mode::Backlog(Box::new(Backlog::replay(
                deps.journal.reader(committed),
                deps.journal.end(),
                Arc::clone(&deps.stats),
            ))),
            condition: Condition::new(Arc::clone(&deps.stats)),
            backoff: Backoff::new(deps.options.retry.0, deps.options.retry.1),
            deps,
            shard,
            limits,
            consumer,
            lifeline,
            streams: Streams::default(),
            queue: Queue::default(),
            is_due: false,
            is_lingering: false,
            parked: VecDeque::new(),
            writer: None,
            writing_since: None,
            is_pump_scheduled: false,
            retry: None,
            failing_since: None,
            is_paused: false,
            committed,
            last_position: committed,
            sequence: 0,
            waits_for_sync: false,
            unsynced: VecDeque::new(),
            deferred: Vec::new(),
            draining: None,
        }
    }

    pub(super) const fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    const fn is_replaying(&self) -> bool {
        matches!(&self.mode, Mode::Backlog(backlog) if backlog.is_replay)
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.spill_if_stuck(ctx);
        self.release_if_idle();
        self.show_backlog();
        let now = Instant::now();
        for (_, late) in self.deferred.extract_if(.., |(deadline, _)| *deadline <= now) {
            ctx.notify(late.unanswered());
        }
        self.finish_if_drained(ctx);
    }

    /// What was put off until the database knows what an earlier process acknowledged.
    pub(super) fn look_up_deferred(&mut self, ctx: &mut Context<Self>) {
        for (_, lookup) in std::mem::take(&mut self.deferred) {
            self.look_up(lookup, ctx);
        }
    }

    fn look_up(&self, lookup: Lookup, ctx: &mut Context<Self>) {
        let (store, limit) = (Arc::clone(&self.deps.store), self.deps.options.lookup_timeout);
        let address = ctx.address();
        // A task of its own: after a restart thousands of these run at once, and an actor polls all of its futures
        // whenever one is ready.
        actix::spawn(async move {
            let found = lookup.run(store, limit).await;
            // An actor that died has told its streams.
            let _ = address.try_send(found);
        });
    }

    /// Answers the drain once there is nothing more to wait for.
    pub(super) fn finish_if_drained(&mut self, ctx: &mut Context<Self>) {
        let Some(draining) = &self.draining else { return };
        let is_stored = matches!(self.mode, Mode::Live)
            && self.queue.is_empty()
            && self.parked.is_empty()
            && self.retry.is_none()
            && self.writing_since.is_none();
        let is_away = self.failing_since.is_some() && self.parked.is_empty();
        if !is_stored && !is_away && Instant::now() < draining.deadline {
            return;
        }
        let Some(Draining { done, .. }) = self.draining.take() else { return };
        if !is_stored {
            let unstored_bytes = self.deps.journal.end().0.saturating_sub(self.committed.0);
            tracing::warn!(shard = self.shard.number, unstored_bytes, "records wait in the journal for the next start");
        }
        let (journal, last_position) = (self.deps.journal.clone(), self.last_position);
        let synced = async move { tokio::time::timeout(LAST_SYNC, journal.synced_at(last_position)).await };
        let finish = synced.into_actor(self).map(move |synced, actor, ctx| {
            if !matches!(synced, Ok(Ok(()))) {
                tracing::error!(shard = actor.shard.number, "the journal could not be synced before the end");
            }
            actor.lifeline.end();
            // Who asked may have given up.
            let _ = done.send(is_stored);
            ctx.stop();
        });
        ctx.spawn(finish);
    }
}

impl Actor for PersistActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_BOUNDED_BY_BYTES);
        ctx.run_interval(TICK, Self::tick);
        self.show_backlog();
        self.pump(ctx);
    }
}

impl Handler<AppendRecords> for PersistActor {
    type Result = ();

    fn handle(&mut self, append: AppendRecords, ctx: &mut Self::Context) {
        self.take_in(Arrival::of_stream(append, self.shard.number, &self.deps.stats), ctx);
    }
}

impl Handler<StoreRecord> for PersistActor {
    type Result = ();

    fn handle(&mut self, store: StoreRecord, ctx: &mut Self::Context) {
        self.take_in(Arrival::of_single(store, self.shard.number, &self.deps.stats), ctx);
    }
}

impl Handler<OpenStream> for PersistActor {
    type Result = ();

    fn handle(&mut self, open: OpenStream, ctx: &mut Self::Context) {
        if self.streams.open(&open) == Opened::Foreign {
            let foreign = StreamReady { stream: open.stream, state: StreamLookup::Foreign, open_session: None };
            // A connection that is gone need not be told.
            let _ = open.session.ready.try_send(foreign);
            return;
        }
        let lookup = Lookup::of(&open);
        if self.failing_since.is_some() {
            self.handle(lookup.unanswered(), ctx);
        } else if self.is_replaying() {
            self.deferred.push((Instant::now() + self.deps.options.lookup_timeout, lookup));
        } else {
            self.look_up(lookup, ctx);
        }
    }
}

impl Handler<LookedUp> for PersistActor {
    type Result = ();

    fn handle(&mut self, found: LookedUp, _: &mut Self::Context) {
        let LookedUp { stream, connection, state, open_session } = found;
        self.streams.ready(connection, StreamReady { stream, state, open_session });
    }
}

impl Handler<CloseStream> for PersistActor {
    type Result = ();

    fn handle(&mut self, close: CloseStream, _: &mut Self::Context) {
        self.streams.close(close.stream, close.connection, self.committed);
    }
}

impl Handler<Drain> for PersistActor {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, drain: Drain, ctx: &mut Self::Context) -> Self::Result {
        let (done, drained) = oneshot::channel();
        self.draining = Some(Draining { deadline: Instant::now() + drain.deadline, done });
        self.pump(ctx);
        drained.map(|drained| drained.unwrap_or(false)).boxed_local()
    }
}
