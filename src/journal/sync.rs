//! The syncing thread: writes what arrived, syncs it, tells those who wait.
//!
//! Promises: after a failed write or sync nothing more is written, called back or accepted.
//! Refuses: to retry: the kernel may have dropped the pages that it could not write, and the next sync would succeed
//! without them.

use std::{
    io,
    os::unix::fs::FileExt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, PoisonError,
        atomic::Ordering::{Relaxed, Release},
    },
    thread::{self, JoinHandle},
};

use super::state::{Chunk, Phase, Shared};

/// A buffer that grew above this in one burst is not kept for the next.
const MAX_SPARE_BYTES: usize = 4 << 20;

pub(super) fn start(
    shared: Arc<Shared>,
    on_fatal: impl FnOnce(io::Error) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("journal-sync".into()).spawn(move || {
        let ended = catch_unwind(AssertUnwindSafe(|| run(&shared)));
        let error = match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(io::Error::other("the journal's sync thread panicked")),
        };
        let waiting = {
            let mut state = shared.lock();
            state.phase = if error.is_some() { Phase::Failed } else { Phase::Closed };
            state.group = Vec::new();
            std::mem::take(&mut state.waiting)
        };
        // Outside the lock: dropping a callback may run anything.
        drop(waiting);
        shared.room.notify_waiters();
        shared.files_wanted.notify_all();
        if let Some(error) = error {
            tracing::error!(%error, "journal has failed");
            on_fatal(error);
        }
    })
}

fn run(shared: &Shared) -> io::Result<()> {
    loop {
        let Some(group) = next_group(shared) else { return Ok(()) };
        for chunk in &group {
            chunk.target.file.write_all_at(&chunk.frames, chunk.target.segment.offset_of(chunk.position))?;
        }
        let end = group.last().map_or(0, |chunk| chunk.position + chunk.frames.len() as u64);
        shared.written.store(end, Release);
        // One chunk for each segment: more than one only when the group rolled.
        for chunk in &group {
            chunk.target.file.sync_data()?;
        }
        shared.counters.syncs.fetch_add(1, Relaxed);
        for then in finish(shared, group, end) {
            then();
        }
    }
}

/// What arrived since the last call; `None` when the journal closes and everything is written.
fn next_group(shared: &Shared) -> Option<Vec<Chunk>> {
    let mut state = shared.lock();
    while state.group.is_empty() {
        if state.phase != Phase::Open {
            return None;
        }
        state.syncer_waits = true;
        state = shared.group_arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.syncer_waits = false;
    }
    Some(std::mem::take(&mut state.group))
}

fn finish(shared: &Shared, mut group: Vec<Chunk>, end: u64) -> Vec<Box<dyn FnOnce() + Send>> {
    let mut state = shared.lock();
    // Under the lock: who asks to be called either sees this or is in the list.
    shared.synced.store(end, Release);
    if let Some(mut spare) = group.pop().map(|chunk| chunk.frames)
        && spare.capacity() <= MAX_SPARE_BYTES
        && spare.capacity() > state.spare.capacity()
    {
        spare.clear();
        state.spare = spare;
    }
    state.waiting.extract_if(.., |(position, _)| *position <= end).map(|(_, then)| then).collect()
}
