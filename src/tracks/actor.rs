//! Takes on one track after the other.
//!
//! Promises: one at a time for each actor, on threads that may wait, so that recording goes on beside it. Nothing has to
//! be told to it: what is due stands in the database, whichever node stored it.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::prelude::*;

use super::{
    make::{self, Failure},
    stats::TrackStats,
};
use crate::{
    domain::Timestamp,
    objects::{ObjectKey, Objects},
    store::{Store, StoreError, TrackJob},
};

/// How often the database is asked when nothing was due: one look at a small index.
const LOOKING: Duration = Duration::from_secs(2);
/// Who has not finished by then is taken for dead. Four hours of audio take seconds, their way from S3 and back minutes.
const LEASE: Duration = Duration::from_mins(15);
/// After a failure that is nobody's fault.
const PUT_OFF: Duration = Duration::from_secs(30);
/// Who took it on and was not heard of again may have died of it.
const MAX_ATTEMPTS: u64 = 5;

/// What making tracks needs.
pub struct TrackDeps {
    pub store: Arc<dyn Store>,
    pub objects: Objects,
    /// A directory for nothing else.
    pub scratch: PathBuf,
    pub stats: Arc<TrackStats>,
}

/// The actor.
pub struct TrackActor {
    deps: Arc<TrackDeps>,
    scratch: PathBuf,
}

/// What is in work is dropped, and will be taken on again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopMaking;

impl TrackActor {
    #[must_use]
    pub fn start_some(count: usize, deps: TrackDeps) -> Vec<Addr<Self>> {
        let deps = Arc::new(deps);
        (0..count)
            .map(|slot| Self { scratch: deps.scratch.join(slot.to_string()), deps: Arc::clone(&deps) }.start())
            .collect()
    }
}

impl Actor for TrackActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (deps, scratch) = (Arc::clone(&self.deps), self.scratch.clone());
        let work = async move {
            loop {
                let now = Timestamp::now();
                match deps.store.claim_track(now, now.plus(LEASE)).await {
                    Ok(Some(job)) => take_on(&deps, &job, &scratch).await,
                    Ok(None) => tokio::time::sleep(LOOKING).await,
                    Err(error) => {
                        tracing::debug!(%error, "the database cannot be asked for tracks, trying again");
                        tokio::time::sleep(PUT_OFF).await;
                    }
                }
            }
        };
        ctx.spawn(work.into_actor(self));
    }
}

impl Handler<StopMaking> for TrackActor {
    type Result = ();

    fn handle(&mut self, _: StopMaking, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// Counts what is in work, also when the work is dropped.
struct Making<'a>(&'a AtomicU64);

impl<'a> Making<'a> {
    fn count(making: &'a AtomicU64) -> Self {
        making.fetch_add(1, Ordering::Relaxed);
        Self(making)
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn take_on(deps: &TrackDeps, job: &TrackJob, scratch: &Path) {
    let _making = Making::count(&deps.stats.making);
    let session = job.session;
    let result = if job.attempts > MAX_ATTEMPTS {
        Err(Failure::ForGood(format!("{MAX_ATTEMPTS} attempts came to no end")))
    } else {
        match empty(scratch).await {
            Ok(()) => make::make(&*deps.store, &deps.objects, job, scratch).await,
            Err(error) => Err(Failure::ForNow(format!("cannot use {}: {error}", scratch.display()))),
        }
    };
    let told = match result {
        Ok(made) => match deps.store.finish_track(job, &made).await {
            Ok(true) => {
                deps.stats.made.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%session, duration_ms = made.duration_ms, "a track is ready");
                Ok(())
            }
            Ok(false) => outdated(deps, job).await,
            Err(error) => Err(error),
        },
        Err(Failure::ForNow(problem)) => {
            deps.stats.postponed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%session, problem, "a track cannot be made now, trying again");
            deps.store.postpone_track(job, &problem, Timestamp::now().plus(PUT_OFF)).await
        }
        Err(Failure::ForGood(problem)) => {
            deps.stats.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%session, problem, "a session has no track: its parts stay as they are");
            deps.store.give_up_track(job, &problem).await
        }
    };
    if let Err(error) = told {
        // The lease ends, and somebody makes it again.
        tracing::warn!(%session, %error, "what became of a track could not be written");
    }
    if let Err(error) = empty(scratch).await {
        tracing::warn!(%error, "the scratch directory cannot be emptied");
    }
}

/// The session got another part while its track was made, and is due again; or it is gone, and so is its track.
async fn outdated(deps: &TrackDeps, job: &TrackJob) -> Result<(), StoreError> {
    if deps.store.retry_tracks(Some(job.session), Timestamp::now()).await? > 0 {
        return Ok(());
    }
    if let Err(error) = deps.objects.delete(&ObjectKey::for_track(job.session)).await {
        // The deletion removes it too, once more when no such work can be left.
        tracing::warn!(session = %job.session, %error, "the track of a deleted session could not be removed yet");
    }
    Ok(())
}

async fn empty(scratch: &Path) -> std::io::Result<()> {
    match tokio::fs::remove_dir_all(scratch).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    tokio::fs::create_dir_all(scratch).await
}
