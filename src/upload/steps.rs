//! Does what a run needs next, and tells the run how that ended.
//!
//! Promises: a bounded number of requests to the object store under way; a run that waits for one keeps its turn.

use std::{sync::Arc, time::Instant};

use actix::prelude::*;
use tokio::sync::oneshot;

use super::{
    actor::{DrainPhase, UploadActor},
    keeping::Leaving,
    messages::AudioStored,
    run::{Done, Ended, Step},
    stats::{Ending, count},
};
use crate::{
    domain::{Record, RunId, Timestamp},
    journal::{AppendError, AudioFinished, Entry},
    objects::{ObjectError, ObjectErrorKind},
    persist::StoreRecord,
};

/// That the run is stored is on the disk: its files may go.
#[derive(Message)]
#[rtype(result = "()")]
struct StoredJournaled(RunId);

impl Handler<StoredJournaled> for UploadActor {
    type Result = ();

    fn handle(&mut self, StoredJournaled(run): StoredJournaled, _: &mut Self::Context) {
        // Removed with the next sync: one sync of the directory serves many.
        if let Some(leaving) = self.leaving.get_mut(&run) {
            leaving.journaled = true;
        }
    }
}

impl UploadActor {
    /// Takes a run as far as it goes now.
    pub(super) fn advance(&mut self, id: RunId, ctx: &mut Context<Self>) {
        loop {
            let now = Instant::now();
            let Some(active) = self.runs.get_mut(&id) else { return };
            // While draining, what is open waits for the next process.
            if self.draining.is_some() && !active.run.ends_for_sure() {
                return;
            }
            match active.run.next(now, self.limits) {
                Step::Wait { until } => {
                    if let Some(at) = until {
                        self.agenda.note(id, at);
                        self.set_alarm(ctx);
                    }
                    return;
                }
                Step::Finish => self.finish(id, now),
                Step::Attach => return self.attach(id, ctx),
                Step::Settle => {
                    if self.settle(id, now, ctx) {
                        return;
                    }
                }
                step => {
                    if self.in_flight >= self.deps.options.max_in_flight.max(1) {
                        if !active.wants_slot {
                            active.wants_slot = true;
                            self.wants_slot.push_back(id);
                        }
                        return;
                    }
                    return self.request(id, step, ctx);
                }
            }
        }
    }

    fn request(&mut self, id: RunId, step: Step, ctx: &mut Context<Self>) {
        let Some(active) = self.runs.get_mut(&id) else { return };
        let Some(request) = active.request(&step) else { return };
        let work = request.send(self.deps.objects.clone(), active.key(), active.part().format.content_type());
        active.run.started(step);
        self.in_flight += 1;
        ctx.spawn(work.into_actor(self).map(move |result, actor, ctx| actor.answered(id, result, ctx)));
    }

    fn answered(&mut self, id: RunId, result: Result<Done, ObjectError>, ctx: &mut Context<Self>) {
        self.in_flight -= 1;
        if result.is_ok() && std::mem::take(&mut self.objects_away) {
            tracing::info!(slot = self.slot, "the object store answers again");
        }
        let result = result.map_err(|error| {
            match error.kind() {
                // Said once for all runs: the store is away for all of them.
                ObjectErrorKind::Retryable if std::mem::replace(&mut self.objects_away, true) => {}
                ObjectErrorKind::Permanent => tracing::error!(run = %id, %error, "a run cannot be stored as it is"),
                _ => tracing::warn!(run = %id, %error, "a request to the object store failed, trying again"),
            }
            error.kind()
        });
        self.ended(id, result, ctx);
        while self.in_flight < self.deps.options.max_in_flight.max(1)
            && let Some(next) = self.wants_slot.pop_front()
        {
            if let Some(active) = self.runs.get_mut(&next) {
                active.wants_slot = false;
            }
            self.advance(next, ctx);
        }
        self.end_drain_if_idle(ctx);
    }

    fn ended(&mut self, id: RunId, result: Result<Done, ObjectErrorKind>, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let Some(active) = self.runs.get_mut(&id) else { return };
        let changes_sidecar = !matches!(result, Ok(Done::Verified(_) | Done::Attached | Done::Stored));
        match active.run.ended(result, now) {
            Ended::Well => {}
            Ended::Badly { attempts } => {
                tracing::debug!(run = %id, attempts, "trying again later");
                count(&self.deps.stats.retries);
            }
            Ended::StartedOver { found } => {
                tracing::error!(run = %id, ?found, "a stored object is not what was recorded: it is uploaded again");
                count(&self.deps.stats.verify_failures);
            }
        }
        if changes_sidecar {
            active.changed(None, now);
        }
        self.advance(id, ctx);
    }

    fn finish(&mut self, id: RunId, now: Instant) {
        let Some(active) = self.runs.get_mut(&id) else { return };
        active.run.finish();
        if !active.journaled {
            return;
        }
        let before = self.deps.journal.end();
        let finished = Entry::AudioFinished(AudioFinished { run: id, at: Timestamp::now() });
        // Best effort: without it, the run would wait for its client once more after a restart.
        let told = self.deps.journal.append(&[finished]).is_ok();
        active.changed(told.then_some(before), now);
    }

    fn attach(&mut self, id: RunId, ctx: &mut Context<Self>) {
        let Some(active) = self.runs.get_mut(&id) else { return };
        active.run.started(Step::Attach);
        let (reply, answer) = oneshot::channel();
        let row = active.row();
        let record = StoreRecord { record: Record::AudioAttached(row.clone()), reply: Some(reply) };
        let taken = (self.deps.store_record)(active.begin.stream, record);
        let parts = Arc::clone(&self.deps.parts_of);
        let work = async move {
            let answer = if taken { answer.await.ok()? } else { return None };
            // The row is not taken where another node's part has the same bytes of the stream.
            Some(match answer {
                Ok(()) => Ok(parts(row).await?),
                Err(rejected) => Err(rejected),
            })
        };
        ctx.spawn(work.into_actor(self).map(move |answer, actor, ctx| {
            let result = match answer {
                Some(Ok(stored)) => {
                    Ok(actor.runs.get_mut(&id).map_or(Done::Attached, |active| active.compare(&stored)))
                }
                Some(Err(rejected)) => {
                    // Its session was deleted meanwhile, say. The object stays: a person decides.
                    tracing::error!(run = %id, reason = rejected.reason, "the database refuses the row of a stored run");
                    count(&actor.deps.stats.rows_rejected);
                    if let Some(active) = actor.runs.get_mut(&id) {
                        active.told = true;
                        active.ending = Ending::Rejected;
                    }
                    Ok(Done::Attached)
                }
                // The persistence actor died or is draining, or the database is away again.
                None => Err(ObjectErrorKind::Retryable),
            };
            actor.ended(id, result, ctx);
            actor.end_drain_if_idle(ctx);
        }));
    }

    /// Tells that the run is stored, journals it, and lets its files go. `false` when the journal has no room now.
    fn settle(&mut self, id: RunId, now: Instant, ctx: &mut Context<Self>) -> bool {
        let Some(active) = self.runs.get_mut(&id) else { return true };
        if active.run.len() > 0 && !std::mem::replace(&mut active.told, true) {
            count(&self.deps.stats.runs_stored);
            let (session, user) = (active.begin.session, active.begin.user.clone());
            // News: who is not there any more reads it from the database.
            self.deps.news.do_send(AudioStored { run: id, session, user });
        }
        if active.journaled {
            let before = self.deps.journal.end();
            match self.deps.journal.append(&[Entry::AudioStored(id)]) {
                Ok(position) => {
                    self.leaving.insert(id, Leaving { hold: active.hold().unwrap_or(before), journaled: false });
                    let actor = ctx.address();
                    let journaled = move || {
                        // An actor that is gone left the files to its successor.
                        let _ = actor.try_send(StoredJournaled(id));
                    };
                    self.deps.journal.when_synced(position, Box::new(journaled));
                }
                Err(AppendError::Failed | AppendError::Closed) => {}
                Err(AppendError::Full | AppendError::TooLarge { .. }) => {
                    // Its stage and sidecar tell the whole of it meanwhile, so that it holds nothing in the journal.
                    active.run.postpone(now);
                    return false;
                }
            }
        }
        let ending = if active.run.is_given_up() { Ending::Deleted } else { active.ending };
        self.share.ended(active.run.len(), ending);
        self.runs.remove(&id);
        self.agenda.forget(id);
        true
    }

    fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        let Some(first) = self.agenda.first() else { return };
        if let Some((at, handle)) = self.alarm {
            if at <= first {
                return;
            }
            ctx.cancel_future(handle);
        }
        let handle = ctx.run_later(first.saturating_duration_since(Instant::now()), |actor, ctx| {
            actor.alarm = None;
            while let Some(run) = actor.agenda.pop_due(Instant::now()) {
                actor.advance(run, ctx);
            }
            actor.set_alarm(ctx);
        });
        self.alarm = Some((first, handle));
    }

    /// While draining: nothing is under way, and nothing can be begun before some delay is over.
    pub(super) fn end_drain_if_idle(&mut self, ctx: &mut Context<Self>) {
        if self.draining.as_ref().is_some_and(|draining| draining.phase == DrainPhase::Storing)
            && self.in_flight == 0
            && self.wants_slot.is_empty()
            && !self.runs.values().any(|active| active.run.is_busy())
        {
            self.end_drain(ctx);
        }
    }
}
