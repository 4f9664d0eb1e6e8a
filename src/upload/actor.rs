//! The upload actor: takes audio in, and answers who asks.
//!
//! Owns: the runs of its shard. Promises: chunks are taken in the order they came, also while the journal is full;
//! `ack` is answered when the chunk is on the disk, and its permit dropped when it needs no memory any more.
//! Refuses: chunks of runs that it does not know; they are counted, and their senders hear nothing.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io, mem,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{
    agenda::Agenda,
    keeping::{ActiveRun, Leaving},
    messages::{
        AppendAudio, AudioStored, BeginRun, Drain, DropAudio, DroppedAudio, FinishReason, FinishRun, LookupStreamAudio,
        UnstoredRun,
    },
    options::UploadOptions,
    run::Limits,
    staging::{Stage, Staging},
    stats::{Share, UploadStats, add, count},
};
use crate::{
    domain::{AudioPart, RunId, StreamId},
    journal::{AppendError, AudioChunk, Consumer, Entry, Journal, Position},
    objects::Objects,
    persist::StoreRecord,
    runtime::{ActorPool, Exhausted, Lifeline, MAILBOX_BOUNDED_BY_BYTES, Permit},
};

/// Gives a record of a stream to the persistence actor that owns the stream now; `false` when it cannot take it.
pub type StoreRecordOf = Arc<dyn Fn(StreamId, StoreRecord) -> bool + Send + Sync>;

/// What is stored beside a part that was to be stored.
pub struct StoredParts {
    /// All parts of its stream, by any node.
    pub parts: Vec<AudioPart>,
    /// Its session or user was deleted: it is not to be stored any more.
    pub is_deleted: bool,
}

/// Asks what is stored beside a part; `None` when that cannot be read now.
pub type PartsOf = Arc<dyn Fn(AudioPart) -> BoxFuture<'static, Option<StoredParts>> + Send + Sync>;

/// A disk that refuses a write is asked again after this.
const DISK_RETRY: Duration = Duration::from_secs(1);
/// Refused runs remembered so that each is reported once.
const MAX_REFUSED_REMEMBERED: usize = 1024;

/// What the upload actors work with.
pub struct UploadDeps {
    pub options: UploadOptions,
    pub journal: Journal,
    pub objects: Objects,
    /// Where the row of a stored run goes.
    pub store_record: StoreRecordOf,
    pub parts_of: PartsOf,
    /// Who is told of stored runs.
    pub news: Recipient<AudioStored>,
    pub stats: Arc<UploadStats>,
}

/// One shard of the runs.
pub struct UploadActor {
    pub(super) slot: usize,
    pub(super) slots: usize,
    pub(super) deps: Arc<UploadDeps>,
    pub(super) limits: Limits,
    pub(super) staging: Staging,
    pub(super) consumer: Consumer,
    pub(super) lifeline: Lifeline<Self>,
    pub(super) runs: HashMap<RunId, ActiveRun>,
    /// Stored runs whose files are still there.
    pub(super) leaving: HashMap<RunId, Leaving>,
    pub(super) agenda: Agenda,
    pub(super) alarm: Option<(Instant, SpawnHandle)>,
    /// Chunks that the journal or the disk had no room for, in order.
    held_back: VecDeque<AppendAudio>,
    /// Requests to the object store under way.
    pub(super) in_flight: usize,
    pub(super) wants_slot: VecDeque<RunId>,
    pub(super) objects_away: bool,
    pub(super) job_running: bool,
    /// Everything was to be synced while a job was running.
    pub(super) save_again: bool,
    pub(super) draining: Option<Draining>,
    refused: HashSet<RunId>,
    pub(super) share: Share,
}

pub(super) struct Draining {
    pub(super) answer: oneshot::Sender<()>,
    pub(super) phase: DrainPhase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DrainPhase {
    /// Finished runs are stored as far as that is possible now.
    Storing,
    /// What is left is to be synced.
    Saving,
    /// The last sync is under way.
    Ending,
}

/// Why a chunk has to wait.
#[derive(Debug)]
enum Pause {
    JournalFull,
    Disk(io::Error),
}

impl UploadActor {
    /// Starts a pool of `count` actors, sharded by run. Must be called inside an actix system. Each recovers its
    /// runs before it handles messages.
    ///
    /// # Errors
    /// The staging directory cannot be made.
    pub fn start_pool(count: usize, deps: UploadDeps, exhausted: Exhausted) -> io::Result<ActorPool<Self>> {
        let staging = Staging::open(&deps.options.staging_dir)?;
        let slots = count.max(1);
        // Made once: the successor of an actor that died goes on at its place in the journal.
        let consumers: Vec<Consumer> = (0..slots).map(|_| deps.journal.consumer("upload")).collect();
        let deps = Arc::new(deps);
        let factory = move |slot: usize, lifeline| Self {
            slot,
            slots,
            limits: Limits { part_size_bytes: deps.objects.part_size(), idle_timeout: deps.options.idle_timeout },
            staging: staging.clone(),
            consumer: consumers[slot].clone(),
            lifeline,
            runs: HashMap::new(),
            leaving: HashMap::new(),
            agenda: Agenda::default(),
            alarm: None,
            held_back: VecDeque::new(),
            in_flight: 0,
            wants_slot: VecDeque::new(),
            objects_away: false,
            job_running: false,
            save_again: false,
            draining: None,
            refused: HashSet::new(),
            share: Share::new(Arc::clone(&deps.stats)),
            deps: Arc::clone(&deps),
        };
        Ok(ActorPool::start("upload", slots, factory, exhausted))
    }

    /// Stages and journals a chunk. One that cannot be taken now is as it was, less what was taken of it.
    fn take(&mut self, append: &mut AppendAudio) -> Result<(), Pause> {
        let Some(active) = self.runs.get_mut(&append.run) else {
            self.refuse(append);
            return Ok(());
        };
        active.skip_known(append);
        // Resent bytes may all be known already: their ack waits for what is before them.
        let mut position = self.deps.journal.end();
        if !append.bytes.is_empty() {
            let before = position;
            position = match Self::stage_and_journal(active, &self.staging, &self.deps.journal, self.limits, append) {
                Ok(position) => position,
                Err(Refusal::Wait(pause)) => return Err(pause),
                Err(Refusal::Split) => return self.take_in_halves(append),
                // The owner of the journal ends the process. Nothing is acknowledged.
                Err(Refusal::JournalGone) => return Ok(()),
            };
            let now = Instant::now();
            active.changed(Some(before), now);
            active.run.appended(append.bytes.len() as u64, now);
            active.has_taken(append);
            self.share.staged(append.bytes.len() as u64);
        }
        if let Some(ack) = append.ack.take() {
            self.deps.journal.when_synced(position, Box::new(move || ack.answer()));
        }
        Ok(())
    }

    fn take_in_halves(&mut self, append: &mut AppendAudio) -> Result<(), Pause> {
        let rest = append.bytes.split_off(append.bytes.len() / 2);
        let bytes = mem::replace(&mut append.bytes, rest);
        let AppendAudio { run, stream, stream_offset, at, .. } = *append;
        append.stream_offset += bytes.len() as u64;
        let mut first = AppendAudio { run, stream, stream_offset, at, bytes, ack: None, permit: Permit::none() };
        if let Err(pause) = self.take(&mut first) {
            append.stream_offset = first.stream_offset;
            append.bytes = [&first.bytes[..], &append.bytes[..]].concat().into();
            return Err(pause);
        }
        self.take(append)
    }

    /// The stage first: written behind its end, the bytes count only once the journal took them, and are
    /// overwritten when it did not.
    fn stage_and_journal(
        active: &mut ActiveRun,
        staging: &Staging,
        journal: &Journal,
        limits: Limits,
        append: &AppendAudio,
    ) -> Result<Position, Refusal> {
        let disk = |error| Refusal::Wait(Pause::Disk(error));
        let stage = if let Some(stage) = &mut active.stage {
            stage
        } else {
            let stage = Stage::create(staging.bytes_of(append.run), limits.part_size_bytes).map_err(disk)?;
            active.stage.insert(stage)
        };
        stage.write(&append.bytes).map_err(disk)?;
        let mut entries = Vec::with_capacity(2);
        if !active.journaled {
            entries.push(active.begin.to_entry());
        }
        let (run, at, bytes) = (append.run, append.at, append.bytes.clone());
        entries.push(Entry::AudioChunk(AudioChunk { run, offset: stage.len(), at, bytes }));
        let position = journal.append(&entries).map_err(|error| match error {
            AppendError::TooLarge { .. } if append.bytes.len() > 1 => Refusal::Split,
            AppendError::Full | AppendError::TooLarge { .. } => Refusal::Wait(Pause::JournalFull),
            AppendError::Failed | AppendError::Closed => Refusal::JournalGone,
        })?;
        active.journaled = true;
        stage.accept(&append.bytes);
        Ok(position)
    }

    fn refuse(&mut self, append: &AppendAudio) {
        add(&self.deps.stats.bytes_refused, append.bytes.len() as u64);
        if self.refused.len() >= MAX_REFUSED_REMEMBERED {
            self.refused.clear();
        }
        if self.refused.insert(append.run) {
            tracing::warn!(run = %append.run, "audio came for a run that is finished or not known: it is not taken");
        }
    }

    fn hold_back(&mut self, append: AppendAudio) {
        if let Some(active) = self.runs.get_mut(&append.run) {
            active.run.hold_back();
        }
        self.held_back.push_back(append);
    }

    fn pause(&mut self, pause: &Pause, ctx: &mut Context<Self>) {
        count(&self.deps.stats.pauses);
        match pause {
            Pause::JournalFull => {
                // What is synced now, the journal may let go of.
                self.save_all(ctx);
                let journal = self.deps.journal.clone();
                let room = async move { journal.room().await };
                ctx.spawn(room.into_actor(self).map(|(), actor, ctx| actor.resume(ctx)));
            }
            Pause::Disk(error) => {
                tracing::error!(%error, "audio cannot be staged and waits");
                count(&self.deps.stats.staging_failures);
                ctx.run_later(DISK_RETRY, Self::resume);
            }
        }
    }

    fn resume(&mut self, ctx: &mut Context<Self>) {
        while let Some(mut append) = self.held_back.pop_front() {
            let run = append.run;
            if let Err(pause) = self.take(&mut append) {
                self.held_back.push_front(append);
                self.pause(&pause, ctx);
                return;
            }
            if let Some(active) = self.runs.get_mut(&run) {
                active.run.let_in();
            }
            self.advance(run, ctx);
        }
    }
}

/// Why a chunk was not taken.
enum Refusal {
    Wait(Pause),
    /// Larger than the journal takes at once.
    Split,
    JournalGone,
}

impl Actor for UploadActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_BOUNDED_BY_BYTES);
        self.recover_or_wait(ctx);
        ctx.run_interval(self.deps.options.tick(), Self::tick);
    }
}

impl Handler<BeginRun> for UploadActor {
    type Result = ();

    fn handle(&mut self, begin: BeginRun, ctx: &mut Self::Context) {
        let run = begin.run;
        // Known runs go on: a client that came back does not know what this node holds.
        self.runs.entry(run).or_insert_with(|| ActiveRun::new(begin, Instant::now()));
        self.advance(run, ctx);
    }
}

impl Handler<AppendAudio> for UploadActor {
    type Result = ();

    fn handle(&mut self, mut append: AppendAudio, ctx: &mut Self::Context) {
        let run = append.run;
        match self.runs.get_mut(&run) {
            Some(active) if !active.run.is_finished() => {
                if !append.bytes.is_empty() {
                    active.run.heard_of();
                }
            }
            _ => return self.refuse(&append),
        }
        if !self.held_back.is_empty() {
            return self.hold_back(append);
        }
        match self.take(&mut append) {
            Ok(()) => self.advance(run, ctx),
            Err(pause) => {
                self.hold_back(append);
                self.pause(&pause, ctx);
            }
        }
    }
}

impl Handler<FinishRun> for UploadActor {
    type Result = ();

    fn handle(&mut self, finish: FinishRun, ctx: &mut Self::Context) {
        if let Some(active) = self.runs.get_mut(&finish.run) {
            active.run.finish_within(finish.grace, finish.reason, Instant::now());
            self.advance(finish.run, ctx);
        }
    }
}

impl Handler<DropAudio> for UploadActor {
    type Result = DroppedAudio;

    fn handle(&mut self, DropAudio { deletion }: DropAudio, ctx: &mut Self::Context) -> Self::Result {
        let covered = |active: &ActiveRun| {
            let BeginRun { session, user, at, .. } = &active.begin;
            deletion.covers(*session, user, *at) && !active.run.is_given_up()
        };
        let doomed: Vec<RunId> = self.runs.iter().filter(|(_, active)| covered(active)).map(|(run, _)| *run).collect();
        let mut dropped = DroppedAudio::default();
        for run in doomed {
            let Some(active) = self.runs.get_mut(&run) else { continue };
            dropped.runs += 1;
            dropped.bytes += active.run.len();
            active.give_up();
            self.advance(run, ctx);
        }
        dropped
    }
}

impl Handler<LookupStreamAudio> for UploadActor {
    type Result = ResponseFuture<Vec<UnstoredRun>>;

    fn handle(&mut self, lookup: LookupStreamAudio, _: &mut Self::Context) -> Self::Result {
        let of_stream = self.runs.values().filter(|active| active.begin.stream == lookup.stream);
        let runs: Vec<UnstoredRun> = of_stream
            .map(|active| UnstoredRun {
                run: active.begin.run,
                session: active.begin.session,
                user: active.begin.user.clone(),
                stream_offset: active.begin.stream_offset,
                len: active.run.len(),
                open: !active.run.ends_for_sure(),
            })
            .collect();
        let journal = self.deps.journal.clone();
        let end = journal.end();
        Box::pin(async move {
            // Who asks tells its client that these bytes are durable. After a failed sync nothing is.
            journal.synced_at(end).await.map_or_else(|_| Vec::new(), |()| runs)
        })
    }
}

impl Handler<Drain> for UploadActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, drain: Drain, ctx: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        self.draining = Some(Draining { answer, phase: DrainPhase::Storing });
        // Sessions are gone by now: what ended for sure need not wait for late chunks. The others wait for their
        // clients, in the journal and in their stages.
        let now = Instant::now();
        let runs: Vec<RunId> = self.runs.keys().copied().collect();
        for run in runs {
            if let Some(active) = self.runs.get_mut(&run).filter(|active| active.run.ends_for_sure()) {
                active.run.finish_within(Duration::ZERO, FinishReason::Ended, now);
            }
            self.advance(run, ctx);
        }
        ctx.run_later(drain.deadline, Self::end_drain);
        self.end_drain_if_idle(ctx);
        Box::pin(async move {
            // Dropped unanswered when the actor died: then there is nothing to wait for either.
            let _ = answered.await;
        })
    }
}
