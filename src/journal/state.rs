//! What the journal's handle, its threads, readers and consumers share.
//!
//! Owns: the list of segments, the open group, who waits for what. No I/O happens under its lock.

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

use super::segment::{Segment, WritableSegment};

pub(super) type Then = Box<dyn FnOnce() + Send>;

pub(super) struct Shared {
    pub(super) directory: PathBuf,
    pub(super) segment_bytes: u64,
    pub(super) limit_bytes: u64,
    /// Of all segments, see [`super::frame`].
    pub(super) salt: u64,
    state: Mutex<State>,
    /// For the syncing thread: there is a group, or the journal closes.
    pub(super) group_arrived: Condvar,
    /// For the file thread: a segment is wanted, or some are to be removed, or the journal closes.
    pub(super) files_wanted: Condvar,
    /// For those who were answered `Full`.
    pub(super) room: Notify,
    /// Everything below is in its file, so that readers may read it.
    pub(super) written: AtomicU64,
    pub(super) synced: AtomicU64,
    pub(super) counters: Counters,
}

pub(super) struct State {
    /// Oldest first; the last one is in use. Never empty.
    pub(super) kept: VecDeque<Kept>,
    pub(super) current: WritableSegment,
    /// Complete and empty, in the order in which they will be used.
    pub(super) prepared: VecDeque<WritableSegment>,
    /// To be removed.
    pub(super) doomed: Vec<Arc<Segment>>,
    /// Position after the last appended entry.
    pub(super) end: u64,
    /// Frames that no thread has written yet.
    pub(super) group: Vec<Chunk>,
    /// A buffer to fill next.
    pub(super) spare: Vec<u8>,
    pub(super) syncer_waits: bool,
    pub(super) waiting: Vec<(u64, Then)>,
    /// Somebody was answered `Full`; a segment of at least so many bytes would help.
    pub(super) wanted_bytes: Option<u64>,
    pub(super) consumers: Vec<ConsumerState>,
    pub(super) phase: Phase,
    /// Where damage was reported already: several readers come by the same place.
    reported: HashSet<u64>,
}

/// A segment that still counts, and the position after its last entry: the end of it, while that is not known.
pub(super) struct Kept {
    pub(super) segment: Arc<Segment>,
    pub(super) last: u64,
}

impl Kept {
    /// Where its last entry ends is not known.
    pub(super) fn closed(segment: Arc<Segment>) -> Self {
        Self { last: segment.end(), segment }
    }
}

/// Frames that lie one after the other in one segment.
pub(super) struct Chunk {
    pub(super) target: WritableSegment,
    pub(super) position: u64,
    pub(super) frames: Vec<u8>,
}

pub(super) struct ConsumerState {
    pub(super) name: &'static str,
    pub(super) released: u64,
    pub(super) retired: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Open,
    /// What was appended is still written.
    Closing,
    Closed,
    Failed,
}

impl Shared {
    /// `sizes`: bytes of a segment, bytes of all. `current`: the segment in use, and where its unused space begins.
    pub(super) fn new(
        directory: PathBuf,
        sizes: (u64, u64),
        kept: VecDeque<Kept>,
        current: (WritableSegment, u64),
        prepared: VecDeque<WritableSegment>,
        counters: Counters,
    ) -> Self {
        let ((segment_bytes, limit_bytes), (current, end)) = (sizes, current);
        Self {
            directory,
            segment_bytes,
            limit_bytes,
            salt: current.segment.salt,
            state: Mutex::new(State {
                kept,
                current,
                prepared,
                doomed: Vec::new(),
                end,
                group: Vec::new(),
                spare: Vec::new(),
                syncer_waits: false,
                waiting: Vec::new(),
                wanted_bytes: None,
                consumers: Vec::new(),
                phase: Phase::Open,
                reported: HashSet::new(),
            }),
            group_arrived: Condvar::new(),
            files_wanted: Condvar::new(),
            room: Notify::new(),
            written: AtomicU64::new(end),
            synced: AtomicU64::new(end),
            counters,
        }
    }

    /// The state is whole after every statement that changes it, so a panic elsewhere does not spoil it.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports bytes that are no entry, once.
    pub(super) fn report_damage(&self, segment: &Segment, from: u64, to: u64) {
        if self.lock().reported.insert(from) {
            tracing::error!(
                segment = %segment.path.display(),
                offset_bytes = segment.offset_of(from),
                skipped_bytes = to - from,
                "journal is damaged: entries in this range are lost unless a client sends them again"
            );
            self.counters.damaged_places.fetch_add(1, Relaxed);
            self.counters.skipped_bytes.fetch_add(to - from, Relaxed);
        }
    }

    pub(super) fn report_undecodable(&self, segment: &Segment, end: u64, error: super::DecodeError) {
        if self.lock().reported.insert(end) {
            tracing::error!(
                segment = %segment.path.display(),
                ends_at_bytes = segment.offset_of(end),
                %error,
                "journal entry cannot be read and is skipped: was it written by another version?"
            );
            self.counters.undecodable_entries.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn stats(&self) -> JournalStats {
        let (segments, disk_bytes, begin, end, full) = {
            let state = self.lock();
            (
                state.kept.len() + state.prepared.len(),
                state.disk_bytes(),
                state.begin(),
                state.end,
                state.wanted_bytes.is_some(),
            )
        };
        let counters = &self.counters;
        JournalStats {
            entries: counters.entries.load(Relaxed),
            bytes: counters.bytes.load(Relaxed),
            syncs: counters.syncs.load(Relaxed),
            segments: segments as u64,
            disk_bytes,
            limit_bytes: self.limit_bytes,
            kept_bytes: end - begin,
            unsynced_bytes: end.saturating_sub(self.synced.load(Relaxed)),
            full,
            refused_full: counters.refused_full.load(Relaxed),
            torn_tails: counters.torn_tails.load(Relaxed),
            damaged_places: counters.damaged_places.load(Relaxed),
            skipped_bytes: counters.skipped_bytes.load(Relaxed),
            undecodable_entries: counters.undecodable_entries.load(Relaxed),
            missing_segments: counters.missing_segments.load(Relaxed),
            removed_segments: counters.removed_segments.load(Relaxed),
        }
    }
}

impl State {
    pub(super) fn begin(&self) -> u64 {
        self.kept.front().map_or(self.end, |kept| kept.segment.base)
    }

    /// Where the next segment to be made begins.
    pub(super) fn next_base(&self) -> u64 {
        self.prepared.back().map_or_else(|| self.current.segment.end(), |last| last.segment.end())
    }

    /// Everything that takes space now, including what is about to be removed.
    pub(super) fn disk_bytes(&self) -> u64 {
        let kept = self.kept.iter().map(|kept| kept.segment.file_bytes());
        let prepared = self.prepared.iter().map(|prepared| prepared.segment.file_bytes());
        let doomed = self.doomed.iter().map(|segment| segment.file_bytes());
        kept.chain(prepared).chain(doomed).sum()
    }

    /// The first segment that has, or had, something at or behind `position`.
    pub(super) fn segment_at(&self, position: u64) -> Option<Arc<Segment>> {
        let index = self.kept.partition_point(|kept| kept.segment.end() <= position);
        self.kept.get(index).map(|kept| Arc::clone(&kept.segment))
    }

    /// Gives up segments that nobody needs; `true` when there are some to remove.
    pub(super) fn trim(&mut self) -> bool {
        let needed = self.consumers.iter().filter(|consumer| !consumer.retired).map(|consumer| consumer.released).min();
        let Some(released) = needed else { return false };
        while self.kept.len() > 1
            && let Some(oldest) = self.kept.pop_front_if(|oldest| oldest.last <= released)
        {
            self.doomed.push(oldest.segment);
        }
        !self.doomed.is_empty()
    }
}

/// Counted since the journal was opened.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) refused_full: AtomicU64,
    pub(super) torn_tails: AtomicU64,
    pub(super) damaged_places: AtomicU64,
    pub(super) skipped_bytes: AtomicU64,
    pub(super) undecodable_entries: AtomicU64,
    pub(super) missing_segments: AtomicU64,
    pub(super) removed_segments: AtomicU64,
}

/// The journal in numbers. Counts are since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct JournalStats {
    pub entries: u64,
    /// Appended, with frame headers.
    pub bytes: u64,
    pub syncs: u64,
    /// Files, the prepared ones included.
    pub segments: u64,
    pub disk_bytes: u64,
    pub limit_bytes: u64,
    /// From the oldest segment kept to the last entry.
    pub kept_bytes: u64,
    pub unsynced_bytes: u64,
    /// Somebody waits for room right now.
    pub full: bool,
    /// Appends refused for lack of room.
    pub refused_full: u64,
    /// Unfinished writes cut off when the journal was opened.
    pub torn_tails: u64,
    /// Places where bytes were no entry, with good entries after them.
    pub damaged_places: u64,
    pub skipped_bytes: u64,
    pub undecodable_entries: u64,
    pub missing_segments: u64,
    pub removed_segments: u64,
}
