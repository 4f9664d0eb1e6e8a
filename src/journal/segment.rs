//! One segment file: a header, then `capacity` bytes of frames and zeros. Its name tells its base position and its salt,
//! so that a damaged header costs nothing.
//!
//! Promises: a file under its final name is complete: filled with zeros, synced, and known to its directory.
//! Refuses: to know what is in the frames.
//!
//! ```text
//! 0   8 bytes "ShAlJrnl"
//! 8   u32  version
//! 16  u64  base position: where in the journal the first frame would lie
//! 24  u64  capacity in bytes
//! 32  u32  CRC-32 of the 32 bytes above
//! 64  frames
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(super) const HEADER_BYTES: u64 = 64;
const MAGIC: [u8; 8] = *b"ShAlJrnl";
const VERSION: u32 = 1;
const EXTENSION: &str = "segment";
const UNFINISHED_EXTENSION: &str = "unfinished";

/// Zeros are written in steps of this size, each synced: small enough not to hold up a sync of the segment in use.
const FILL_STEP: usize = 1 << 20;

/// Where a segment lies, in the journal and on disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) base: u64,
    pub(super) capacity: u64,
    /// What frames are bound to, see [`super::frame`].
    pub(super) salt: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    /// The base of the segment that follows.
    pub(super) const fn end(&self) -> u64 {
        self.base + self.capacity
    }

    pub(super) const fn offset_of(&self, position: u64) -> u64 {
        HEADER_BYTES + (position - self.base)
    }

    pub(super) const fn file_bytes(&self) -> u64 {
        HEADER_BYTES + self.capacity
    }

    pub(super) fn open_for_writing(self: &Arc<Self>) -> io::Result<WritableSegment> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        Ok(WritableSegment { segment: Arc::clone(self), file: Arc::new(file) })
    }
}

/// A segment that frames can be written to.
#[derive(Clone, Debug)]
pub(super) struct WritableSegment {
    pub(super) segment: Arc<Segment>,
    pub(super) file: Arc<File>,
}

/// Makes a whole new segment; `go_on` is asked now and then. On an error, or when it says no, nothing is left behind.
pub(super) fn create(
    directory: &Path,
    base: u64,
    capacity: u64,
    salt: u64,
    go_on: impl Fn() -> bool,
) -> io::Result<Option<WritableSegment>> {
    let path = directory.join(format!("{base:016x}-{salt:016x}.{EXTENSION}"));
    let unfinished = path.with_extension(UNFINISHED_EXTENSION);
    let segment = Segment { base, capacity, salt, path };
    let made =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&unfinished).and_then(|file| {
            file.write_all_at(&header(base, capacity), 0)?;
            if !fill_with_zeros(&file, HEADER_BYTES, segment.file_bytes(), go_on)? {
                return Ok(None);
            }
            file.sync_all()?;
            fs::rename(&unfinished, &segment.path)?;
            sync_directory(directory)?;
            Ok(Some(file))
        });
    match made {
        Ok(Some(file)) => Ok(Some(WritableSegment { segment: Arc::new(segment), file: Arc::new(file) })),
        stopped_or_failed => {
            // Whether there is something to remove depends on where it failed.
            let _ = fs::remove_file(&unfinished).or_else(|_| fs::remove_file(&segment.path));
            stopped_or_failed.map(|_| None)
        }
    }
}

/// Writes and syncs zeros; `false` when `go_on` said no.
fn fill_with_zeros(file: &File, from: u64, to: u64, go_on: impl Fn() -> bool) -> io::Result<bool> {
    let zeros = vec![0; FILL_STEP];
    let mut at = from;
    while at < to {
        if !go_on() {
            return Ok(false);
        }
        let step = usize::try_from(to - at).map_or(FILL_STEP, |rest| rest.min(FILL_STEP));
        file.write_all_at(&zeros[..step], at)?;
        file.sync_data()?;
        at += step as u64;
    }
    Ok(true)
}

/// Writes the header again, and zeros from `used_to` to the end.
pub(super) fn mend(writable: &WritableSegment, used_to: u64) -> io::Result<()> {
    let WritableSegment { segment, file } = writable;
    file.write_all_at(&header(segment.base, segment.capacity), 0)?;
    fill_with_zeros(file, segment.offset_of(used_to), segment.file_bytes(), || true)?;
    file.sync_all()
}

/// Makes renames and removals in `directory` durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// What one file of the directory turned out to be.
pub(super) enum Listed {
    Segment(Segment),
    /// Its header is damaged: all that it says is told by the file's name and size.
    DamagedHeader(Segment),
    /// Written by a later version of this program.
    NewerVersion {
        path: PathBuf,
        version: u32,
    },
}

/// The segments of `directory`, by position. Files that were never finished are removed; what has another name is
/// none of ours.
pub(super) fn list(directory: &Path) -> io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension == Some(UNFINISHED_EXTENSION) {
            fs::remove_file(&path)?;
        } else if extension == Some(EXTENSION)
            && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
            && let Some((base, salt)) = stem.split_once('-')
            && let (Ok(base), Ok(salt)) = (u64::from_str_radix(base, 16), u64::from_str_radix(salt, 16))
        {
            found.push((base, salt, path));
        }
    }
    found.sort();
    found.into_iter().map(|(base, salt, path)| look_at(base, salt, path)).collect()
}

fn look_at(base: u64, salt: u64, path: PathBuf) -> io::Result<Listed> {
    let file = File::open(&path)?;
    let capacity_by_size = file.metadata()?.len().saturating_sub(HEADER_BYTES);
    let mut bytes = [0; 36];
    let readable = match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
        Err(error) => return Err(error),
    };
    let (head, crc) = bytes.split_at(32);
    if !readable || crc != crc32fast::hash(head).to_le_bytes() || head[..8] != MAGIC || number(&head[16..24]) != base {
        return Ok(Listed::DamagedHeader(Segment { base, capacity: capacity_by_size, salt, path }));
    }
    match u32::try_from(number(&head[8..12])) {
        Ok(VERSION) => Ok(Listed::Segment(Segment { base, capacity: number(&head[24..32]), salt, path })),
        other => Ok(Listed::NewerVersion { path, version: other.unwrap_or(u32::MAX) }),
    }
}

fn header(base: u64, capacity: u64) -> [u8; 36] {
    let mut header = [0; 36];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&base.to_le_bytes());
    header[24..32].copy_from_slice(&capacity.to_le_bytes());
    let crc = crc32fast::hash(&header[..32]);
    header[32..].copy_from_slice(&crc.to_le_bytes());
    header
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
