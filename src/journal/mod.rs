//! The node's journal: one append-only log for events and audio alike.
//!
//! Owns: its directory, the segment files in it, one thread that syncs and one that makes and removes files.
//! Promises: an entry whose position is at or below [`Journal::synced`] survives `kill -9` and power loss; a torn
//! tail is cut at the last good entry, damage is reported and counted; nothing is removed before every consumer
//! released it.
//! Refuses: to grow beyond its limit ([`AppendError::Full`]), and to go on after a failed write or sync: the page
//! cache cannot be trusted after one, so the owner is told to end the process.
//!
//! # On disk
//! A directory of segments named by their base position in hex, and a `LOCK` file. A segment is a header and then
//! `capacity` bytes, all zero when it is made: overwriting what is there already keeps an fdatasync free of metadata,
//! and an entry that was accepted can no longer fail for lack of space. Frames ([`frame`]) lie one after the other
//! from the front; the rest is zeros. The base of a segment is the base of the one before plus its capacity, so the
//! next one is complete, named and synced before it is needed, and rolling costs nothing.
//!
//! # In memory
//! Appending copies the frames into a group; the syncing thread writes and syncs whatever arrived during its last
//! sync. There is no timer: alone, an entry waits for one sync; under load, groups grow by themselves.

mod codec;
mod consumer;
mod entry;
mod frame;
#[cfg(feature = "fuzzing")]
#[expect(clippy::expect_used, reason = "a fuzz target may panic")]
pub mod fuzzing;
mod lock;
mod log;
mod prepare;
mod reader;
mod recover;
mod scan;
mod segment;
mod state;
mod sync;

pub use codec::DecodeError;
pub use consumer::Consumer;
pub use entry::{AudioBegun, AudioChunk, AudioFinished, Entry, ShardRecord};
pub use log::{AppendError, Journal, JournalOptions, OpenError};
pub use reader::{JournalReader, ReadError};
pub use state::JournalStats;

/// A place in the journal: bytes since its very beginning, across all segments and the unused space at their ends.
/// The position of an entry is the place after its last byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Position(pub u64);
