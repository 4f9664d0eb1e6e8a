//! The file thread: makes the next segment before it is needed, removes those that nobody needs.
//!
//! Promises: the journal's files never exceed its limit; a full disk is waited out, not failed on.

use std::{
    fs, io,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    lock::DirectoryLock,
    segment::{self, Segment, WritableSegment},
    state::{Phase, Shared, State},
};

/// How long to wait before a segment that could not be made is tried again: a full disk seldom empties sooner.
const RETRY: Duration = Duration::from_secs(1);

enum Work {
    Make { base: u64, capacity: u64 },
    Remove(Vec<Arc<Segment>>),
}

pub(super) fn start(shared: Arc<Shared>, lock: Arc<DirectoryLock>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("journal-files".into()).spawn(move || {
        run(&shared);
        drop(lock);
    })
}

fn run(shared: &Shared) {
    let mut failing = false;
    while let Some(work) = next_work(shared, failing) {
        match work {
            Work::Remove(segments) => remove(shared, &segments),
            Work::Make { base, capacity } => {
                let go_on = || shared.lock().phase == Phase::Open;
                match segment::create(&shared.directory, base, capacity, shared.salt, go_on) {
                    Ok(Some(made)) => {
                        failing = false;
                        add(shared, made);
                    }
                    // The journal closes; what nobody needs is still removed before this thread ends.
                    Ok(None) => {}
                    Err(error) => {
                        if !failing {
                            tracing::error!(%error, bytes = capacity, "cannot make the next journal segment; trying on");
                        }
                        failing = true;
                    }
                }
            }
        }
    }
}

/// Waits until there is something to do; `None` when the journal closes.
fn next_work(shared: &Shared, mut failing: bool) -> Option<Work> {
    let mut state = shared.lock();
    loop {
        if !state.doomed.is_empty() {
            return Some(Work::Remove(state.doomed.clone()));
        }
        if state.phase != Phase::Open {
            return None;
        }
        if failing {
            failing = false;
            state = shared.files_wanted.wait_timeout(state, RETRY).unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        if let Some(work) = state.segment_to_make(shared.segment_bytes, shared.limit_bytes) {
            return Some(work);
        }
        state = shared.files_wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

impl State {
    fn segment_to_make(&mut self, segment_bytes: u64, limit_bytes: u64) -> Option<Work> {
        let wanted = self.wanted_bytes.unwrap_or(0);
        if wanted > segment_bytes
            && let Some(too_small) = self.prepared.pop_front_if(|next| next.segment.capacity < wanted)
        {
            // Nothing is in it yet: a larger one takes its place.
            self.doomed.push(too_small.segment);
            return Some(Work::Remove(self.doomed.clone()));
        }
        if !self.prepared.is_empty() {
            return None;
        }
        // A large entry gets room for others too: they may come first.
        let capacity = if wanted > segment_bytes { wanted + segment_bytes } else { segment_bytes };
        let fits = self.disk_bytes() + segment::HEADER_BYTES + capacity <= limit_bytes;
        fits.then(|| Work::Make { base: self.next_base(), capacity })
    }
}

fn add(shared: &Shared, made: WritableSegment) {
    {
        let mut state = shared.lock();
        state.prepared.push_back(made);
        state.wanted_bytes = None;
    }
    shared.room.notify_waiters();
}

fn remove(shared: &Shared, segments: &[Arc<Segment>]) {
    for segment in segments {
        match fs::remove_file(&segment.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // It will be read again after a restart, which changes nothing.
                tracing::warn!(%error, segment = %segment.path.display(), "cannot remove a journal segment");
            }
            _ => {}
        }
    }
    if let Err(error) = segment::sync_directory(&shared.directory) {
        tracing::warn!(%error, "cannot sync the journal directory");
    }
    shared.counters.removed_segments.fetch_add(segments.len() as u64, Relaxed);
    let mut state = shared.lock();
    state.doomed.retain(|doomed| !segments.iter().any(|removed| Arc::ptr_eq(removed, doomed)));
}
