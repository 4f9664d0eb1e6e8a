//! Staged files: what they hold, and what is left after a crash.

use super::*;
use crate::{
    domain::{Arrivals, AudioFormat, SessionId, StreamId, Timestamp, UserId},
    upload::messages::BeginRun,
};

const PART: u64 = 10;

fn digest(bytes: &[u8]) -> Sha256 {
    let mut hasher = Sha256Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|index| u8::try_from(index * 31 % 251).unwrap()).collect()
}

fn sidecar(run: RunId, synced_len: u64) -> Sidecar {
    let at = Timestamp::from_unix_ms(1_000).unwrap();
    let begin = BeginRun {
        run,
        session: SessionId::new(),
        user: UserId::parse("anna").unwrap(),
        stream: StreamId::new(),
        stream_offset: 0,
        format: AudioFormat::WebM,
        at,
    };
    Sidecar { begin, synced_len, last_at: at, arrivals: Arrivals::default(), finished: false, upload: None }
}

#[test]
fn bytes_are_hashed_as_a_whole_and_by_part() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = noise(25);
    for chunk_len in [1, 3, 10, 25] {
        let mut stage = Stage::create(folder.path().join("run.part"), PART).unwrap();
        for chunk in bytes.chunks(chunk_len) {
            stage.write(chunk).unwrap();
            stage.accept(chunk);
        }
        assert_eq!(fs::read(folder.path().join("run.part")).unwrap(), bytes);
        assert_eq!((stage.len(), stage.digest()), (25, digest(&bytes)));
        assert_eq!(stage.part(1, 0, 10).sha256, digest(&bytes[..10]));
        assert_eq!(stage.part(2, 10, 10).sha256, digest(&bytes[10..20]));
        assert_eq!(stage.part(3, 20, 5).sha256, digest(&bytes[20..]));
    }
}

#[test]
fn what_was_written_but_not_accepted_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::create(folder.path().join("run.part"), PART).unwrap();
    stage.write(b"refused by the journal").unwrap();
    stage.write(b"taken").unwrap();
    stage.accept(b"taken");
    assert_eq!((stage.len(), stage.digest()), (5, digest(b"taken")));
    assert!(fs::read(folder.path().join("run.part")).unwrap().starts_with(b"taken"));
}

/// A crash at any byte: the file has anything between nothing and everything, the journal the bytes behind the sync.
#[test]
fn a_stage_cut_anywhere_behind_its_sync_is_made_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.part");
    let bytes = noise(25);
    for synced_len in 0..=bytes.len() {
        for file_len in synced_len..=bytes.len() {
            // What is behind the sync may be garbage.
            let mut on_disk = bytes[..file_len].to_vec();
            on_disk[synced_len..].fill(0xFF);
            fs::write(&path, &on_disk).unwrap();
            let mut stage = Stage::reopen(path.clone(), synced_len as u64, PART).unwrap();
            assert_eq!(stage.len(), synced_len as u64);
            // The journal keeps whole chunks, so some of what it has is synced already.
            for (index, chunk) in bytes.chunks(7).enumerate() {
                stage.replay(index as u64 * 7, chunk).unwrap();
            }
            assert_eq!(fs::read(&path).unwrap(), bytes);
            assert_eq!(stage.digest(), digest(&bytes));
            assert_eq!(stage.part(2, 10, 10).sha256, digest(&bytes[10..20]));
        }
    }
}

#[test]
fn replaying_twice_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::create(folder.path().join("run.part"), PART).unwrap();
    for _ in 0..2 {
        stage.replay(0, b"first ").unwrap();
        stage.replay(6, b"second").unwrap();
    }
    assert_eq!((stage.len(), stage.digest()), (12, digest(b"first second")));
}

#[test]
fn a_hole_is_kept_as_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::create(folder.path().join("run.part"), PART).unwrap();
    stage.replay(3, b"late").unwrap();
    assert_eq!((stage.len(), stage.digest()), (7, digest(b"\0\0\0late")));
    assert_eq!(fs::read(folder.path().join("run.part")).unwrap(), b"\0\0\0late");
}

#[test]
fn a_stage_shorter_than_its_sync_tells_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.part");
    fs::write(&path, b"half").unwrap();
    assert_eq!(Stage::reopen(path, 8, PART).unwrap().len(), 4);
}

#[test]
fn a_job_saves_and_removes() {
    let folder = tempfile::tempdir().unwrap();
    let staging = Staging::open(&folder.path().join("staging")).unwrap();
    let (kept, gone) = (RunId::new(), RunId::new());
    let mut saves = Vec::new();
    for run in [kept, gone] {
        let stage = Stage::create(staging.bytes_of(run), PART).unwrap();
        stage.write(b"bytes").unwrap();
        saves.push((stage.file(), sidecar(run, 5)));
    }
    let done = StagingJob { staging: staging.clone(), saves, removals: Vec::new() }.carry_out();
    assert_eq!(done.saved, [kept, gone]);
    assert_eq!(staging.list().unwrap().len(), 2);

    let removals = vec![gone, RunId::new()];
    let done = StagingJob { staging: staging.clone(), saves: Vec::new(), removals: removals.clone() }.carry_out();
    assert_eq!(done.removed, removals);
    let left = staging.list().unwrap();
    assert_eq!(left.keys().collect::<Vec<_>>(), [&kept]);
    assert_eq!(left[&kept].as_ref().unwrap().as_ref().unwrap().synced_len, 5);
}

#[test]
fn a_closed_stage_is_read_and_saved_but_takes_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let staging = Staging::open(folder.path()).unwrap();
    let run = RunId::new();
    let mut stage = Stage::create(staging.bytes_of(run), PART).unwrap();
    stage.replay(0, b"bytes").unwrap();
    stage.close();
    stage.replay(0, b"bytes").unwrap();
    assert!(stage.replay(5, b"more").is_err());
    assert_eq!(stage.digest(), digest(b"bytes"));
    let job = StagingJob { staging, saves: vec![(stage.file(), sidecar(run, 5))], removals: Vec::new() };
    assert_eq!(job.carry_out().saved, [run]);
}

#[test]
fn what_could_not_be_saved_is_not_called_saved() {
    let folder = tempfile::tempdir().unwrap();
    let staging = Staging::open(folder.path()).unwrap();
    let run = RunId::new();
    let stage = Stage::create(staging.bytes_of(run), PART).unwrap();
    // A directory where the sidecar has to go.
    fs::create_dir(staging.sidecar_of(run)).unwrap();
    let job = StagingJob { staging, saves: vec![(stage.file(), sidecar(run, 0))], removals: Vec::new() };
    assert!(job.carry_out().saved.is_empty());
}

#[test]
fn strangers_in_the_directory_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let staging = Staging::open(folder.path()).unwrap();
    fs::write(folder.path().join("README"), "mine").unwrap();
    fs::write(folder.path().join("not-a-run.part"), "mine").unwrap();
    assert!(staging.list().unwrap().is_empty());
}
