//! The node's journal: one append-only log for events and audio alike.
//!
//! Owns: `<data_dir>/journal/`, its segments, one syncing thread.
//! Promises: an entry whose position is at or below [`Journal::synced`] survives `kill -9` and power loss; a torn
//! tail is cut at the last good entry, damage is reported and counted; nothing is removed before every consumer
//! released it.
//! Refuses: to grow beyond its limit ([`AppendError::Full`]), and to go on after a failed write or sync: the page
//! cache cannot be trusted after one, so the owner is told to end the process.

mod entry;
mod frame;
mod log;
mod reader;
mod segment;

pub use entry::{AudioBegun, AudioChunk, AudioFinished, Entry};
pub use log::{AppendError, Consumer, Journal, JournalOptions, JournalStats};
pub use reader::{JournalReader, ReadError};

/// A place in the journal: bytes since its very beginning, across all segments.
/// The position of an entry is the place after its last byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Position(pub u64);
