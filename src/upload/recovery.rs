//! Puts runs together again after a restart: from what was synced to the staging directory, and from the journal.
//!
//! Promises: a run has every byte that was acknowledged; one that was stored is not uploaded again; reading the same
//! entries twice changes nothing.
//! Refuses: to remove a file that it cannot read: a person may.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::{
    messages::BeginRun,
    run::Multipart,
    staging::{Stage, Staging},
};
use crate::{
    domain::{Arrivals, RunId, Timestamp},
    journal::{AudioBegun, AudioChunk, Entry},
};

/// A run that is not stored yet.
pub(super) struct RecoveredRun {
    pub(super) begin: BeginRun,
    /// `None` when not one byte of it is there.
    pub(super) stage: Option<Stage>,
    pub(super) last_at: Timestamp,
    pub(super) arrivals: Arrivals,
    pub(super) finished: bool,
    pub(super) upload: Option<Multipart>,
}

/// What was found.
#[derive(Default)]
pub(super) struct Recovered {
    pub(super) runs: BTreeMap<RunId, RecoveredRun>,
    /// Files of runs that are stored, or of which nothing was acknowledged.
    pub(super) leftovers: BTreeSet<RunId>,
    /// Staged files that are damaged or cannot be read.
    pub(super) damaged: u64,
}

/// Recovery in progress.
pub(super) struct Recovery<'a> {
    staging: &'a Staging,
    part_size_bytes: u64,
    found: Recovered,
    unreadable: BTreeSet<RunId>,
    /// Bytes of runs of which the journal has the end only.
    headless: BTreeMap<RunId, u64>,
}

impl<'a> Recovery<'a> {
    /// Takes up what is staged.
    pub(super) fn begin(
        staging: &'a Staging,
        part_size_bytes: u64,
        is_mine: &impl Fn(RunId) -> bool,
    ) -> io::Result<Self> {
        let (mut found, mut unreadable) = (Recovered::default(), BTreeSet::new());
        for (run, sidecar) in staging.list()?.into_iter().filter(|(run, _)| is_mine(*run)) {
            let sidecar = match sidecar {
                Some(Ok(sidecar)) => sidecar,
                Some(Err(error)) => {
                    tracing::error!(%run, %error, "a staged run cannot be read: its files are left as they are");
                    found.damaged += 1;
                    unreadable.insert(run);
                    continue;
                }
                // Never synced, so all of it is in the journal, or nothing of it was acknowledged.
                None => {
                    found.leftovers.insert(run);
                    continue;
                }
            };
            let mut stage = Stage::reopen(staging.bytes_of(run), sidecar.synced_len, part_size_bytes)?;
            if sidecar.finished {
                stage.close();
            }
            if stage.len() < sidecar.synced_len {
                let missing_bytes = sidecar.synced_len - stage.len();
                tracing::error!(%run, missing_bytes, "a staged run is shorter than it was synced: audio is lost");
                found.damaged += 1;
            }
            let recovered = RecoveredRun {
                begin: sidecar.begin,
                stage: Some(stage),
                last_at: sidecar.last_at,
                arrivals: sidecar.arrivals,
                finished: sidecar.finished,
                upload: sidecar.upload,
            };
            found.runs.insert(run, recovered);
        }
        Ok(Self { staging, part_size_bytes, found, unreadable, headless: BTreeMap::new() })
    }

    /// Takes the next entry of the journal. Only entries of the runs that [`Self::begin`] was about.
    pub(super) fn entry(&mut self, entry: Entry) -> io::Result<()> {
        match entry {
            Entry::Record(_) => {}
            Entry::AudioBegun(begun) => {
                let run = begun.run;
                if !self.unreadable.contains(&run) {
                    self.found.runs.entry(run).or_insert_with(|| RecoveredRun::from(begun));
                }
            }
            Entry::AudioChunk(chunk) => self.chunk(&chunk)?,
            Entry::AudioFinished(finished) => {
                if let Some(run) = self.found.runs.get_mut(&finished.run) {
                    run.finished = true;
                }
            }
            Entry::AudioStored(run) => {
                self.headless.remove(&run);
                if self.found.runs.remove(&run).is_some() {
                    self.found.leftovers.insert(run);
                }
            }
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: &AudioChunk) -> io::Result<()> {
        let Some(run) = self.found.runs.get_mut(&chunk.run) else {
            *self.headless.entry(chunk.run).or_default() += chunk.bytes.len() as u64;
            return Ok(());
        };
        let stage = match &mut run.stage {
            Some(stage) => stage,
            None => run.stage.insert(Stage::create(self.staging.bytes_of(chunk.run), self.part_size_bytes)?),
        };
        if chunk.offset > stage.len() {
            let missing_bytes = chunk.offset - stage.len();
            tracing::error!(run = %chunk.run, missing_bytes, "a run has a hole: it is filled with zeros");
            self.found.damaged += 1;
        }
        stage.replay(chunk.offset, &chunk.bytes)?;
        run.last_at = run.last_at.max(chunk.at);
        run.arrivals.note(chunk.offset + chunk.bytes.len() as u64, chunk.at.ms_since(run.begin.at));
        Ok(())
    }

    /// All entries were taken.
    pub(super) fn end(mut self) -> Recovered {
        for (run, bytes) in self.headless {
            tracing::error!(%run, bytes, "the journal has audio of a run whose beginning is lost: it is left out");
            self.found.damaged += 1;
        }
        let runs = &self.found.runs;
        self.found.leftovers.retain(|run| !runs.contains_key(run));
        self.found
    }
}

impl From<AudioBegun> for RecoveredRun {
    fn from(begun: AudioBegun) -> Self {
        let AudioBegun { run, session, user, stream, stream_offset, format, at } = begun;
        Self {
            begin: BeginRun { run, session, user, stream, stream_offset, format, at },
            stage: None,
            last_at: at,
            arrivals: Arrivals::default(),
            finished: false,
            upload: None,
        }
    }
}

impl BeginRun {
    pub(super) fn to_entry(&self) -> Entry {
        let Self { run, session, user, stream, stream_offset, format, at } = self.clone();
        Entry::AudioBegun(AudioBegun { run, session, user, stream, stream_offset, format, at })
    }
}

#[cfg(test)]
mod tests;
