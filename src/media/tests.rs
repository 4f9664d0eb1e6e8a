//! Recordings made here byte by byte, as recorders write them and as they break.

use std::{fs, path::Path};

use sha2::Digest as _;

use super::{
    Gap, GapReason, RunFile, SAMPLES_PER_MS, Track, TrackError, Unplaced, Unreadable,
    frames::{Frames, scan},
    make_track,
    opus::OpusHead,
};
use crate::domain::{AudioFormat, Sha256};

/// A packet of one frame of 20 ms that no codec would make: only its first byte counts here.
const PACKET: [u8; 40] = [0x78; 40];
const PACKET_MS: u64 = 20;

fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [id, &(u64::from(length) | 1 << 56).to_be_bytes(), body].concat()
}

/// As a browser's recorder begins: nothing has a size.
fn header(channels: u8) -> Vec<u8> {
    let head = OpusHead { channels, pre_skip: 312 }.to_bytes();
    let audio = element(&[0xE1], &element(&[0x9F], &[channels]));
    let entry = [element(&[0xD7], &[1]), element(&[0x86], b"A_OPUS"), element(&[0x63, 0xA2], &head), audio].concat();
    [
        element(&[0x1A, 0x45, 0xDF, 0xA3], &element(&[0x42, 0x82], b"webm")),
        vec![0x18, 0x53, 0x80, 0x67, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        element(&[0x15, 0x49, 0xA9, 0x66], &element(&[0x2A, 0xD7, 0xB1], &1_000_000_u32.to_be_bytes())),
        element(&[0x16, 0x54, 0xAE, 0x6B], &element(&[0xAE], &entry)),
    ]
    .concat()
}

fn cluster(at_ms: u64, packets: u64) -> Vec<u8> {
    let mut bytes = vec![0x1F, 0x43, 0xB6, 0x75, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    bytes.extend(element(&[0xE7], &at_ms.to_be_bytes()));
    for number in 0..packets {
        let at = u16::try_from(number * PACKET_MS).unwrap().to_be_bytes();
        bytes.extend(element(&[0xA3], &[&[0x81, at[0], at[1], 0x80][..], &PACKET].concat()));
    }
    bytes
}

fn page(flags: u8, granule: u64, packets: &[&[u8]]) -> Vec<u8> {
    let mut lengths = Vec::new();
    for packet in packets {
        lengths.extend(std::iter::repeat_n(255, packet.len() / 255));
        lengths.push(u8::try_from(packet.len() % 255).unwrap());
    }
    let mut bytes = [b"OggS\0", &[flags][..], &granule.to_le_bytes(), &[7, 0, 0, 0], &[0; 8]].concat();
    bytes.push(u8::try_from(lengths.len()).unwrap());
    bytes.extend(lengths);
    bytes.extend(packets.concat());
    bytes
}

fn ogg(pages: u64) -> Vec<u8> {
    let head = OpusHead { channels: 1, pre_skip: 312 }.to_bytes();
    let mut bytes = [page(2, 0, &[&head]), page(0, 0, &[b"OpusTags and whatever"])].concat();
    for number in 1..=pages {
        bytes.extend(page(0, number * 10 * PACKET_MS * SAMPLES_PER_MS, &[&PACKET[..]; 10]));
    }
    bytes
}

/// Duration and the number of damages.
fn scanned(format: AudioFormat, bytes: &[u8]) -> (u64, u64, u64) {
    let scan = scan(format, bytes, &[]).unwrap().unwrap();
    (scan.samples / SAMPLES_PER_MS, scan.recorded / SAMPLES_PER_MS, scan.damages)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn run(&self, name: &str, format: AudioFormat, started_at: i64, bytes: &[u8]) -> RunFile {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        RunFile { path, format, sha256: Sha256(sha2::Sha256::digest(bytes).into()), started_at, marks: Vec::new() }
    }

    fn track(&self, opened_at: i64, runs: &[RunFile]) -> Result<Track, TrackError> {
        make_track(opened_at, runs, &self.out())
    }

    fn out(&self) -> std::path::PathBuf {
        self.0.path().join("track.webm")
    }
}

fn frames(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let mut frames = Frames::of(AudioFormat::WebM, &bytes[..]).unwrap();
    let mut all = Vec::new();
    while let Some(frame) = frames.next().unwrap() {
        all.push((frame.begin, frame.bytes.to_vec()));
    }
    all
}

#[test]
fn a_recording_is_read_to_where_it_was_cut_off() {
    let whole = [header(1), cluster(0, 50), cluster(1_000, 50)].concat();
    assert_eq!(scanned(AudioFormat::WebM, &whole), (2_000, 2_000, 0));
    let cut = &whole[..whole.len() - 7];
    let scan = scan(AudioFormat::WebM, cut, &[]).unwrap().unwrap();
    assert_eq!((scan.samples, scan.ends_early, scan.damages), (1_980 * SAMPLES_PER_MS, true, 0));
}

#[test]
fn what_is_missing_leaves_a_hole_and_what_is_broken_is_left_out() {
    let hole = [header(1), cluster(0, 50), cluster(1_300, 50)].concat();
    assert_eq!(scanned(AudioFormat::WebM, &hole), (2_300, 2_000, 0));
    let broken = [header(1), cluster(0, 50), vec![0; 9], cluster(1_000, 50)].concat();
    assert_eq!(scanned(AudioFormat::WebM, &broken), (2_000, 2_000, 1));
    // A block that claims to be longer than anything, and one that ends in another.
    let huge = [header(1), cluster(0, 50), vec![0xA3, 0x08, 0xFF, 0xFF, 0xFF, 0xFF], cluster(1_000, 50)].concat();
    assert_eq!(scanned(AudioFormat::WebM, &huge), (2_000, 2_000, 1));
}

#[test]
fn recordings_glued_together_follow_each_other() {
    let glued = [header(1), cluster(0, 50), header(1), cluster(0, 25)].concat();
    assert_eq!(scanned(AudioFormat::WebM, &glued), (1_500, 1_500, 0));
}

#[test]
fn a_recording_without_its_beginning_is_played_all_the_same() {
    assert_eq!(scanned(AudioFormat::Unknown, &cluster(4_000, 50)), (1_000, 1_000, 0));
    let from_a_block = &cluster(4_000, 50)[29..];
    assert_eq!(scanned(AudioFormat::Unknown, from_a_block).0, 1_000);
}

#[test]
fn what_is_no_recording_is_named() {
    let reason = |format, bytes: &[u8]| scan(format, bytes, &[]).unwrap().unwrap_err();
    assert_eq!(reason(AudioFormat::Unknown, b"hello, this is no audio at all"), Unreadable::NoContainer);
    assert_eq!(reason(AudioFormat::WebM, &header(1)), Unreadable::Empty);
    assert_eq!(reason(AudioFormat::WebM, &[header(6), cluster(0, 1)].concat()), Unreadable::Channels(6));
    assert_eq!(reason(AudioFormat::Ogg, &page(2, 0, &[b"\x01vorbis"])), Unreadable::NoOpus);
}

#[test]
fn ogg_is_read_page_by_page() {
    assert_eq!(scanned(AudioFormat::Ogg, &ogg(10)), (2_000, 2_000, 0));
    let first_length = ogg(0).len() + ogg(4).len() - ogg(3).len();
    let whole = ogg(10);
    let page_length = ogg(1).len() - ogg(0).len();
    let hole = [&whole[..first_length], &whole[first_length + 2 * page_length..]].concat();
    assert_eq!(scanned(AudioFormat::Ogg, &hole), (2_000, 1_600, 0));
    let broken = [&whole[..first_length], b"garbage", &whole[first_length..]].concat();
    assert_eq!(scanned(AudioFormat::Ogg, &broken), (2_000, 2_000, 1));
    let packet = vec![0x78; 600];
    let over_pages = [ogg(1), page(0, 0, &[&packet[..510]])].concat();
    assert_eq!(scanned(AudioFormat::Ogg, &over_pages).0, 220);
}

#[test]
fn bytes_that_had_arrived_tell_which_media_had() {
    let begin = header(1);
    let bytes = [begin.clone(), cluster(0, 50), cluster(1_000, 50)].concat();
    let first_end = (begin.len() + cluster(0, 50).len()) as u64;
    let marks = [(begin.len() as u64, 100), (first_end, 1_100), (bytes.len() as u64, 2_100)];
    let scan = scan(AudioFormat::WebM, &bytes[..], &marks).unwrap().unwrap();
    assert_eq!(scan.arrived, [(100, 0), (1_100, 1_000 * SAMPLES_PER_MS), (2_100, 2_000 * SAMPLES_PER_MS)]);
}

#[test]
fn a_track_has_every_run_at_its_place_and_silence_between() {
    let folder = Folder::new();
    let runs = [
        folder.run("2", AudioFormat::Ogg, 5_003, &ogg(10)),
        folder.run("1", AudioFormat::WebM, 1_000, &[header(2), cluster(0, 50), cluster(1_000, 50)].concat()),
        folder.run("3", AudioFormat::Mp4, 9_000, b"\0\0\0\x1cftypiso5"),
    ];
    let track = folder.track(900, &runs).unwrap();
    assert_eq!((track.origin, track.recorded_ms), (900, 4_000));
    // 5,003 is no multiple of a step away: the track is shorter by less than one.
    assert_eq!(track.duration_ms, 6_102);
    let begins: Vec<_> = track.runs.iter().map(|run| run.as_ref().map(|run| run.begin / SAMPLES_PER_MS)).collect();
    assert_eq!(begins, [Ok(4_103), Ok(100), Err(&Unplaced::OtherContainer)]);
    let gap = Gap { start_ms: 2_100, end_ms: 4_103, reason: GapReason::BetweenRuns };
    assert_eq!(track.gaps, [gap]);
    let frames = frames(&folder.out());
    let recorded: Vec<_> = frames.iter().filter(|(_, bytes)| *bytes == PACKET).map(|(begin, _)| *begin).collect();
    assert_eq!(recorded.len(), 200);
    assert_eq!((recorded[0], recorded[100]), (100 * SAMPLES_PER_MS, 4_102 * SAMPLES_PER_MS + 24));
    assert_eq!(fs::metadata(folder.out()).unwrap().len(), track.size_bytes);
}

#[test]
fn a_pause_and_a_hole_are_filled_and_told_apart() {
    let folder = Folder::new();
    let begin = header(1);
    let parts = [begin, cluster(0, 50), cluster(1_000, 50), cluster(2_500, 50)];
    let mut run = folder.run("1", AudioFormat::WebM, 10, &parts.concat());
    let ends = parts.iter().scan(0, |end, part| {
        *end += part.len() as u64;
        Some(*end)
    });
    run.marks = ends.zip([0, 1_000, 5_000, 6_500]).collect();
    let track = folder.track(0, &[run]).unwrap();
    let paused = Gap { start_ms: 1_000, end_ms: 4_000, reason: GapReason::Paused };
    let lost = Gap { start_ms: 5_000, end_ms: 5_500, reason: GapReason::Lost };
    assert_eq!(track.gaps, [paused, lost]);
    assert_eq!((track.duration_ms, track.recorded_ms), (6_500, 3_000));
}

#[test]
fn what_was_not_stored_so_is_not_joined() {
    let folder = Folder::new();
    let mut run = folder.run("1", AudioFormat::WebM, 0, &[header(1), cluster(0, 50)].concat());
    run.sha256 = Sha256([0; 32]);
    assert!(matches!(folder.track(0, &[run]), Err(TrackError::Damaged { number: 1 })));
    let nothing = folder.run("2", AudioFormat::Unknown, 0, b"nothing to hear");
    let reason = Unplaced::Unreadable(Unreadable::NoContainer);
    assert!(matches!(folder.track(0, &[nothing]), Err(TrackError::NothingToJoin { reason: found }) if found == reason));
    assert!(matches!(folder.track(0, &[]), Err(TrackError::NoParts)));
}
