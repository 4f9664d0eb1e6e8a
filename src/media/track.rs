//! One file out of a session's runs.
//!
//! Promises: the track is read back before it counts; its length is that of runs and gaps, to a step of 2.5 ms a run.
//! Refuses: runs that are not what was stored: their digests are checked as they are read.

use std::{
    fs::File,
    io::{self, BufWriter, Read},
    path::{Path, PathBuf},
};

use sha2::Digest as _;

use super::{
    DRIFT_TOLERATED, SAMPLES_PER_MS, Scan, Span, Unreadable,
    frames::{Frames, scan},
    opus::{self, OpusHead},
    placing::{Anchor, Gap, GapReason, Placed, PlacedRun, Unplaced, place},
    speech::SpeechMeter,
    writer::TrackWriter,
};
use crate::domain::{AudioFormat, Sha256};

/// Gaps beyond this are not listed one by one.
const MAX_GAPS: usize = 4_096;

/// A run, as a local file.
pub struct RunFile {
    pub path: PathBuf,
    pub format: AudioFormat,
    pub sha256: Sha256,
    /// The server's clock when its first bytes arrived, in ms.
    pub started_at: i64,
    /// By when its bytes up to an offset had arrived: `(offset, server's clock in ms)`, both rising.
    pub marks: Vec<(u64, i64)>,
}

/// What was made.
#[derive(Debug)]
pub struct Track {
    pub size_bytes: u64,
    pub sha256: Sha256,
    /// When it begins, by the server's clock, in ms: with the session, or a little before.
    pub origin: i64,
    pub duration_ms: u64,
    /// What was recorded of it, in ms.
    pub recorded_ms: u64,
    /// What became of each run, in the order given.
    pub runs: Vec<PlacedRun>,
    /// What was found in them.
    pub scans: Vec<Option<Scan>>,
    pub gaps: Vec<Gap>,
    pub speech: Vec<Span>,
}

/// Why there is no track.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    #[error("cannot read or write audio: {0}")]
    Io(#[from] io::Error),
    #[error("part {number} is not what was stored")]
    Damaged { number: usize },
    #[error("no part can be joined: {reason}")]
    NothingToJoin { reason: Unplaced },
    #[error("the session has no audio")]
    NoParts,
    #[error("the track does not read back: {written} samples were written, {read} read")]
    DoesNotReadBack { written: u64, read: u64 },
}

/// Makes the track of a session that began at `opened_at` (the server's clock, in ms) in the file `into`.
///
/// # Errors
/// [`TrackError`]; what is in the file then means nothing.
pub fn make_track(opened_at: i64, runs: &[RunFile], into: &Path) -> Result<Track, TrackError> {
    let mut scanned = Vec::with_capacity(runs.len());
    for (index, run) in runs.iter().enumerate() {
        scanned.push(read_run(index + 1, run)?);
    }
    let (origin, placed) = place(opened_at, &scanned);
    let scans: Vec<Option<Scan>> = scanned.into_iter().map(|run| run.ok().map(|(scan, _)| scan)).collect();
    let Some(head) = head_of(&scans, &placed) else {
        let reason = placed.iter().find_map(|run| run.as_ref().err()).copied();
        return Err(reason.map_or(TrackError::NoParts, |reason| TrackError::NothingToJoin { reason }));
    };
    let mut making = Making {
        writer: TrackWriter::begin(BufWriter::new(File::create(into)?), head)?,
        gaps: Vec::new(),
        speech: SpeechMeter::default(),
        recorded: 0,
    };
    let mut order: Vec<(&RunFile, &Placed)> =
        runs.iter().zip(&placed).filter_map(|(run, placed)| Some((run, placed.as_ref().ok()?))).collect();
    order.sort_by_key(|(_, placed)| placed.begin);
    for (run, placed) in order {
        making.add(run, placed)?;
    }
    let written = making.writer.position();
    let (out, size_bytes) = making.writer.end()?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
    let (scanned, sha256) = scan_file(into, AudioFormat::WebM, &[])?;
    let read = scanned.map_or(0, |scan| scan.recorded);
    if read != written {
        return Err(TrackError::DoesNotReadBack { written, read });
    }
    Ok(Track {
        size_bytes,
        sha256,
        origin,
        duration_ms: written / SAMPLES_PER_MS,
        recorded_ms: making.recorded / SAMPLES_PER_MS,
        runs: placed,
        scans,
        gaps: making.gaps,
        speech: making.speech.spans(),
    })
}

type ReadRun = Result<(Scan, Anchor), Unplaced>;

fn read_run(number: usize, run: &RunFile) -> Result<ReadRun, TrackError> {
    let (scanned, sha256) = scan_file(&run.path, run.format, &run.marks)?;
    if sha256 != run.sha256 {
        return Err(TrackError::Damaged { number });
    }
    Ok(match scanned {
        _ if run.format == AudioFormat::Mp4 => Err(Unplaced::OtherContainer),
        Err(unreadable) => Err(unreadable.into()),
        Ok(scan) => {
            let anchor = Anchor::of(&scan, run.started_at);
            Ok((scan, anchor))
        }
    })
}

/// What is in a file, and the digest of all of it.
fn scan_file(path: &Path, format: AudioFormat, marks: &[(u64, i64)]) -> io::Result<(Result<Scan, Unreadable>, Sha256)> {
    let mut digesting = Digesting { file: File::open(path)?, hasher: sha2::Sha256::new() };
    let scanned = scan(format, &mut digesting, marks)?;
    // What the reader had no need for is of the file too.
    io::copy(&mut digesting, &mut io::sink())?;
    Ok((scanned, Sha256(digesting.hasher.finalize().into())))
}

struct Digesting {
    file: File,
    hasher: sha2::Sha256,
}

impl Read for Digesting {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.hasher.update(&into[..count]);
        Ok(count)
    }
}

/// As many channels as any run has; the delay of the first one's encoder.
fn head_of(scans: &[Option<Scan>], placed: &[PlacedRun]) -> Option<OpusHead> {
    let joined = || scans.iter().zip(placed).filter_map(|(scan, placed)| Some((scan.as_ref()?, placed.as_ref().ok()?)));
    let (first, _) = joined().min_by_key(|(_, placed)| placed.begin)?;
    let channels = joined().map(|(scan, _)| scan.channels).max()?;
    Some(OpusHead { channels, pre_skip: first.pre_skip })
}

struct Making {
    writer: TrackWriter<BufWriter<File>>,
    gaps: Vec<Gap>,
    speech: SpeechMeter,
    recorded: u64,
}

impl Making {
    fn add(&mut self, run: &RunFile, placed: &Placed) -> Result<(), TrackError> {
        let Some(mut frames) = Frames::of(run.format, File::open(&run.path)?) else { return Ok(()) };
        let mut delays = placed.delays.iter().peekable();
        let (mut held_up, mut frames_end) = (0, None);
        while let Some(frame) = frames.next()? {
            let mut reason = match frames_end {
                None => GapReason::BetweenRuns,
                Some(end) if frame.begin > end => GapReason::Lost,
                Some(_) => GapReason::Paused,
            };
            while let Some(delay) = delays.next_if(|delay| delay.at <= frame.begin) {
                held_up = delay.total;
                reason = if frames_end.is_some() { GapReason::Paused } else { reason };
            }
            frames_end = Some(frame.begin + frame.samples);
            let wanted = placed.begin.saturating_add(frame.begin).saturating_add(held_up);
            self.fill(wanted, reason)?;
            self.speech.packet(self.writer.position(), frame.bytes.len());
            self.writer.packet(frame.bytes, frame.samples)?;
            self.recorded += frame.samples;
        }
        Ok(())
    }

    /// Silence up to `wanted`, or just before it.
    fn fill(&mut self, wanted: u64, reason: GapReason) -> io::Result<()> {
        let begin = self.writer.position();
        if wanted.saturating_sub(begin) > DRIFT_TOLERATED && self.gaps.len() < MAX_GAPS {
            let (start_ms, end_ms) = (begin / SAMPLES_PER_MS, wanted / SAMPLES_PER_MS);
            self.gaps.push(Gap { start_ms, end_ms, reason });
        }
        while let Some((packet, samples)) = opus::silence(wanted.saturating_sub(self.writer.position())) {
            self.writer.packet(packet, samples)?;
        }
        Ok(())
    }
}
