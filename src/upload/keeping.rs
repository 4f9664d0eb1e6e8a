//! What lies where: which runs are to be synced, what the journal still has to keep, what comes back after a restart.
//!
//! Promises: the journal lets go of an entry only when it is synced in a stage with its sidecar, or when its run was
//! stored, that was journaled, and its files are gone for good. One job on the staging directory at a time.

use std::{
    mem,
    time::{Duration, Instant},
};

use actix::prelude::*;
use bytes::Buf as _;

use super::{
    actor::{DrainPhase, UploadActor},
    messages::{AppendAudio, BeginRun, FinishReason},
    recovery::{Recovered, Recovery},
    run::Run,
    sidecar::Sidecar,
    staging::{Stage, StagingJob, StagingJobDone},
    stats::{Ending, add},
};
use crate::{
    domain::{Arrivals, RunId, StreamId, Timestamp},
    journal::{Entry, Position},
    objects::ObjectKey,
    runtime::ActorPool,
};

/// Read from the journal at a time during recovery.
const REPLAY_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// A staging directory or a journal that cannot be read is tried again after this.
const RECOVERY_RETRY: Duration = Duration::from_secs(1);

/// A run that is not stored yet.
pub(super) struct ActiveRun {
    pub(super) begin: BeginRun,
    pub(super) run: Run,
    /// `None` until the first byte.
    pub(super) stage: Option<Stage>,
    /// The stream whose bytes were taken last, and its audio bytes up to there. `None` until this process took some.
    taken: Option<(StreamId, u64)>,
    /// When the last byte arrived.
    pub(super) last_at: Timestamp,
    /// When the others did.
    pub(super) arrivals: Arrivals,
    /// The journal has its beginning.
    pub(super) journaled: bool,
    pub(super) wants_slot: bool,
    /// An object of it that got no row.
    pub(super) orphan: Option<ObjectKey>,
    /// Its news was told, although it could not be let go of yet.
    pub(super) told: bool,
    pub(super) ending: Ending,
    /// The journal is needed behind this place: the first change that is not synced elsewhere comes after it.
    hold: Option<Position>,
    /// The same for changes since the sync that is under way began.
    next_hold: Option<Position>,
    dirty_since: Option<Instant>,
    sync: Sync,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sync {
    Possible,
    UnderWay {
        /// The run was finished when the sync began.
        of_finished: bool,
    },
    /// It failed once, and a second one would say nothing about the first: the journal keeps the run.
    Impossible,
}

/// A stored run whose files go.
pub(super) struct Leaving {
    pub(super) hold: Position,
    /// That it is stored is on the disk.
    pub(super) journaled: bool,
}

impl ActiveRun {
    pub(super) fn new(begin: BeginRun, now: Instant) -> Self {
        Self {
            last_at: begin.at,
            arrivals: Arrivals::default(),
            begin,
            run: Run::new(now),
            stage: None,
            taken: None,
            journaled: false,
            wants_slot: false,
            orphan: None,
            told: false,
            ending: Ending::Stored,
            hold: None,
            next_hold: None,
            dirty_since: None,
            sync: Sync::Possible,
        }
    }

    /// Takes away from the front of a chunk what was taken before.
    pub(super) fn skip_known(&self, append: &mut AppendAudio) {
        let Some((_, end)) = self.taken.filter(|(stream, _)| *stream == append.stream) else { return };
        let known = end.saturating_sub(append.stream_offset).min(append.bytes.len() as u64);
        append.stream_offset += known;
        append.bytes.advance(usize::try_from(known).unwrap_or(usize::MAX));
    }

    /// The run has got its bytes.
    pub(super) fn has_taken(&mut self, append: &AppendAudio) {
        self.arrivals.note(self.run.len(), append.at.ms_since(self.begin.at));
        self.last_at = self.last_at.max(append.at);
        self.taken = Some((append.stream, append.stream_offset + append.bytes.len() as u64));
    }

    /// Something about it is not in its stage or sidecar yet. `before` is the journal's end before the entry that
    /// tells it; `None` when the journal does not tell.
    pub(super) fn changed(&mut self, before: Option<Position>, now: Instant) {
        let hold = if self.is_saving() { &mut self.next_hold } else { &mut self.hold };
        *hold = hold.or(before);
        self.dirty_since.get_or_insert(now);
    }

    pub(super) fn hold(&self) -> Option<Position> {
        self.hold.into_iter().chain(self.next_hold).min()
    }

    /// It was deleted: see [`Run::give_up`].
    pub(super) fn give_up(&mut self) {
        self.orphan = self.orphan.take().or_else(|| Some(self.key()));
        self.told = true;
        self.run.give_up();
    }

    const fn is_saving(&self) -> bool {
        matches!(self.sync, Sync::UnderWay { .. })
    }

    fn saved(&mut self) {
        if let (Sync::UnderWay { of_finished: true }, Some(stage)) = (self.sync, &mut self.stage) {
            stage.close();
        }
        self.sync = Sync::Possible;
        self.hold = self.next_hold.take();
    }

    fn not_saved(&mut self, sync: Sync, now: Instant) {
        self.sync = sync;
        self.hold = self.hold();
        self.next_hold = None;
        self.dirty_since.get_or_insert(now);
    }

    fn sidecar(&self, synced_len: u64) -> Sidecar {
        Sidecar {
            begin: self.begin.clone(),
            synced_len,
            last_at: self.last_at,
            arrivals: self.arrivals.clone(),
            finished: self.run.is_finished(),
            upload: self.run.upload().cloned(),
        }
    }
}

impl UploadActor {
    pub(super) fn tick(&mut self, ctx: &mut Context<Self>) {
        let interval = self.deps.options.sync_interval;
        self.save(interval, ctx);
        self.release();
        let open = self.runs.values().filter(|active| !active.run.is_finished()).count();
        self.share.set_open(open as u64);
        self.end_drain_if_idle(ctx);
    }

    pub(super) fn save_all(&mut self, ctx: &mut Context<Self>) {
        self.save(Duration::ZERO, ctx);
    }

    /// Syncs the runs that changed at least `age` ago, on a thread that may wait, and removes what left.
    fn save(&mut self, age: Duration, ctx: &mut Context<Self>) {
        if self.job_running {
            self.save_again |= age.is_zero();
            return;
        }
        let now = Instant::now();
        let due = |active: &ActiveRun| {
            let is_old = active.dirty_since.is_some_and(|since| now.saturating_duration_since(since) >= age);
            is_old && active.sync == Sync::Possible
        };
        let mut saves = Vec::new();
        for active in self.runs.values_mut().filter(|active| due(active)) {
            let Some(stage) = &active.stage else { continue };
            saves.push((stage.file(), active.sidecar(stage.len())));
            active.sync = Sync::UnderWay { of_finished: active.run.is_finished() };
            active.dirty_since = None;
        }
        let removals = self.leaving.iter().filter(|(_, leaving)| leaving.journaled).map(|(run, _)| *run).collect();
        let job = StagingJob { staging: self.staging.clone(), saves, removals };
        if job.is_empty() {
            return;
        }
        self.job_running = true;
        let work = async move { tokio::task::spawn_blocking(move || job.carry_out()).await.unwrap_or_default() };
        ctx.spawn(work.into_actor(self).map(|done, actor, ctx| actor.job_done(&done, ctx)));
    }

    fn job_done(&mut self, done: &StagingJobDone, ctx: &mut Context<Self>) {
        self.job_running = false;
        let now = Instant::now();
        add(&self.deps.stats.staging_failures, done.unsyncable.len() as u64);
        for (run, active) in self.runs.iter_mut().filter(|(_, active)| active.is_saving()) {
            if done.saved.contains(run) {
                active.saved();
            } else if done.unsyncable.contains(run) {
                active.not_saved(Sync::Impossible, now);
            } else {
                active.not_saved(Sync::Possible, now);
            }
        }
        for run in &done.removed {
            self.leaving.remove(run);
        }
        self.release();
        if mem::take(&mut self.save_again) {
            self.save_all(ctx);
        }
        self.go_on_ending(ctx);
    }

    /// Lets the journal go up to the first entry that is still needed.
    fn release(&self) {
        let end = self.deps.journal.end();
        let runs = self.runs.values().filter_map(ActiveRun::hold);
        let leaving = self.leaving.values().map(|leaving| leaving.hold);
        self.consumer.release(runs.chain(leaving).min().unwrap_or(end));
    }

    /// Messages wait until the runs of the last process are known.
    pub(super) fn recover_or_wait(&mut self, ctx: &mut Context<Self>) {
        match self.recover() {
            Ok(recovered) => self.go_on_with(recovered, ctx),
            Err(error) => {
                tracing::error!(slot = self.slot, %error, "cannot recover staged audio, trying again");
                let pause = actix::clock::sleep(RECOVERY_RETRY);
                ctx.wait(pause.into_actor(self).map(|(), actor, ctx| actor.recover_or_wait(ctx)));
            }
        }
    }

    fn recover(&self) -> Result<Recovered, Box<dyn std::error::Error>> {
        let journal = &self.deps.journal;
        // An actor that died may have appended what is not in the file yet.
        let (synced, wait) = std::sync::mpsc::channel();
        journal.when_synced(
            journal.end(),
            Box::new(move || {
                let _ = synced.send(());
            }),
        );
        wait.recv()?;
        let is_mine = |run: RunId| ActorPool::<Self>::slot_of(&run, self.slots) == self.slot;
        let mut recovery = Recovery::begin(&self.staging, self.limits.part_size_bytes, &is_mine)?;
        let mut reader = journal.reader(self.consumer.released());
        loop {
            let batch = reader.next_batch(REPLAY_BATCH_BYTES)?;
            if batch.is_empty() {
                return Ok(recovery.end());
            }
            for (_, entry) in batch {
                if run_of(&entry).is_some_and(is_mine) {
                    recovery.entry(entry)?;
                }
            }
        }
    }

    fn go_on_with(&mut self, recovered: Recovered, ctx: &mut Context<Self>) {
        let (now, hold) = (Instant::now(), self.consumer.released());
        add(&self.deps.stats.staging_failures, recovered.damaged);
        for run in recovered.leftovers {
            self.leaving.insert(run, Leaving { hold, journaled: true });
        }
        if !recovered.runs.is_empty() {
            tracing::info!(slot = self.slot, runs = recovered.runs.len(), "going on with audio that is not stored yet");
        }
        for (id, found) in recovered.runs {
            let len = found.stage.as_ref().map_or(0, Stage::len);
            let mut run = Run::recovered(now, len, found.finished, found.upload, self.limits);
            if !found.finished {
                run.finish_within(self.deps.options.reconnect_grace, FinishReason::ConnectionLost, now);
            }
            let mut active = ActiveRun { run, stage: found.stage, journaled: true, ..ActiveRun::new(found.begin, now) };
            active.last_at = found.last_at;
            active.arrivals = found.arrivals;
            active.changed(Some(hold), now);
            self.share.recovered(len);
            self.runs.insert(id, active);
            self.advance(id, ctx);
        }
        self.save_all(ctx);
    }

    /// Nothing more can be stored now, or the time is over.
    pub(super) fn end_drain(&mut self, ctx: &mut Context<Self>) {
        if let Some(draining) = &mut self.draining
            && draining.phase == DrainPhase::Storing
        {
            draining.phase = DrainPhase::Saving;
            self.go_on_ending(ctx);
        }
    }

    fn go_on_ending(&mut self, ctx: &mut Context<Self>) {
        let Some(draining) = &mut self.draining else { return };
        if self.job_running || draining.phase == DrainPhase::Storing {
            return;
        }
        if draining.phase == DrainPhase::Saving {
            draining.phase = DrainPhase::Ending;
            self.save_all(ctx);
            if self.job_running {
                return;
            }
        }
        self.release();
        if let Some(draining) = self.draining.take() {
            self.lifeline.end();
            ctx.stop();
            // Somebody who no longer waits is no harm.
            let _ = draining.answer.send(());
        }
    }
}

const fn run_of(entry: &Entry) -> Option<RunId> {
    match entry {
        Entry::Record(_) => None,
        Entry::AudioBegun(begun) => Some(begun.run),
        Entry::AudioChunk(chunk) => Some(chunk.run),
        Entry::AudioFinished(finished) => Some(finished.run),
        Entry::AudioStored(run) => Some(*run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AudioFormat, SessionId, StreamId, UserId};

    fn active() -> ActiveRun {
        let begin = BeginRun {
            run: RunId::new(),
            session: SessionId::new(),
            user: UserId::parse("anna").unwrap(),
            stream: StreamId::new(),
            stream_offset: 0,
            format: AudioFormat::WebM,
            at: Timestamp::from_unix_ms(0).unwrap(),
        };
        ActiveRun::new(begin, Instant::now())
    }

    impl ActiveRun {
        fn journaled_behind(&mut self, position: u64) -> &mut Self {
            self.changed(Some(Position(position)), Instant::now());
            self
        }

        fn saving(&mut self) -> &mut Self {
            self.sync = Sync::UnderWay { of_finished: false };
            self.dirty_since = None;
            self
        }
    }

    #[test]
    fn the_first_unsynced_entry_holds_the_journal() {
        let mut active = active();
        assert_eq!(active.hold(), None);
        active.journaled_behind(10).journaled_behind(20);
        assert_eq!(active.hold(), Some(Position(10)));
        active.saving().saved();
        assert_eq!((active.hold(), active.dirty_since), (None, None));
    }

    #[test]
    fn what_comes_during_a_sync_holds_after_it() {
        let mut active = active();
        active.journaled_behind(10).saving().journaled_behind(20).journaled_behind(30);
        assert_eq!(active.hold(), Some(Position(10)));
        active.saved();
        assert_eq!(active.hold(), Some(Position(20)));
        assert!(active.dirty_since.is_some());

        let mut sidecar_only = super::tests::active();
        sidecar_only.changed(None, Instant::now());
        sidecar_only.saving().journaled_behind(40);
        assert_eq!(sidecar_only.hold(), Some(Position(40)));
    }

    #[test]
    fn a_failed_sync_holds_all_of_it() {
        for sync in [Sync::Possible, Sync::Impossible] {
            let mut active = active();
            active.journaled_behind(10).saving().journaled_behind(20);
            active.not_saved(sync, Instant::now());
            assert_eq!(active.hold(), Some(Position(10)));
            assert!(active.dirty_since.is_some());
        }
    }
}
