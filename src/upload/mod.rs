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
//! is finished, by `FinishRun`, by silence, or after a restart by nobody coming back. [`recovery`] puts runs together
//! again from the staging directory and the journal.

mod actor;
mod agenda;
mod keeping;
mod messages;
mod options;
mod recovery;
mod run;
mod sidecar;
mod staging;
mod stats;
mod steps;

pub use actor::{StoreRecordOf, UploadActor, UploadDeps};
pub use messages::{
    AppendAudio, AudioAck, AudioJournaled, AudioStored, BeginRun, Drain, FinishReason, FinishRun, LookupStreamAudio,
    UnstoredRun,
};
pub use options::UploadOptions;
pub use stats::UploadStats;
