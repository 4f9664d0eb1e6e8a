//! Small journals and entries that tell themselves apart.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use shopaloud::{
    domain::{RunId, Timestamp},
    journal::{AudioChunk, Entry, Journal, JournalOptions, Position},
};

/// Room for a handful of entries, so that everything happens at the ends of segments too.
pub const SEGMENT_BYTES: u64 = 4096;
pub const LIMIT_BYTES: u64 = 1 << 20;

pub fn open(directory: &Path) -> Journal {
    open_with(directory, SEGMENT_BYTES, LIMIT_BYTES)
}

pub fn open_with(directory: &Path, segment_bytes: u64, limit_bytes: u64) -> Journal {
    let options = JournalOptions { dir: directory.to_owned(), segment_bytes, limit_bytes };
    Journal::open(options, |error| panic!("the journal failed: {error}")).unwrap()
}

/// Entry number `number`, with `bytes` bytes that depend on it.
pub fn entry(number: u64, bytes: usize) -> Entry {
    let pattern = |index: usize| number.wrapping_mul(31).wrapping_add(index as u64).to_le_bytes()[index % 3] | 1;
    Entry::AudioChunk(AudioChunk {
        run: RunId::from_bytes([7; 16]),
        offset: number,
        at: Timestamp::from_unix_ms(1_795_358_661_007).unwrap(),
        bytes: (0..bytes).map(pattern).collect::<Bytes>(),
    })
}

pub fn number_of(entry: &Entry) -> u64 {
    match entry {
        Entry::AudioChunk(chunk) => chunk.offset,
        other => panic!("not one of ours: {other:?}"),
    }
}

/// Appends, waiting for room as often as it takes.
pub async fn append(journal: &Journal, entries: &[Entry]) -> Position {
    loop {
        match journal.append(entries) {
            Ok(position) => return position,
            Err(shopaloud::journal::AppendError::Full) => journal.room().await,
            Err(error) => panic!("not appended: {error}"),
        }
    }
}

/// Everything after `from`, in batches so small that each entry comes alone.
pub fn read_all(journal: &Journal, from: Position) -> Vec<(Position, Entry)> {
    let mut reader = journal.reader(from);
    let mut entries = Vec::new();
    loop {
        let batch = reader.next_batch(1).unwrap();
        if batch.is_empty() {
            return entries;
        }
        entries.extend(batch);
    }
}

pub fn numbers(journal: &Journal) -> Vec<u64> {
    read_all(journal, Position(0)).iter().map(|(_, entry)| number_of(entry)).collect()
}

/// The segment files, oldest first.
pub fn segment_files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .collect();
    files.sort();
    files
}

/// Where a segment file begins.
pub fn base_of(file: &Path) -> Position {
    let (base, _salt) = file.file_stem().unwrap().to_str().unwrap().split_once('-').unwrap();
    Position(u64::from_str_radix(base, 16).unwrap())
}

/// The file of a segment that begins at `base`, named after the ones that are there.
pub fn segment_at(directory: &Path, base: u64) -> PathBuf {
    let first = segment_files(directory).swap_remove(0);
    let (_base, salt) = first.file_name().unwrap().to_str().unwrap().split_once('-').unwrap();
    directory.join(format!("{base:016x}-{salt}"))
}

pub fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
