//! A journal against a list: random appends, reopenings, trims and damage, in any order.

use std::{fs, os::unix::fs::FileExt};

use proptest::prelude::*;
use shopaloud::journal::{Entry, Position};

use crate::support::{append, entry, open, read_all, segment_files};

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<usize>),
    Reopen,
    Release(prop::sample::Index),
    /// Overwrites some bytes somewhere behind the file headers while the journal is closed.
    Damage {
        file: prop::sample::Index,
        at: prop::sample::Index,
        bytes: Vec<u8>,
    },
    Truncate {
        file: prop::sample::Index,
        at: prop::sample::Index,
    },
}

fn steps(with_damage: bool) -> impl Strategy<Value = Vec<Step>> {
    let damage = u32::from(with_damage);
    let step = prop_oneof![
        12 => proptest::collection::vec(prop_oneof![8 => 0..300_usize, 1 => 3000..9000_usize], 0..6).prop_map(Step::Append),
        2 => Just(Step::Reopen),
        2 => any::<prop::sample::Index>().prop_map(Step::Release),
        damage => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), proptest::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(file, at, bytes)| Step::Damage { file, at, bytes }),
        damage => (any::<prop::sample::Index>(), any::<prop::sample::Index>())
            .prop_map(|(file, at)| Step::Truncate { file, at }),
    ];
    proptest::collection::vec(step, 1..40)
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let mut consumer = journal.consumer("rows");
    let mut written: Vec<(Position, Entry)> = Vec::new();
    let (mut released, mut damaged, mut number) = (Position(0), false, 0);
    for step in steps {
        match step {
            Step::Append(sizes) => {
                let entries: Vec<_> = sizes
                    .into_iter()
                    .map(|size| {
                        number += 1;
                        entry(number, size)
                    })
                    .collect();
                let before = journal.end();
                let position = append(&journal, &entries).await;
                journal.synced_at(position).await.unwrap();
                let read = read_all(&journal, before);
                prop_assert!(read.iter().map(|(_, entry)| entry).eq(&entries));
                prop_assert_eq!(read.last().map_or(before, |last| last.0), position);
                written.extend(read);
            }
            Step::Release(index) => {
                if !written.is_empty() {
                    released = released.max(written[index.index(written.len())].0);
                    consumer.release(released);
                }
            }
            Step::Reopen => {
                journal.close();
                drop((journal, consumer));
                journal = open(directory.path());
                consumer = journal.consumer("rows");
            }
            Step::Damage { file, at, bytes } => {
                journal.close();
                drop((journal, consumer));
                let files = segment_files(directory.path());
                let file = fs::OpenOptions::new().write(true).open(&files[file.index(files.len())]).unwrap();
                let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
                let at = 64 + at.index(length - 64);
                file.write_all_at(&bytes[..bytes.len().min(length - at)], at as u64).unwrap();
                damaged = true;
                journal = open(directory.path());
                consumer = journal.consumer("rows");
            }
            Step::Truncate { file, at } => {
                journal.close();
                drop((journal, consumer));
                let files = segment_files(directory.path());
                let file = fs::OpenOptions::new().write(true).open(&files[file.index(files.len())]).unwrap();
                let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
                file.set_len((64 + at.index(length - 64)) as u64).unwrap();
                damaged = true;
                journal = open(directory.path());
                consumer = journal.consumer("rows");
            }
        }
        let read = read_all(&journal, Position(0));
        if damaged {
            // Some may be missing, but what is there was written, is in order, and is there once.
            prop_assert!(read.iter().all(|found| written.contains(found)));
            prop_assert!(read.is_sorted_by(|one, next| one.0 < next.0));
            // What lies behind the last good entry may be written over.
            written = read;
        } else {
            let kept: Vec<_> = written.iter().filter(|(position, _)| *position > journal.begin()).cloned().collect();
            prop_assert!(written.iter().all(|(position, _)| *position <= released || *position > journal.begin()));
            prop_assert_eq!(read, kept);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_is_a_list_that_survives(steps in steps(false)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps))?;
    }

    #[test]
    fn damage_never_brings_a_wrong_entry(steps in steps(true)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps))?;
    }
}
