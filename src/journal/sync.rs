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

use super::{
    lock::DirectoryLock,
    state::{Chunk, Phase, Shared},
};

/// A buffer that grew above this in one burst is not kept for the next.
const MAX_SPARE_BYTES: usize = 4 << 20;

pub(super) fn start(
    shared: Arc<Shared>,
    lock: Arc<DirectoryLock>,
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
        drop(lock);
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

#[cfg(test)]
mod tests {
    use std::{fs::File, path::Path, sync::mpsc};

    use super::*;
    use crate::{
        domain::RunId,
        journal::{AppendError, Entry, Journal, JournalOptions, Position},
    };

    fn open(directory: &Path) -> (Journal, mpsc::Receiver<io::Error>) {
        let (failed, failures) = mpsc::channel();
        let options = JournalOptions { dir: directory.to_owned(), segment_bytes: 1 << 16, limit_bytes: 1 << 20 };
        (Journal::open(options, move |error| failed.send(error).unwrap()).unwrap(), failures)
    }

    fn entry() -> Entry {
        Entry::AudioStored(RunId::new())
    }

    #[tokio::test]
    async fn after_a_failed_write_nothing_is_taken_or_called_back() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, failures) = open(directory.path());
        let good = journal.append(&[entry()]).unwrap();
        journal.synced_at(good).await.unwrap();
        {
            let mut state = journal.shared().lock();
            state.current.file = Arc::new(File::open(&state.current.segment.path).unwrap());
        }
        let (called, calls) = mpsc::channel();
        // The append itself succeeds: the write fails some time after it.
        let bad = journal.append(&[entry()]).unwrap();
        journal.when_synced(bad, Box::new(move || called.send(()).unwrap()));
        assert!(failures.recv().unwrap().raw_os_error().is_some());
        assert_eq!(calls.recv(), Err(mpsc::RecvError));
        assert_eq!(journal.append(&[entry()]), Err(AppendError::Failed));
        assert_eq!(journal.synced_at(bad).await, Err(AppendError::Failed));
        assert_eq!(journal.synced(), good);
        journal.room().await;
        journal.close();
        assert!(failures.recv().is_err());
    }

    #[tokio::test]
    async fn a_callback_that_panics_fails_the_journal_aloud() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, failures) = open(directory.path());
        let never = Position(1 << 40);
        let (called, calls) = mpsc::channel::<()>();
        journal.when_synced(never, Box::new(move || drop(called)));
        let position = journal.append(&[entry()]).unwrap();
        journal.when_synced(Position(position.0 + 1), Box::new(|| panic!("asked to")));
        journal.append(&[entry()]).unwrap();
        assert!(failures.recv().unwrap().to_string().contains("panicked"));
        assert!(calls.recv().is_err());
        assert_eq!(journal.append(&[entry()]), Err(AppendError::Failed));
    }
}
