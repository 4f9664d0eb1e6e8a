//! What shoppers say, as a function of a seed: nothing that was sent has to be remembered to be compared later.
//!
//! Promises: every event tells in its data which one it is; any sixteen bytes of audio, wherever they were cut, tell
//! whose they are and where in the stream they belong.
//! Refuses: positions in audio that are no multiple of [`WORD_BYTES`].

use std::fmt::Write as _;

use serde::Deserialize;

/// Audio is made of words of this size. Runs and chunks begin and end between two.
pub(crate) const WORD_BYTES: u64 = 8;

/// What a recorder's first chunk has, before any sound.
pub(crate) const HEADER_BYTES: u64 = 208;

const NAMES: [&str; 5] = ["mouse:position", "scroll:position", "click:event", "dom:mutation", "videoStream:start"];

/// Texts that JSON takes and databases often do not.
const ODDITIES: [&str; 6] = [r"\u0000", r"\ud800", "é", "🛒", r#"\""#, r"\\"];

/// One stream of one shopper.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct StreamName {
    /// Below 2^20.
    pub(crate) shopper: u32,
    /// Below 2^14, counted by the shopper from 0.
    pub(crate) stream: u32,
}

/// What one event says.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct EventContent {
    pub(crate) name: &'static str,
    /// JSON.
    pub(crate) data: String,
}

/// What an event tells of itself.
#[derive(Deserialize)]
struct Label {
    of: (u32, u32),
    n: u64,
}

/// Everything that all shoppers of a load will ever say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    seed: u64,
    sizes: EventSizes,
}

/// How large events are. Most have some hundred bytes, a few some thousand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventSizes {
    /// One in so many is larger.
    pub(crate) large_every: u64,
    /// Up to about this.
    pub(crate) max_bytes: u64,
}

impl Content {
    pub(crate) const fn new(seed: u64, sizes: EventSizes) -> Self {
        Self { seed, sizes }
    }

    /// The shop's name for a shopper. Loads with different seeds are different people.
    pub(crate) fn user(&self, shopper: u32) -> String {
        format!("shopper-{:x}-{shopper}", self.seed)
    }

    /// The `n`th event of a stream.
    pub(crate) fn event(&self, of: StreamName, n: u64) -> EventContent {
        let roll = mix(self.seed ^ mix(pack(of, n)) ^ 0x5EED);
        let EventSizes { large_every, max_bytes } = self.sizes;
        let pad_bytes = match roll % 300 {
            _ if mix(roll ^ 1).is_multiple_of(large_every) => 600 + mix(roll) % max_bytes.max(1),
            0..=8 => 2_000 + mix(roll) % 25_000,
            _ => 20 + mix(roll) % 500,
        };
        let name = NAMES[usize::try_from(roll >> 32).unwrap_or_default() % NAMES.len()];
        let user = self.user(of.shopper);
        let mut data = format!(r#"{{"username":"{user}","of":[{},{}],"n":{n},"pad":""#, of.shopper, of.stream);
        let end = data.len() as u64 + pad_bytes;
        let mut word = roll;
        while (data.len() as u64) < end {
            word = mix(word);
            if word.is_multiple_of(64) {
                data.push_str(ODDITIES[usize::try_from(word >> 32).unwrap_or_default() % ODDITIES.len()]);
            }
            // Writing to a string cannot fail.
            let _ = write!(data, "{word:016x}");
        }
        data.push_str("\"}");
        EventContent { name, data }
    }

    /// Which event this is, by its own account.
    pub(crate) fn label_of(data: &str) -> Option<(StreamName, u64)> {
        let Label { of: (shopper, stream), n } = serde_json::from_str(data).ok()?;
        Some((StreamName { shopper, stream }, n))
    }

    /// Bytes of a stream's audio. `runs` are the offsets where recorders were started, in order.
    pub(crate) fn audio(&self, of: StreamName, from: u64, to: u64, runs: &[u64]) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (from / WORD_BYTES..to / WORD_BYTES).flat_map(|word| self.word(of, word).to_be_bytes()).collect();
        for run in runs.iter().copied().filter(|run| *run < to && from < run + HEADER_BYTES) {
            let header = self.webm_header(of, run);
            for at in from.max(run)..to.min(run + HEADER_BYTES) {
                if let (Some(byte), Some(known)) = (get_mut(&mut bytes, at - from), get(&header, at - run)) {
                    *byte = known;
                }
            }
        }
        bytes
    }

    /// Whose audio `bytes` is, and where in the stream its first byte belongs.
    pub(crate) fn locate(&self, bytes: &[u8]) -> Option<(StreamName, u64)> {
        if bytes.starts_with(&EBML) {
            let word = u64::from_be_bytes(bytes.get(LABEL_AT..LABEL_AT + 8)?.try_into().ok()?);
            return Some(self.place_of(word));
        }
        for skipped in 0..WORD_BYTES.min(bytes.len() as u64) {
            let at = usize::try_from(skipped).ok()?;
            let words = bytes.get(at..at + 16)?;
            let (first, second) = words.split_at(8);
            let (of, offset) = self.place_of(u64::from_be_bytes(first.try_into().ok()?));
            let next = self.place_of(u64::from_be_bytes(second.try_into().ok()?));
            if next == (of, offset + WORD_BYTES) {
                return Some((of, offset.checked_sub(skipped)?));
            }
        }
        None
    }

    fn word(&self, of: StreamName, index: u64) -> u64 {
        mix(pack(of, index) ^ self.seed)
    }

    fn place_of(&self, word: u64) -> (StreamName, u64) {
        let (of, index) = unpack(unmix(word) ^ self.seed);
        (of, index * WORD_BYTES)
    }

    /// EBML header, an endless segment, and info whose writing application is the label.
    fn webm_header(&self, of: StreamName, run: u64) -> Vec<u8> {
        let mut header = Vec::with_capacity(208);
        header.extend(EBML);
        header.extend([0x9F, 0x42, 0x86, 0x81, 0x01, 0x42, 0xF7, 0x81, 0x01, 0x42, 0xF2, 0x81, 0x04, 0x42, 0xF3]);
        header.extend([0x81, 0x08, 0x42, 0x82, 0x84]);
        header.extend(b"webm");
        header.extend([0x42, 0x87, 0x81, 0x04, 0x42, 0x85, 0x81, 0x02]);
        header.extend([0x18, 0x53, 0x80, 0x67, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        header.extend([0x15, 0x49, 0xA9, 0x66, 0x8B, 0x57, 0x41, 0x88]);
        header.extend(self.word(of, run / WORD_BYTES).to_be_bytes());
        // A void element fills the rest.
        header.extend([0xEC, 0x40, 0x8D]);
        header.resize(208, 0);
        header
    }
}

const EBML: [u8; 4] = [0x1A, 0x45, 0xDF, 0xA3];
/// Where in a header its label is.
const LABEL_AT: usize = 56;

fn get(bytes: &[u8], at: u64) -> Option<u8> {
    bytes.get(usize::try_from(at).ok()?).copied()
}

fn get_mut(bytes: &mut [u8], at: u64) -> Option<&mut u8> {
    bytes.get_mut(usize::try_from(at).ok()?)
}

const fn pack(of: StreamName, index: u64) -> u64 {
    (of.shopper as u64) << 44 | (of.stream as u64) << 30 | index
}

fn unpack(word: u64) -> (StreamName, u64) {
    let bits = |from: u32, count: u32| (word >> from) & ((1 << count) - 1);
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    (StreamName { shopper: small(bits(44, 20)), stream: small(bits(30, 14)) }, bits(0, 30))
}

/// The finish of splitmix64: looks random, and can be undone.
pub(crate) const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

const fn unmix(word: u64) -> u64 {
    let word = (word ^ (word >> 31) ^ (word >> 62)).wrapping_mul(0x3196_42B2_D24D_8EC3);
    let word = (word ^ (word >> 27) ^ (word >> 54)).wrapping_mul(0x96DE_1B17_3F11_9089);
    word ^ (word >> 30) ^ (word >> 60)
}
