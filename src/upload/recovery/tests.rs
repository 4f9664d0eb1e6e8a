//! What a restart finds, and what it makes of it.

use std::fs::{self, File};

use bytes::Bytes;

use super::*;
use crate::{
    domain::{Arrivals, AudioFormat, SessionId, StreamId, UserId},
    journal::AudioFinished,
    upload::{sidecar::Sidecar, staging::StagingJob},
};

const PART: u64 = 10;

struct Node {
    _folder: tempfile::TempDir,
    staging: Staging,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { staging: Staging::open(folder.path()).unwrap(), _folder: folder }
    }

    fn recover(&self, entries: &[Entry]) -> Recovered {
        let mut recovery = Recovery::begin(&self.staging, PART, &|_| true).unwrap();
        for entry in entries {
            recovery.entry(entry.clone()).unwrap();
        }
        recovery.end()
    }

    fn bytes(&self, run: RunId) -> Vec<u8> {
        fs::read(self.staging.bytes_of(run)).unwrap()
    }

    /// A run with bytes in its stage, of which the sidecar vouches for the first `synced_len`.
    fn stage(&self, begin: &BeginRun, bytes: &[u8], synced_len: u64) {
        let stage = Stage::create(self.staging.bytes_of(begin.run), PART).unwrap();
        stage.write(bytes).unwrap();
        let sidecar = Sidecar {
            begin: begin.clone(),
            synced_len,
            last_at: at(1),
            arrivals: Arrivals::default(),
            finished: false,
            upload: None,
        };
        let job =
            StagingJob { staging: self.staging.clone(), saves: vec![(stage.file(), sidecar)], removals: Vec::new() };
        assert_eq!(job.carry_out().saved.len(), 1);
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms).unwrap()
}

fn begin() -> BeginRun {
    BeginRun {
        run: RunId::new(),
        session: SessionId::new(),
        user: UserId::parse("anna").unwrap(),
        stream: StreamId::new(),
        stream_offset: 100,
        format: AudioFormat::WebM,
        at: at(0),
    }
}

fn chunk(begin: &BeginRun, offset: u64, bytes: &'static [u8]) -> Entry {
    Entry::AudioChunk(AudioChunk { run: begin.run, offset, at: at(7), bytes: Bytes::from_static(bytes) })
}

#[test]
fn a_run_that_only_the_journal_has_is_staged_again() {
    let (node, begin) = (Node::new(), begin());
    let entries = [begin.to_entry(), chunk(&begin, 0, b"abc"), chunk(&begin, 3, b"def")];
    let found = node.recover(&entries);
    let run = &found.runs[&begin.run];
    assert_eq!((&run.begin, run.finished, run.last_at), (&begin, false, at(7)));
    assert_eq!(node.bytes(begin.run), b"abcdef");

    let finished = Entry::AudioFinished(AudioFinished { run: begin.run, at: at(9) });
    let again = node.recover(&[&entries[..], &[finished]].concat());
    assert!(again.runs[&begin.run].finished);
    assert_eq!((node.bytes(begin.run), again.damaged), (b"abcdef".to_vec(), 0));
    assert!(again.leftovers.is_empty());
}

#[test]
fn a_stage_goes_on_where_its_sidecar_ends() {
    let (node, begin) = (Node::new(), begin());
    node.stage(&begin, b"abcGARBAGE", 3);
    let found = node.recover(&[chunk(&begin, 2, b"cd"), chunk(&begin, 4, b"ef")]);
    assert_eq!(found.runs[&begin.run].stage.as_ref().unwrap().len(), 6);
    assert_eq!((node.bytes(begin.run), found.damaged), (b"abcdef".to_vec(), 0));
}

#[test]
fn a_stored_run_is_not_uploaded_again() {
    let (node, begin) = (Node::new(), begin());
    node.stage(&begin, b"abc", 3);
    let found = node.recover(&[chunk(&begin, 0, b"abc"), Entry::AudioStored(begin.run)]);
    assert!(found.runs.is_empty());
    assert_eq!(found.leftovers.into_iter().collect::<Vec<_>>(), [begin.run]);

    // Its files are gone, and so is the beginning of what the journal has of it.
    let found = Node::new().recover(&[chunk(&begin, 3, b"def"), Entry::AudioStored(begin.run)]);
    assert_eq!((found.runs.len(), found.damaged), (0, 0));
}

#[test]
fn bytes_that_nobody_vouches_for_are_cleared_away() {
    let (node, begin) = (Node::new(), begin());
    fs::write(node.staging.bytes_of(begin.run), "never acknowledged").unwrap();
    let found = node.recover(&[]);
    assert_eq!((found.runs.len(), found.leftovers.len(), found.damaged), (0, 1, 0));
}

#[test]
fn damage_is_counted_and_the_rest_is_kept() {
    let (node, cut, torn) = (Node::new(), begin(), begin());
    node.stage(&cut, b"abcdef", 6);
    File::options().write(true).open(node.staging.bytes_of(cut.run)).unwrap().set_len(2).unwrap();
    node.stage(&torn, b"abc", 3);
    let sidecar = node.staging.bytes_of(torn.run).with_extension("json");
    fs::write(&sidecar, "{").unwrap();

    let found = node.recover(&[chunk(&cut, 6, b"gh"), chunk(&torn, 3, b"d")]);
    assert_eq!(node.bytes(cut.run), b"ab\0\0\0\0gh");
    assert_eq!(found.runs.keys().collect::<Vec<_>>(), [&cut.run]);
    // Its files stay for a person to look at.
    assert!(found.leftovers.is_empty() && sidecar.exists());
    assert_eq!(found.damaged, 4, "cut, its hole, torn, its headless chunk");
}

#[test]
fn runs_of_other_actors_are_left_alone() {
    let (node, begin) = (Node::new(), begin());
    node.stage(&begin, b"abc", 3);
    let recovery = Recovery::begin(&node.staging, PART, &|_| false).unwrap();
    let found = recovery.end();
    assert!(found.runs.is_empty() && found.leftovers.is_empty());
    assert_eq!(node.bytes(begin.run), b"abc");
}
