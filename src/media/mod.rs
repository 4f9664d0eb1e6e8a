//! Recorded audio as containers hold it: runs read frame by frame, placed on one clock, written as one file that seeks.
//!
//! Owns: WebM, Ogg and the outside of Opus packets. Promises: no codec is needed, and no memory that grows with a
//! recording but for a few bytes a second; whatever a client sent costs nothing but its own run: sizes are bounds for
//! skipping, never for allocating, and nothing is nested in here.
//! Refuses: to squeeze. Where media falls behind the clock, silence is put in; where it is ahead, it stays as it is.
//!
//! A crate for Matroska's syntax (`mkv-element` 0.4) was tried on paper and left: it reads no cluster of unknown size,
//! which is all that a browser's recorder writes, holds a cluster as a whole, and does not tell where a block lay.

mod frames;
#[cfg(feature = "fuzzing")]
#[expect(clippy::expect_used, reason = "a fuzz target may panic")]
pub mod fuzzing;
mod ogg;
mod opus;
mod placing;
mod source;
mod speech;
#[cfg(test)]
mod tests;
mod track;
mod webm;
mod writer;

pub use frames::Scan;
pub use placing::{Gap, GapReason, Placed, PlacedRun, Unplaced};
pub use speech::Span;
pub use track::{RunFile, Track, TrackError, make_track};

/// Opus counts in samples at this rate, whatever was recorded.
pub const SAMPLES_PER_MS: u64 = 48;

/// Media that falls behind the clock by more than this is brought up to it by silence.
pub const DRIFT_TOLERATED_MS: u64 = 120;

const DRIFT_TOLERATED: u64 = DRIFT_TOLERATED_MS * SAMPLES_PER_MS;

/// Why a run, or the rest of it, cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("no container that can be read: its beginning is missing, or it is of another kind")]
    NoContainer,
    #[error("no Opus audio in it")]
    NoOpus,
    #[error("{0} channels: only one or two can be joined")]
    Channels(u8),
    #[error("not a single whole packet in it")]
    Empty,
}
