//! When somebody seems to speak: an encoder spends more on speech than on a quiet room. Approximate, as it says.

use serde::{Deserialize, Serialize};

use super::SAMPLES_PER_MS;

/// Sizes are gathered in slots of this length: two bytes of memory each, 288 kB for four hours.
const SLOT_MS: u64 = 100;
/// Slots beyond this, a day, are not looked at.
const MAX_SLOTS: usize = 864_000;
/// Words are joined over pauses up to this, and noises shorter than the second are none.
const PAUSE_SLOTS: usize = 5;
const NOISE_SLOTS: usize = 2;
/// A list that nobody reads is not kept.
const MAX_SPANS: usize = 4_096;

/// A stretch of the track, in ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    pub start_ms: u64,
    pub end_ms: u64,
}

#[derive(Default)]
pub(super) struct SpeechMeter {
    slots: Vec<u16>,
}

impl SpeechMeter {
    /// A packet at `begin`, in samples of the track.
    pub(super) fn packet(&mut self, begin: u64, bytes: usize) {
        let slot = usize::try_from(begin / (SLOT_MS * SAMPLES_PER_MS)).unwrap_or(usize::MAX);
        if slot >= MAX_SLOTS {
            return;
        }
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, 0);
        }
        self.slots[slot] = self.slots[slot].saturating_add(u16::try_from(bytes).unwrap_or(u16::MAX));
    }

    /// Slots well above the quiet ones. An even stream of sizes, as of a fixed bit rate, tells nothing.
    pub(super) fn spans(self) -> Vec<Span> {
        let mut smooth: Vec<u32> = Vec::with_capacity(self.slots.len());
        for index in 0..self.slots.len() {
            let near = &self.slots[index.saturating_sub(1)..(index + 2).min(self.slots.len())];
            smooth.push(near.iter().map(|size| u32::from(*size)).sum::<u32>() / u32::try_from(near.len()).unwrap_or(1));
        }
        let mut sorted = smooth.clone();
        sorted.sort_unstable();
        let at = |tenths: usize| sorted.get((sorted.len() * tenths / 10).min(sorted.len().saturating_sub(1)));
        let (Some(&quiet), Some(&loud)) = (at(1), at(9)) else { return Vec::new() };
        if loud < quiet.max(16) * 3 / 2 {
            return Vec::new();
        }
        let threshold = quiet + (loud - quiet) / 3;
        let mut spans: Vec<(usize, usize)> = Vec::new();
        for (index, _) in smooth.iter().enumerate().filter(|(_, size)| **size > threshold) {
            match spans.last_mut() {
                Some((_, end)) if index - *end <= PAUSE_SLOTS => *end = index + 1,
                _ => spans.push((index, index + 1)),
            }
        }
        spans.retain(|(start, end)| end - start >= NOISE_SLOTS);
        spans.truncate(MAX_SPANS);
        let ms = |slot: usize| slot as u64 * SLOT_MS;
        spans.into_iter().map(|(start, end)| Span { start_ms: ms(start), end_ms: ms(end) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loud_stretches_are_found_and_even_ones_tell_nothing() {
        let (mut meter, mut even) = (SpeechMeter::default(), SpeechMeter::default());
        for packet in 0..200_u64 {
            let begin = packet * 60 * SAMPLES_PER_MS;
            meter.packet(begin, if (50..100).contains(&packet) { 400 } else { 40 });
            even.packet(begin, 200);
        }
        let spans = meter.spans();
        assert_eq!(spans.len(), 1);
        assert!(spans[0].start_ms.abs_diff(3_000) <= 200 && spans[0].end_ms.abs_diff(6_000) <= 200, "{spans:?}");
        assert_eq!(even.spans(), []);
        assert_eq!(SpeechMeter::default().spans(), []);
    }
}
