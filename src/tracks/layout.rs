//! What is where in a track, as it is kept beside it.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{AudioPart, RunId},
    media::{Gap, SAMPLES_PER_MS, Span, Track},
};

/// All times in ms from the beginning of the track.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    /// What was recorded of it.
    pub recorded_ms: u64,
    pub runs: Vec<RunLayout>,
    pub gaps: Vec<Gap>,
    /// When somebody seems to speak.
    pub speech: Vec<Span>,
}

/// Where a part is, or why it is not in the track.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunLayout {
    pub run: RunId,
    pub start_ms: Option<u64>,
    pub end_ms: Option<u64>,
    pub problem: Option<String>,
    /// Places in it that could not be read, and were left out.
    pub damages: u64,
    /// It was cut off in the middle: a page was closed.
    pub ends_early: bool,
}

impl Layout {
    /// `parts`: those that the track was made of, in the order of its runs.
    pub(super) fn of(track: &Track, parts: &[AudioPart]) -> Self {
        let runs = parts.iter().zip(&track.runs).zip(&track.scans).map(|((part, placed), scan)| {
            let at = placed.as_ref().ok();
            RunLayout {
                run: part.run,
                start_ms: at.map(|at| at.begin / SAMPLES_PER_MS),
                end_ms: at.map(|at| at.end / SAMPLES_PER_MS),
                problem: placed.as_ref().err().map(ToString::to_string),
                damages: scan.as_ref().map_or(0, |scan| scan.damages),
                ends_early: scan.as_ref().is_some_and(|scan| scan.ends_early),
            }
        });
        Self {
            recorded_ms: track.recorded_ms,
            runs: runs.collect(),
            gaps: track.gaps.clone(),
            speech: track.speech.clone(),
        }
    }
}
