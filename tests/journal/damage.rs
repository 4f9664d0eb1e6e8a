//! Files as crashes and bad disks leave them: cut, flipped, overwritten, missing. What is read was written.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use shopaloud::journal::{Entry, Journal, JournalOptions, OpenError, Position};

use crate::support::{
    LIMIT_BYTES, SEGMENT_BYTES, append, base_of, copy_directory, entry, number_of, numbers, open, read_all, segment_at,
    segment_files,
};

const FILE_HEADER_BYTES: u64 = 64;

/// A closed journal of four segments, and what is in it.
async fn written(directory: &Path) -> Vec<(Position, Entry)> {
    let journal = open(directory);
    for number in 0..60 {
        append(&journal, &[entry(number, 10 + usize::try_from(number * 13 % 300).unwrap())]).await;
    }
    journal.close();
    read_all(&journal, Position(0))
}

/// The file and offset at which the entry that ends at `position` ends.
fn end_of(directory: &Path, position: Position) -> (PathBuf, u64) {
    let files = segment_files(directory);
    let file = files.iter().rfind(|file| base_of(file) < position).unwrap();
    (file.clone(), FILE_HEADER_BYTES + position.0 - base_of(file).0)
}

#[tokio::test]
async fn a_tail_cut_anywhere_keeps_what_is_whole_in_front_of_it() {
    let original = tempfile::tempdir().unwrap();
    let written = written(original.path()).await;
    let (file, end) = end_of(original.path(), written[59].0);
    let (_, start) = end_of(original.path(), written[58].0);
    for cut in start..=end {
        for zeros_follow in [true, false] {
            let directory = tempfile::tempdir().unwrap();
            copy_directory(original.path(), directory.path());
            let cut_path = directory.path().join(file.file_name().unwrap());
            let cut_file = fs::OpenOptions::new().write(true).open(&cut_path).unwrap();
            let length = cut_file.metadata().unwrap().len();
            cut_file.set_len(cut).unwrap();
            if zeros_follow {
                cut_file.set_len(length).unwrap();
            }
            let is_whole = |position: Position| {
                let (path, end) = end_of(directory.path(), position);
                path != cut_path || end <= cut
            };
            let whole: Vec<_> = written.iter().filter(|(position, _)| is_whole(*position)).cloned().collect();

            let journal = open(directory.path());
            assert_eq!(read_all(&journal, Position(0)), whole, "cut at {cut}");
            assert_eq!(journal.end(), whole.last().unwrap().0);
            // And it can be written to again, with the space behind it as it was.
            append(&journal, &[entry(100, 200)]).await;
            journal.close();
            drop(journal);
            let journal = open(directory.path());
            assert_eq!(numbers(&journal).last(), Some(&100));
            assert_eq!(numbers(&journal).len(), whole.len() + 1);
            assert_eq!(journal.stats().torn_tails + journal.stats().damaged_places, 0);
            assert_eq!(cut_file.metadata().unwrap().len(), length);
        }
    }
}

#[tokio::test]
async fn garbage_behind_the_end_is_cut_and_zeroed() {
    let directory = tempfile::tempdir().unwrap();
    let written = written(directory.path()).await;
    let (file, end) = end_of(directory.path(), written[59].0);
    let length = file.metadata().unwrap().len();
    let garbage: Vec<u8> = (0..length - end).map(|index| index.to_le_bytes()[0] | 1).collect();
    fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(&garbage, end).unwrap();

    let journal = open(directory.path());
    assert_eq!(journal.stats().torn_tails, 1);
    assert_eq!(read_all(&journal, Position(0)), written);
    journal.close();
    let bytes = fs::read(&file).unwrap();
    assert!(bytes[usize::try_from(end).unwrap()..].iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn a_flipped_bit_costs_at_most_the_entry_it_is_in() {
    let original = tempfile::tempdir().unwrap();
    let written = written(original.path()).await;
    let directory = tempfile::tempdir().unwrap();
    let mut missing_ever = 0;
    for file in segment_files(original.path()) {
        let pristine = fs::read(&file).unwrap();
        // Every byte of the first frames and of the header, then a sample.
        for at in (0..pristine.len()).filter(|at| *at < 300 || at % 37 == 0) {
            copy_directory(original.path(), directory.path());
            let mut bytes = pristine.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(directory.path().join(file.file_name().unwrap()), bytes).unwrap();

            let journal = open(directory.path());
            let read = read_all(&journal, Position(0));
            assert!(read.iter().all(|found| written.contains(found)), "a wrong entry, byte {at}");
            assert!(read.is_sorted_by_key(|(position, _)| *position));
            let missing = written.len() - read.len();
            assert!(missing <= 1, "{missing} entries missing, byte {at} of {}", file.display());
            let stats = journal.stats();
            if missing == 1 {
                missing_ever += 1;
                assert_eq!(stats.damaged_places + stats.torn_tails, 1, "byte {at}");
                // Counted once, however many come by.
                numbers(&journal);
                assert_eq!(journal.stats(), stats);
            }
        }
    }
    assert!(missing_ever > 50);
}

#[tokio::test]
async fn a_lost_segment_is_reported_and_the_rest_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let written = written(directory.path()).await;
    let lost = segment_files(directory.path())[1].clone();
    fs::remove_file(&lost).unwrap();
    let journal = open(directory.path());
    assert_eq!(journal.stats().missing_segments, 1);
    let read = read_all(&journal, Position(0));
    let outside = |position: &Position| position.0 <= SEGMENT_BYTES || position.0 > 2 * SEGMENT_BYTES;
    assert_eq!(read, written.into_iter().filter(|(position, _)| outside(position)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_damaged_middle_is_passed_by_everyone_and_appending_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let written = written(directory.path()).await;
    let (file, end) = end_of(directory.path(), written[5].0);
    // Across several entries, with zeros in it as a lost page would have.
    let mut scratch = vec![0; 600];
    scratch[..300].fill(0xA5);
    fs::OpenOptions::new().write(true).open(file).unwrap().write_all_at(&scratch, end - 20).unwrap();
    let journal = open(directory.path());
    append(&journal, &[entry(77, 77)]).await;
    journal.synced_at(journal.end()).await.unwrap();
    let read = numbers(&journal);
    assert_eq!(read[..5], [0, 1, 2, 3, 4]);
    assert!(read.len() > 30 && read.last() == Some(&77));
    // The entry with a good header is stepped over by itself, the rest by a search.
    assert_eq!(journal.stats().damaged_places, 2);
}

#[tokio::test]
async fn an_unfinished_next_segment_is_thrown_away() {
    let directory = tempfile::tempdir().unwrap();
    let written = written(directory.path()).await;
    let unfinished = directory.path().join("00000000000f0000.unfinished");
    fs::write(&unfinished, "half a segment").unwrap();
    let journal = open(directory.path());
    assert!(!unfinished.exists());
    assert_eq!(read_all(&journal, Position(0)), written);
}

#[tokio::test]
async fn strange_directories_are_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path()).await;
    let options =
        || JournalOptions { dir: directory.path().into(), segment_bytes: SEGMENT_BYTES, limit_bytes: LIMIT_BYTES };

    let first = &segment_files(directory.path())[0];
    let pristine = fs::read(first).unwrap();
    let mut newer = pristine.clone();
    newer[8] = 2;
    let crc = crc32fast::hash(&newer[..32]);
    newer[32..36].copy_from_slice(&crc.to_le_bytes());
    fs::write(first, &newer).unwrap();
    let error = Journal::open(options(), drop).err().unwrap();
    assert!(matches!(error, OpenError::NewerVersion { version: 2, .. }), "{error}");

    fs::write(first, &pristine).unwrap();
    fs::copy(first, segment_at(directory.path(), 0x123)).unwrap();
    let error = Journal::open(options(), drop).err().unwrap();
    assert!(matches!(error, OpenError::Overlap { .. }), "{error}");
}

#[test]
fn numbers_tell_entries_apart() {
    assert_eq!(number_of(&entry(5, 10)), 5);
    assert_ne!(entry(5, 10), entry(6, 10));
}
