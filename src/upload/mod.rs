//! Audio on its way to the object store.
//!
//! Owns: the staging directory, the runs that are not stored yet, their multipart uploads.
//! Promises: audio is acknowledged once the journal has it on the disk; a run's bytes are let go of after its object
//! was verified, its row committed and both journaled, in this order; whatever a crash leaves is gone on with.
//! Refuses: to hold audio in memory. A chunk lives until it is journaled and staged, and its permit as long.
//!
//! # The way of a run
//! `BeginRun`, then `AppendAudio` after `AppendAudio`: each chunk goes to the journal and to the run's staged file.
//! Now and then staged files are synced, and the journal lets go of what they hold ([`keeping`]). What a run needs next is
//! decided by [`run`], without I/O, and done by [`steps`]: parts are uploaded while the run grows, the rest when it
//! is finished, by `FinishRun`, by silence, or after a restart by nobody coming back. Bytes that another node stored
//! meanwhile are left out ([`piece`]). [`recovery`] puts runs together
//! again from the staging directory and the journal.

mod actor;
mod agenda;
#[cfg(feature = "fuzzing")]
#[expect(clippy::expect_used, reason = "a fuzz target may panic")]
pub mod fuzzing;
mod keeping;
mod messages;
mod options;
mod piece;
mod recovery;
mod request;
mod run;
mod sidecar;
mod staging;
mod stats;
mod steps;

pub use actor::{PartsOf, StoreRecordOf, StoredParts, UploadActor, UploadDeps};
pub use messages::{
    AppendAudio, AudioAck, AudioJournaled, AudioRefused, AudioStored, BeginRun, Drain, DropAudio, DroppedAudio,
    FinishReason, FinishRun, LookupStreamAudio, UnstoredRun,
};
pub use options::UploadOptions;
pub use stats::UploadStats;

use std::time::Duration;

use futures_util::future::join_all;

use crate::{domain::Deletion, runtime::ActorPool};

/// Longer than the deadline itself: the last sync of the staged files comes after it.
const SAVING: Duration = Duration::from_secs(5);

/// Makes every actor drop what a deletion covers. One that is gone leaves it to its successor, which finds out when it
/// wants to store the audio.
pub async fn drop_audio(pool: &ActorPool<UploadActor>, deletion: &Deletion) -> DroppedAudio {
    let asked = pool.all().into_iter().map(|actor| actor.send(DropAudio { deletion: deletion.clone() }));
    let mut all = DroppedAudio::default();
    for dropped in join_all(asked).await.into_iter().flatten() {
        all.runs += dropped.runs;
        all.bytes += dropped.bytes;
    }
    all
}

/// Drains every actor at once; `false` when one did not end in time or is gone. What is not stored by then waits in
/// the journal.
pub async fn drain(pool: &ActorPool<UploadActor>, deadline: Duration) -> bool {
    let drains = pool.all().into_iter().map(|actor| actor.send(Drain { deadline }));
    let drained = tokio::time::timeout(deadline + SAVING, join_all(drains)).await;
    drained.is_ok_and(|answers| answers.into_iter().all(|answer| answer.is_ok()))
}
