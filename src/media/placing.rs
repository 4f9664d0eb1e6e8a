//! Where runs lie on the session's clock. Pure.
//!
//! A run is anchored, and kept on the clock, by when its bytes arrived. Bytes can be late, never early, and media can fall
//! behind the clock (a pause), never get ahead of it. So the best guess at any point is the least delay of all that
//! follows it: a network that stalls and catches up leaves no trace, a pause stays.
//! Events are stamped by the same clock at the same door, so the way that both took cancels out.

use serde::{Deserialize, Serialize};

use super::{DRIFT_TOLERATED_MS, SAMPLES_PER_MS, Scan};

/// Runs that lie over the one before by more than this were recorded beside it, in another tab; less is how well arrivals
/// tell the time.
const OVERLAP_TOLERATED: u64 = 1_000 * SAMPLES_PER_MS;

/// A point of a run behind which its media comes later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Delay {
    /// In samples of the run's media.
    pub(super) at: u64,
    /// By how much in all, in samples.
    pub(super) total: u64,
}

/// When a run began, and how its media was held up since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Anchor {
    /// The server's clock, in ms.
    pub(super) began_at: i64,
    pub(super) delays: Vec<Delay>,
}

impl Anchor {
    /// `fallback`: when its first byte arrived, for a run of whose arrivals no more is known.
    pub(super) fn of(scan: &Scan, fallback: i64) -> Self {
        let told: Vec<(i64, u64)> = scan.arrived.iter().copied().filter(|(_, samples)| *samples > 0).collect();
        let mut least: Vec<i64> = told.iter().map(|(at, samples)| at.saturating_sub(to_ms(*samples))).collect();
        for index in (1..least.len()).rev() {
            least[index - 1] = least[index - 1].min(least[index]);
        }
        let Some(&began_at) = least.first() else { return Self { began_at: fallback, delays: Vec::new() } };
        let mut delays = Vec::new();
        let mut delay = began_at;
        for (index, &now) in least.iter().enumerate().skip(1) {
            if now - delay > i64::try_from(DRIFT_TOLERATED_MS).unwrap_or(i64::MAX) {
                delay = now;
                delays.push(Delay { at: told[index - 1].1, total: to_samples(now - began_at) });
            }
        }
        Self { began_at, delays }
    }

    fn held_up(&self) -> u64 {
        self.delays.last().map_or(0, |delay| delay.total)
    }
}

/// A run in the track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// In samples from the beginning of the track.
    pub begin: u64,
    pub end: u64,
    pub(super) delays: Vec<Delay>,
}

/// Why a run is not in the track.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unplaced {
    #[error(transparent)]
    Unreadable(#[from] super::Unreadable),
    #[error("its container is kept as it is")]
    OtherContainer,
    #[error("another run was recorded at the same time")]
    Overlaps,
}

/// What became of a run.
pub type PlacedRun = Result<Placed, Unplaced>;

/// Why there is silence that nobody recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GapReason {
    /// Nothing was recorded.
    BetweenRuns,
    /// A run paused, or its clock fell behind.
    Paused,
    /// Media is missing in a run.
    Lost,
}

/// Silence of more than [`DRIFT_TOLERATED_MS`] that was put in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    pub start_ms: u64,
    pub end_ms: u64,
    pub reason: GapReason,
}

/// Places runs, given in any order. `opened_at`: when the session began. Answers when the track begins (the earlier of
/// both) and a place for each run, in the order given.
pub(super) fn place(opened_at: i64, runs: &[Result<(Scan, Anchor), Unplaced>]) -> (i64, Vec<PlacedRun>) {
    let readable = || runs.iter().enumerate().filter_map(|(index, run)| Some((index, run.as_ref().ok()?)));
    let origin = readable().map(|(_, (_, anchor))| anchor.began_at).fold(opened_at, i64::min);
    let mut order: Vec<_> = readable().collect();
    order.sort_by_key(|(index, (_, anchor))| (anchor.began_at, *index));
    let mut placed: Vec<PlacedRun> =
        runs.iter().map(|run| Err(run.as_ref().err().copied().unwrap_or(Unplaced::Overlaps))).collect();
    let mut free = 0;
    for (index, (scan, anchor)) in order {
        let wanted = to_samples(anchor.began_at - origin);
        if wanted + OVERLAP_TOLERATED < free {
            continue;
        }
        let begin = wanted.max(free);
        let end = begin.saturating_add(scan.samples).saturating_add(anchor.held_up());
        placed[index] = Ok(Placed { begin, end, delays: anchor.delays.clone() });
        free = end;
    }
    (origin, placed)
}

fn to_ms(samples: u64) -> i64 {
    i64::try_from(samples / SAMPLES_PER_MS).unwrap_or(i64::MAX)
}

/// Nothing before zero.
fn to_samples(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0).saturating_mul(SAMPLES_PER_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks of 300 ms; `late(n)` ms after they were recorded.
    fn scanned(chunks: u64, late: impl Fn(u64) -> i64) -> Scan {
        let at = |n: u64| i64::try_from(n * 300).unwrap() + late(n);
        Scan {
            channels: 1,
            pre_skip: 312,
            samples: chunks * 300 * SAMPLES_PER_MS,
            recorded: chunks * 300 * SAMPLES_PER_MS,
            frames: chunks * 5,
            damages: 0,
            ends_early: false,
            arrived: (0..=chunks).map(|n| (at(n), n * 300 * SAMPLES_PER_MS)).collect(),
        }
    }

    #[test]
    fn a_run_began_when_its_first_audio_came_less_its_length() {
        let anchor = Anchor::of(&scanned(20, |n| 1_000 + i64::try_from(n % 3).unwrap() * 20), 77);
        assert_eq!(anchor, Anchor { began_at: 1_000, delays: Vec::new() });
        let unknown = Anchor::of(&Scan { arrived: Vec::new(), ..scanned(1, |_| 0) }, 77);
        assert_eq!(unknown.began_at, 77);
    }

    #[test]
    fn a_stall_that_catches_up_leaves_no_trace() {
        let anchor = Anchor::of(
            &scanned(40, |n| if (10..20).contains(&n) { 6_000 - i64::try_from(n - 10).unwrap() * 300 } else { 50 }),
            0,
        );
        assert_eq!(anchor, Anchor { began_at: 50, delays: Vec::new() });
    }

    #[test]
    fn a_pause_stays() {
        let anchor = Anchor::of(&scanned(40, |n| if n > 10 { 3_040 } else { 40 }), 0);
        let paused = Delay { at: 10 * 300 * SAMPLES_PER_MS, total: 3_000 * SAMPLES_PER_MS };
        assert_eq!(anchor, Anchor { began_at: 40, delays: vec![paused] });
    }

    #[test]
    fn drift_is_bridged_when_it_is_large_enough() {
        // A recorder's clock that is slow by 1 %, for 30 s.
        let anchor = Anchor::of(&scanned(100, |n| i64::try_from(n * 3).unwrap()), 0);
        assert_eq!(anchor.delays.len(), 2);
        assert!(anchor.delays.iter().all(|delay| delay.total <= 300 * SAMPLES_PER_MS));
    }

    #[test]
    fn runs_follow_each_other_and_tabs_beside_each_other_do_not_mix() {
        let run = |began_at: i64| Ok((scanned(10, |_| began_at), Anchor { began_at, delays: Vec::new() }));
        let runs = [run(9_000), run(1_000), run(2_000), run(3_900), Err(Unplaced::OtherContainer)];
        let (origin, placed) = place(1_200, &runs);
        assert_eq!(origin, 1_000);
        let begins: Vec<_> = placed.iter().map(|run| run.as_ref().map(|run| run.begin / SAMPLES_PER_MS)).collect();
        // The last one lies over the first by a little: it comes after it, and is not squeezed.
        assert_eq!(begins[..2], [Ok(8_000), Ok(0)]);
        assert_eq!(begins[2], Err(&Unplaced::Overlaps));
        assert_eq!(begins[3], Ok(3_000));
        assert_eq!(begins[4], Err(&Unplaced::OtherContainer));
    }
}
