//! `kill -9` of a real process that appends, rolls and trims: what it said was durable is there.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use shopaloud::journal::{Journal, Position};

use crate::support::{append, entry, number_of, open_with, read_all};

/// Where the child writes; set only for the child.
const CHILD_DIRECTORY: &str = "JOURNAL_CRASH_CHILD_DIRECTORY";
const THREADS: u64 = 3;

fn open(directory: &Path) -> Journal {
    open_with(directory, 64 << 10, 16 << 20)
}

fn size_of(number: u64) -> usize {
    usize::try_from(number * 7919 % 3000).unwrap()
}

/// Not a test of its own: the body of the process that gets killed. Without its variable it has nothing to do.
#[test]
fn child_that_is_killed() {
    let Some(directory) = env::var_os(CHILD_DIRECTORY) else { return };
    let journal = open(Path::new(&directory));
    let consumer = journal.consumer("rows");
    let next = read_all(&journal, Position(0)).iter().map(|(_, entry)| number_of(entry) % 1_000_000).max();
    let first = next.map_or(0, |number| number + 1);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (journal, consumer) = (journal.clone(), consumer.clone());
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    for number in first.. {
                        let position = append(&journal, &[entry(thread * 1_000_000 + number, size_of(number))]).await;
                        journal.synced_at(position).await.unwrap();
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "durable {} {}", thread * 1_000_000 + number, position.0).unwrap();
                        out.flush().unwrap();
                        drop(out);
                        // Far behind, so that there is always something left to compare.
                        consumer.release(Position(position.0.saturating_sub(2 << 20)));
                    }
                });
            });
        }
    });
}

#[test]
fn acknowledged_entries_survive_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..8 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::child_that_is_killed", "--nocapture", "--test-threads=1"])
            .env(CHILD_DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut enough = 200 + round * 97;
        for line in lines {
            // The last line may be cut by the kill, and the harness prints lines of its own.
            let line = line.unwrap();
            let mut words = line.split_whitespace().skip_while(|word| *word != "durable").skip(1);
            if let (Some(number), Some(position)) = (words.next(), words.next()) {
                acknowledged.push((number.parse::<u64>().unwrap(), position.parse::<u64>().unwrap_or(0)));
            }
            enough -= 1;
            if enough == 0 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();

        let journal = open(directory.path());
        let begin = journal.begin();
        let found = read_all(&journal, Position(0));
        for (number, position) in acknowledged.iter().filter(|(_, position)| *position > begin.0) {
            let at = found.binary_search_by_key(position, |(position, _)| position.0).expect("an acknowledged entry");
            assert_eq!(found[at].1, entry(*number, size_of(*number % 1_000_000)));
        }
        assert_eq!(journal.stats().damaged_places + journal.stats().missing_segments, 0);
    }
    assert!(acknowledged.len() > 2000);
}
