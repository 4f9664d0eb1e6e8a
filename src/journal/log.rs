//! The journal's handle: opening, appending, waiting for the disk, closing.
//!
//! Promises: [`Journal::append`] never waits for the disk, and what it took has its place on the disk reserved.
//! Refuses: to order threads among each other; entries of one thread keep their order.

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering::{Acquire, Relaxed},
    },
    thread::JoinHandle,
};

use tokio::sync::oneshot;

use super::{
    Consumer, Entry, JournalReader, JournalStats, Position, codec, frame,
    lock::DirectoryLock,
    prepare, recover,
    state::{Chunk, Kept, Phase, Shared, State, Then},
    sync,
};

/// Least number of segments that the limit must have room for: one in use, one prepared, and old ones to trim.
const SEGMENTS_WITHIN_LIMIT: u64 = 4;
/// Below this a segment would be mostly header and file system blocks.
const MIN_SEGMENT_BYTES: u64 = 4 << 10;

/// One part in so many of a segment is kept for entries that free room, so that a full disk does not stay full for want of
/// it: staged audio goes from the disk only once the journal has it that it is stored.
const RESERVED_SHARE: u64 = 64;

/// Where the journal lies and how large it may become.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Made if it is not there. No other process may use it.
    pub dir: PathBuf,
    /// Size of one file. 16 MiB is a good value: rolling is rare, and a trim gives space back early. Lowered to a
    /// quarter of the limit.
    pub segment_bytes: u64,
    /// All files together. Entries above an eighth of it are refused.
    pub limit_bytes: u64,
}

/// Why the journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("journal directory {} is in use by another process", .directory.display())]
    InUse { directory: PathBuf },
    #[error("journal file {} has version {version}, which this program does not know", .path.display())]
    NewerVersion { path: PathBuf, version: u32 },
    #[error("journal file {} overlaps the one before it: two journals were mixed in one directory", .path.display())]
    Overlap { path: PathBuf },
    #[error("cannot {action} in journal directory {}: {source}", .directory.display())]
    Io { action: &'static str, directory: PathBuf, source: io::Error },
}

/// Why entries were not taken. None of them was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// No space is ready: the limit is reached, the disk is full, or the disk is slower than the appenders. Wait for
    /// [`Journal::room`] and try again. [`Entry::AudioStored`] has a little space of its own.
    #[error("journal is full")]
    Full,
    /// A write or sync failed; the journal is of no use any more.
    #[error("journal has failed")]
    Failed,
    #[error("journal is closed")]
    Closed,
    /// The entries together can never fit.
    #[error("entries of {bytes} bytes are too large for the journal, which takes at most {limit_bytes} at once")]
    TooLarge { bytes: u64, limit_bytes: u64 },
}

/// An open journal; clones share it. Dropping the last one closes it.
#[derive(Clone)]
pub struct Journal(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Journal {
    /// Opens (creating) the journal, checks the tail, starts its threads. `on_fatal` is called once, from the sync
    /// thread, when a write or fdatasync failed: the owner ends the process.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed that a later attempt would miss.
    pub fn open(options: JournalOptions, on_fatal: impl FnOnce(io::Error) + Send + 'static) -> Result<Self, OpenError> {
        let JournalOptions { dir: directory, segment_bytes, limit_bytes } = options;
        let failed = |action| {
            let directory = directory.clone();
            move |source| OpenError::Io { action, directory, source }
        };
        fs::create_dir_all(&directory).map_err(failed("make the directory"))?;
        let lock = Arc::new(DirectoryLock::take(&directory)?);
        let segment_bytes = segment_bytes.min(limit_bytes / SEGMENTS_WITHIN_LIMIT).max(MIN_SEGMENT_BYTES);
        let shared = Arc::new(recover::recover(directory.clone(), segment_bytes, limit_bytes)?);
        // The directory is taken as long as one of the threads lives: once closed, it may be opened again.
        let files = prepare::start(Arc::clone(&shared), Arc::clone(&lock)).map_err(failed("start a thread"))?;
        let handle = Handle { shared: Arc::clone(&shared), threads: Mutex::new(vec![files]) };
        let syncer = sync::start(shared, lock, on_fatal).map_err(failed("start a thread"))?;
        handle.threads.lock().unwrap_or_else(PoisonError::into_inner).push(syncer);
        Ok(Self(Arc::new(handle)))
    }

    /// Takes the entries into the current group and returns the position of the last one at once; never waits for
    /// the disk. All entries of the slice go in together, or none.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append(&self, entries: &[Entry]) -> Result<Position, AppendError> {
        let mut frames = Vec::with_capacity(entries.len() * 256);
        for entry in entries {
            frame::push(&mut frames, |out| codec::encode(entry, out));
        }
        let shared = &self.0.shared;
        let (bytes, most) = (frames.len() as u64, shared.limit_bytes / (2 * SEGMENTS_WITHIN_LIMIT));
        if bytes > most || bytes > u64::from(u32::MAX) {
            return Err(AppendError::TooLarge { bytes, limit_bytes: most });
        }
        let mut state = shared.lock();
        match state.phase {
            Phase::Open => {}
            Phase::Closing | Phase::Closed => return Err(AppendError::Closed),
            Phase::Failed => return Err(AppendError::Failed),
        }
        let frees_room = entries.iter().all(|entry| matches!(entry, Entry::AudioStored(_)));
        let reserve = if frees_room { 0 } else { shared.segment_bytes / RESERVED_SHARE };
        if let Err(full) = state.make_room(bytes, reserve) {
            shared.counters.refused_full.fetch_add(1, Relaxed);
            shared.files_wanted.notify_one();
            return Err(full);
        }
        if state.prepared.is_empty() {
            shared.files_wanted.notify_one();
        }
        frame::bind(&mut frames, state.current.segment.salt, state.end);
        state.add_to_group(&frames);
        if state.syncer_waits {
            shared.group_arrived.notify_one();
        }
        shared.counters.entries.fetch_add(entries.len() as u64, Relaxed);
        shared.counters.bytes.fetch_add(bytes, Relaxed);
        Ok(Position(state.end))
    }

    /// Calls `then` from the sync thread once everything at or below `position` is durable; at once, on this thread,
    /// if it is already. Dropped without being called when the journal failed or closed. It must not block.
    pub fn when_synced(&self, position: Position, then: Then) {
        let shared = &self.0.shared;
        let mut state = shared.lock();
        if shared.synced.load(Acquire) >= position.0 {
            drop(state);
            then();
        } else if matches!(state.phase, Phase::Open | Phase::Closing) {
            state.waiting.push((position.0, then));
        }
    }

    /// The same as a future.
    ///
    /// # Errors
    /// [`AppendError::Failed`] or [`AppendError::Closed`] when that will never be.
    pub async fn synced_at(&self, position: Position) -> Result<(), AppendError> {
        if self.synced() >= position {
            return Ok(());
        }
        let (synced, wait) = oneshot::channel();
        self.when_synced(
            position,
            Box::new(move || {
                let _ = synced.send(());
            }),
        );
        wait.await.map_err(|_| match self.0.shared.lock().phase {
            Phase::Failed => AppendError::Failed,
            Phase::Open | Phase::Closing | Phase::Closed => AppendError::Closed,
        })
    }

    /// Everything at or below is durable.
    pub fn synced(&self) -> Position {
        Position(self.0.shared.synced.load(Acquire))
    }

    /// The position of the last entry appended.
    pub fn end(&self) -> Position {
        Position(self.0.shared.lock().end)
    }

    /// Where the oldest segment kept begins.
    pub fn begin(&self) -> Position {
        Position(self.0.shared.lock().begin())
    }

    /// One who needs entries until it says otherwise. Starts at [`Self::begin`]. Whole segments that every consumer
    /// released are removed.
    pub fn consumer(&self, name: &'static str) -> Consumer {
        Consumer::register(&self.0.shared, name)
    }

    /// Reads entries after `from` that are written, synced or not, in order. Blocking file I/O.
    pub fn reader(&self, from: Position) -> JournalReader {
        JournalReader::new(Arc::clone(&self.0.shared), from)
    }

    /// Resolves when there may be room again after [`AppendError::Full`]; also when the journal failed or closed.
    pub async fn room(&self) {
        let shared = &self.0.shared;
        loop {
            let notified = shared.room.notified();
            tokio::pin!(notified);
            // Before looking: what happens after the look must not be missed.
            notified.as_mut().enable();
            {
                let state = shared.lock();
                if state.wanted_bytes.is_none() || state.phase != Phase::Open {
                    return;
                }
            }
            notified.await;
        }
    }

    pub fn stats(&self) -> JournalStats {
        self.0.shared.stats()
    }

    /// Writes and syncs what was appended, then stops the threads and gives the directory up. Blocking; later appends
    /// fail with [`AppendError::Closed`].
    pub fn close(&self) {
        self.0.close();
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }
}

impl Handle {
    fn close(&self) {
        {
            let mut state = self.shared.lock();
            if state.phase == Phase::Open {
                state.phase = Phase::Closing;
            }
        }
        self.shared.group_arrived.notify_all();
        self.shared.files_wanted.notify_all();
        self.shared.room.notify_waiters();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let this_thread = std::thread::current().id();
        for thread in threads.drain(..) {
            // The last handle may go in a callback of the sync thread, which cannot wait for itself.
            if thread.thread().id() != this_thread {
                // A panic in there was caught and told to the owner as fatal.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    /// Makes the current segment one that has `bytes` left; and `reserve` more, where it is the last one.
    fn make_room(&mut self, bytes: u64, reserve: u64) -> Result<(), AppendError> {
        let needed_with = |left: usize| if left == 0 { bytes + reserve } else { bytes };
        if needed_with(self.prepared.len()) <= self.current.segment.end() - self.end {
            return Ok(());
        }
        let needed = needed_with(self.prepared.len().saturating_sub(1));
        let Some(next) = self.prepared.pop_front_if(|next| needed <= next.segment.capacity) else {
            self.wanted_bytes = Some(self.wanted_bytes.map_or(needed, |wanted| wanted.max(needed)));
            return Err(AppendError::Full);
        };
        if let Some(current) = self.kept.back_mut() {
            current.last = self.end;
        }
        self.end = next.segment.base;
        self.kept.push_back(Kept::closed(Arc::clone(&next.segment)));
        self.current = next;
        Ok(())
    }

    fn add_to_group(&mut self, frames: &[u8]) {
        let position = self.end;
        self.end += frames.len() as u64;
        match self.group.last_mut() {
            Some(chunk) if Arc::ptr_eq(&chunk.target.segment, &self.current.segment) => {
                chunk.frames.extend_from_slice(frames);
            }
            _ => {
                let mut buffer = std::mem::take(&mut self.spare);
                buffer.extend_from_slice(frames);
                self.group.push(Chunk { target: self.current.clone(), position, frames: buffer });
            }
        }
    }
}
