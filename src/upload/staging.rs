//! Staged runs: one file of bytes for each, and a sidecar beside it.
//!
//! Owns: the staging directory.
//! Promises: bytes behind what the sidecar calls synced are cut off before a run is gone on with; every byte is
//! hashed as it arrives, so that what is uploaded is compared with what was received and not with what the disk kept.
//! Refuses: to sync on the actor's thread: that is a [`StagingJob`].

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    piece::Piece,
    sidecar::{Sidecar, SidecarError},
};
use crate::{
    domain::{AudioFormat, RunId, Sha256},
    objects::{FileSlice, Sha256Hasher},
};

const COPY_BYTES: usize = 128 * 1024;
/// More than any container's first word takes.
const SNIFFED_BYTES: usize = 64;

/// The directory.
#[derive(Clone, Debug)]
pub(super) struct Staging {
    dir: PathBuf,
}

impl Staging {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { dir: dir.into() })
    }

    pub(super) fn bytes_of(&self, run: RunId) -> PathBuf {
        self.dir.join(format!("{run}.part"))
    }

    fn sidecar_of(&self, run: RunId) -> PathBuf {
        self.dir.join(format!("{run}.json"))
    }

    /// Every run that has a file here, with its sidecar if it has one.
    pub(super) fn list(&self) -> io::Result<BTreeMap<RunId, Option<Result<Sidecar, SidecarError>>>> {
        let mut runs = BTreeMap::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let Some((run, kind)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
            let Ok(run) = run.parse::<RunId>() else { continue };
            let sidecar = runs.entry(run).or_insert(None);
            if kind == "json" {
                *sidecar = Some(Sidecar::read(&self.sidecar_of(run)));
            }
        }
        Ok(runs)
    }

    /// The sidecar first: bytes without one are cleared away after a crash, the reverse would look like damage.
    pub(super) fn remove(&self, run: RunId) -> io::Result<()> {
        for path in [self.sidecar_of(run), self.sidecar_of(run).with_extension("tmp"), self.bytes_of(run)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The bytes of a run.
pub(super) struct Stage {
    path: PathBuf,
    /// `None` when no more bytes will come: thousands of runs may wait for a store that is away.
    file: Option<Arc<File>>,
    len: u64,
    whole: Sha256Hasher,
    /// Of the part that is growing.
    part: Sha256Hasher,
    full_parts: Vec<Sha256>,
    part_size_bytes: u64,
}

impl Stage {
    pub(super) fn create(path: PathBuf, part_size_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Self::empty(path, file, part_size_bytes))
    }

    fn empty(path: PathBuf, file: File, part_size_bytes: u64) -> Self {
        Self {
            path,
            file: Some(Arc::new(file)),
            len: 0,
            whole: Sha256Hasher::default(),
            part: Sha256Hasher::default(),
            full_parts: Vec::new(),
            part_size_bytes: part_size_bytes.max(1),
        }
    }

    /// Goes on with the first `synced_len` bytes of a file; what is behind them was not promised to be anything.
    /// A file that has fewer is damaged: [`Self::len`] tells how many there are.
    pub(super) fn reopen(path: PathBuf, synced_len: u64, part_size_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let keep = file.metadata()?.len().min(synced_len);
        file.set_len(keep)?;
        let mut reader = file.try_clone()?.take(keep);
        let mut stage = Self::empty(path, file, part_size_bytes);
        let mut chunk = vec![0; COPY_BYTES];
        loop {
            match reader.read(&mut chunk)? {
                0 => return Ok(stage),
                read => stage.accept(&chunk[..read]),
            }
        }
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Writes behind the end without moving it: called again, it overwrites.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match &self.file {
            Some(file) => file.write_all_at(bytes, self.len),
            None if bytes.is_empty() => Ok(()),
            None => Err(io::Error::other("the stage was closed")),
        }
    }

    /// No more bytes will come, and those that came are synced.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// What was written counts.
    pub(super) fn accept(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        while !bytes.is_empty() {
            let room = self.part_size_bytes - self.len % self.part_size_bytes;
            let (now, later) = bytes.split_at(usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()));
            self.part.update(now);
            self.len += now.len() as u64;
            if self.len.is_multiple_of(self.part_size_bytes) {
                self.full_parts.push(std::mem::take(&mut self.part).finish());
            }
            bytes = later;
        }
    }

    /// Bytes that belong at `offset`, out of the journal. What is there already stays; a gap is filled with zeros,
    /// so that later offsets stay true.
    pub(super) fn replay(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        while self.len < offset {
            let gap = usize::try_from(offset - self.len).unwrap_or(usize::MAX).min(COPY_BYTES);
            let zeros = vec![0; gap];
            self.write(&zeros)?;
            self.accept(&zeros);
        }
        let known = usize::try_from(self.len - offset).unwrap_or(usize::MAX).min(bytes.len());
        self.write(&bytes[known..])?;
        self.accept(&bytes[known..]);
        Ok(())
    }

    pub(super) fn digest(&self) -> Sha256 {
        self.whole.so_far()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of it, whose digest is known.
    pub(super) fn slice(&self, range: Range<u64>, sha256: Sha256) -> FileSlice {
        FileSlice { path: self.path.clone(), offset: range.start, len: range.end - range.start, sha256 }
    }

    /// A part, numbered from 1: a full one, or the rest.
    pub(super) fn part(&self, number: i32, offset: u64, len: u64) -> FileSlice {
        let index = usize::try_from(number).unwrap_or(0).saturating_sub(1);
        let sha256 = self.full_parts.get(index).copied().unwrap_or_else(|| self.part.so_far());
        FileSlice { path: self.path.clone(), offset, len, sha256 }
    }

    /// To sync it elsewhere; `None` when nothing is left to sync.
    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.file.clone()
    }
}

/// Reads back a staged run, of which a piece is to be stored. Blocks.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when the file is not what was received.
pub(super) fn cut(stage: &Path, whole: &Piece, range: Range<u64>) -> io::Result<Piece> {
    let mut file = File::open(stage)?;
    let mut read = |range: Range<u64>, rest: &mut Sha256Hasher| {
        let mut bytes = Sha256Hasher::default();
        let mut first = Vec::new();
        let mut reader = (&mut file).take(range.end - range.start);
        let mut chunk = vec![0; COPY_BYTES];
        loop {
            match reader.read(&mut chunk)? {
                0 => return Ok::<_, io::Error>((bytes.finish(), first)),
                read => {
                    if first.is_empty() {
                        first.extend_from_slice(&chunk[..read.min(SNIFFED_BYTES)]);
                    }
                    bytes.update(&chunk[..read]);
                    rest.update(&chunk[..read]);
                }
            }
        }
    };
    let mut all = Sha256Hasher::default();
    read(0..range.start, &mut all)?;
    let (sha256, first) = read(range.clone(), &mut all)?;
    read(range.end..whole.range.end, &mut all)?;
    if all.finish() != whole.sha256 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a staged run is not what was received"));
    }
    // What begins in the middle of a container does not play by itself.
    let begins = AudioFormat::sniff(&first).unwrap_or(AudioFormat::Unknown);
    let format = if range.start == 0 { whole.format } else { begins };
    Ok(Piece { range, sha256, format })
}

/// Work for a thread that may wait for the disk.
pub(super) struct StagingJob {
    pub(super) staging: Staging,
    /// Runs whose bytes and sidecar are to become durable.
    pub(super) saves: Vec<(Option<Arc<File>>, Sidecar)>,
    /// Runs that are not needed any more.
    pub(super) removals: Vec<RunId>,
}

/// What became of the job. What is not named failed, and was logged.
#[derive(Default, Debug)]
pub(super) struct StagingJobDone {
    pub(super) saved: Vec<RunId>,
    /// Their bytes may not be on the disk although they read back: a failed sync is not repeated, since a second
    /// one says nothing about the first.
    pub(super) unsyncable: Vec<RunId>,
    pub(super) removed: Vec<RunId>,
}

impl StagingJob {
    pub(super) const fn is_empty(&self) -> bool {
        self.saves.is_empty() && self.removals.is_empty()
    }

    /// Blocks.
    pub(super) fn carry_out(self) -> StagingJobDone {
        let mut done = StagingJobDone::default();
        for run in self.removals {
            match self.staging.remove(run) {
                Ok(()) => done.removed.push(run),
                Err(error) => tracing::warn!(%run, %error, "cannot remove a staged run, trying again"),
            }
        }
        for (file, sidecar) in self.saves {
            let run = sidecar.begin.run;
            if let Some(Err(error)) = file.map(|file| file.sync_data()) {
                tracing::error!(%run, %error, "cannot sync a staged run: it stays in the journal until it is stored");
                done.unsyncable.push(run);
                continue;
            }
            match sidecar.write(&self.staging.sidecar_of(run)) {
                Ok(()) => done.saved.push(run),
                Err(error) => tracing::warn!(%run, %error, "cannot write the sidecar of a run, trying again"),
            }
        }
        if let Err(error) = File::open(&self.staging.dir).and_then(|dir| dir.sync_all()) {
            tracing::warn!(%error, "cannot sync the staging directory, trying again");
            return StagingJobDone { unsyncable: done.unsyncable, ..StagingJobDone::default() };
        }
        done
    }
}

#[cfg(test)]
mod tests;
