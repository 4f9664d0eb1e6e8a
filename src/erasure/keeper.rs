//! What is deleted in the background: the rest of deletions, what other nodes deleted, what is too old.
//!
//! Promises: one round at a time. A deletion is finished when nothing of it is left, and no write that began before its
//! mark can be left either.
//! Refuses: to choose who does it. Every node looks after all deletions; two that do the same are no harm.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use actix::prelude::*;

use super::{Erasure, ErasureError, Removed};
use crate::{
    domain::{Deletion, Doomed, Timestamp},
    session::Now,
};

/// How soon a node hears of deletions by others.
const ROUND: Duration = Duration::from_secs(5);
/// What is too old is looked for each minute, beginning with the first round.
const ROUNDS_A_SWEEP: u32 = 12;
/// How far back a round looks: the clocks of two nodes may be that far apart.
const LOOK_BACK: Duration = Duration::from_mins(5);
/// How old a mark is when no write can be left that began before it: far above any time limit of a write.
const SETTLED: Duration = Duration::from_mins(2);
/// Deletions in one round.
const ROUND_DELETIONS: u32 = 1_000;
/// Sessions that are deleted for their age at a time.
const ROUND_OLD_SESSIONS: u32 = 100;
/// Longest time for one round.
const ROUND_PATIENCE: Duration = Duration::from_mins(1);
/// How long marks are kept once all is gone: a node that was away may come back with a journal that is as old.
const MARKS_KEPT: Duration = Duration::from_hours(90 * 24);

/// The actor; one per node.
pub struct KeeperActor {
    erasure: Erasure,
    /// How long sessions and events are kept; `None`: for ever.
    keep: Option<Duration>,
    rounds: u32,
    is_failing: bool,
}

impl Actor for KeeperActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        Self::next_round(ctx);
    }
}

impl KeeperActor {
    #[must_use]
    pub const fn new(erasure: Erasure, keep: Option<Duration>) -> Self {
        Self { erasure, keep, rounds: 0, is_failing: false }
    }

    fn next_round(ctx: &mut Context<Self>) {
        ctx.run_later(ROUND, |actor, ctx| {
            let (erasure, keep, rounds) = (actor.erasure.clone(), actor.keep, actor.rounds);
            actor.rounds = rounds.wrapping_add(1);
            let round = async move { erasure.round(keep, rounds).await };
            ctx.spawn(round.into_actor(actor).map(|result, actor, ctx| {
                // Said once: a database that is away is away for all rounds.
                if let Err(error) = &result
                    && !actor.is_failing
                {
                    tracing::warn!(%error, "a round of deletions was not completed; the next one goes on");
                }
                actor.is_failing = result.is_err();
                Self::next_round(ctx);
            }));
        });
    }
}

impl Erasure {
    async fn round(&self, keep: Option<Duration>, rounds: u32) -> Result<(), ErasureError> {
        let deadline = Instant::now() + ROUND_PATIENCE;
        let now = Now::read().wall;
        self.hear_of_others(now).await?;
        self.finish_what_was_begun(now, deadline).await?;
        if rounds.is_multiple_of(ROUNDS_A_SWEEP) {
            if let Some(keep) = keep {
                self.delete_what_is_old(now.minus(keep), now, deadline).await?;
            }
            self.store.forget_deletions(now.minus(MARKS_KEPT)).await?;
        }
        Ok(())
    }

    async fn hear_of_others(&self, now: Timestamp) -> Result<(), ErasureError> {
        let recent = self.store.recent_deletions(now.minus(LOOK_BACK), ROUND_DELETIONS).await?;
        for deletion in &recent {
            self.let_go(deletion, &mut Removed::default()).await;
        }
        let mut let_go = self.let_go.lock().unwrap_or_else(PoisonError::into_inner);
        // Twice: what is forgotten here must not be found again.
        let_go.retain(|deletion| deletion.at >= now.minus(LOOK_BACK * 2));
        Ok(())
    }

    async fn finish_what_was_begun(&self, now: Timestamp, deadline: Instant) -> Result<(), ErasureError> {
        for deletion in self.store.unfinished_deletions(now.minus(SETTLED), ROUND_DELETIONS).await? {
            let sessions = match &deletion.what {
                Doomed::Session(session) => vec![*session],
                // Its sessions have marks of their own.
                Doomed::User(_) => Vec::new(),
            };
            match self.erase(&deletion, &sessions, deadline, &mut Removed::default()).await {
                Ok(true) => self.store.finish_deletion(&deletion, now).await?,
                Ok(false) => return Ok(()),
                // One that cannot go must not keep the others.
                Err(error) => tracing::warn!(%error, "a deletion cannot be finished now, trying again"),
            }
        }
        Ok(())
    }

    async fn delete_what_is_old(
        &self,
        before: Timestamp,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<(), ErasureError> {
        let mut removed = Removed::default();
        while Instant::now() < deadline {
            let old = self.store.old_sessions(before, ROUND_OLD_SESSIONS).await?;
            if old.is_empty() {
                break;
            }
            self.store.mark_sessions_deleted(&old, now).await?;
            for session in old {
                let deletion = Deletion { what: Doomed::Session(session), at: now };
                self.erase(&deletion, &[session], deadline, &mut removed).await?;
            }
        }
        if removed.sessions > 0 {
            tracing::info!(sessions = removed.sessions, events = removed.events, "sessions were deleted for their age");
        }
        while Instant::now() < deadline && self.store.erase_old(before).await? > 0 {}
        Ok(())
    }
}
