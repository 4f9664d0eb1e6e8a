//! WebM as recorders write it: clusters of unknown size, cut off anywhere, two recordings in one file, holes.
//!
//! Promises: elements are read one after the other, flat: no depth costs anything. What cannot be read is left out up to
//! the next cluster. Refuses: to believe a size; it is skipped or read in bounds.

use std::{
    io::{self, Read},
    ops::Range,
};

use super::{
    DRIFT_TOLERATED, SAMPLES_PER_MS, Unreadable,
    frames::Reading,
    opus::{self, OpusHead},
    source::Source,
};

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_A966;
const TIMESTAMP_SCALE: u32 = 0x002A_D7B1;
const TRACKS: u32 = 0x1654_AE6B;
const TRACK_ENTRY: u32 = 0xAE;
const TRACK_NUMBER: u32 = 0xD7;
const CODEC_ID: u32 = 0x86;
const CODEC_PRIVATE: u32 = 0x63A2;
const AUDIO: u32 = 0xE1;
const CHANNELS: u32 = 0x9F;
const CLUSTER: u32 = 0x1F43_B675;
const TIMESTAMP: u32 = 0xE7;
const BLOCK_GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;
const SIMPLE_BLOCK: u32 = 0xA3;

/// A description of tracks is some 200 bytes.
const MAX_TRACKS_BYTES: u64 = 64 * 1024;
/// More than the 256 packets of a lace of usual size.
const MAX_BLOCK_BYTES: u64 = 1024 * 1024;
/// What recorders use when they say nothing.
const NS_PER_MS: u64 = 1_000_000;
/// What browsers' encoders need, for a recording that lost its beginning.
const USUAL_PRE_SKIP: u16 = 312;

pub(super) struct WebmFrames<R> {
    pub(super) source: Source<R>,
    pub(super) reading: Reading,
    track: u64,
    /// The tracks of this recording were not seen: its first block decides.
    track_is_guessed: bool,
    scale_ns: u64,
    cluster: Option<i64>,
    /// Where the media of this recording begins on its own clock, in samples, and in the file's frames.
    base: Option<(i64, u64)>,
}

impl<R: Read> WebmFrames<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            source: Source::new(reader),
            reading: Reading::new(),
            track: 0,
            track_is_guessed: true,
            scale_ns: NS_PER_MS,
            cluster: None,
            base: None,
        }
    }

    /// Reads one element; `false` at the end.
    pub(super) fn element(&mut self) -> io::Result<bool> {
        let Some(first) = self.source.byte()? else { return Ok(false) };
        let Some(id) = self.rest_of_vint(first, 4)? else { return self.resynchronise() };
        let Ok(id) = u32::try_from(id) else { return self.resynchronise() };
        let Some(first) = self.source.byte()? else { return Ok(self.reading.cut_off()) };
        let Some(coded) = self.rest_of_vint(first, 8)? else { return self.resynchronise() };
        let size = size_of(first, coded);
        match (id, size) {
            (EBML, Some(size)) => {
                // Another recording in the same file has a clock of its own.
                (self.base, self.cluster) = (None, None);
                self.skip(size)
            }
            (SEGMENT | INFO | CLUSTER | BLOCK_GROUP, _) => Ok(true),
            (TIMESTAMP_SCALE, Some(size @ 1..=8)) => {
                let Some(scale) = self.number(size)? else { return Ok(self.reading.cut_off()) };
                self.scale_ns = scale.clamp(1, 1_000 * NS_PER_MS);
                Ok(true)
            }
            (TIMESTAMP, Some(size @ 1..=8)) => {
                let Some(at) = self.number(size)? else { return Ok(self.reading.cut_off()) };
                self.cluster = i64::try_from(at).ok();
                Ok(true)
            }
            (TRACKS, Some(size @ 0..=MAX_TRACKS_BYTES)) => {
                if !self.read_block(size)? {
                    return Ok(self.reading.cut_off());
                }
                self.read_tracks();
                Ok(true)
            }
            (BLOCK | SIMPLE_BLOCK, Some(size @ 0..=MAX_BLOCK_BYTES)) => {
                if !self.read_block(size)? {
                    return Ok(self.reading.cut_off());
                }
                self.begin_block();
                Ok(true)
            }
            (BLOCK | SIMPLE_BLOCK | TRACKS | TIMESTAMP, _) | (_, None) => self.resynchronise(),
            (_, Some(size)) => self.skip(size),
        }
    }

    /// The value with its marker, as ids are written. `None` for what is none.
    fn rest_of_vint(&mut self, first: u8, longest: u32) -> io::Result<Option<u64>> {
        let more = first.leading_zeros();
        if more >= longest {
            return Ok(None);
        }
        let mut value = u64::from(first);
        for _ in 0..more {
            let Some(byte) = self.source.byte()? else { return Ok(None) };
            value = value << 8 | u64::from(byte);
        }
        Ok(Some(value))
    }

    fn number(&mut self, size: u64) -> io::Result<Option<u64>> {
        let mut value = 0;
        for _ in 0..size {
            let Some(byte) = self.source.byte()? else { return Ok(None) };
            value = value << 8 | u64::from(byte);
        }
        Ok(Some(value))
    }

    fn read_block(&mut self, size: u64) -> io::Result<bool> {
        self.reading.begin();
        self.reading.bytes.resize(usize::try_from(size).unwrap_or_default(), 0);
        self.source.fill(&mut self.reading.bytes)
    }

    fn skip(&mut self, size: u64) -> io::Result<bool> {
        Ok(self.source.skip(size)? || self.reading.cut_off())
    }

    /// Goes on at the next cluster; `false` when there is none.
    fn resynchronise(&mut self) -> io::Result<bool> {
        self.reading.damages += 1;
        if !self.source.find(CLUSTER.to_be_bytes())? {
            return Ok(false);
        }
        // Its size, whatever it is.
        let Some(first) = self.source.byte()? else { return Ok(self.reading.cut_off()) };
        Ok(self.rest_of_vint(first, 8)?.is_some() || self.reading.cut_off())
    }

    fn read_tracks(&mut self) {
        let opus = children(&self.reading.bytes).filter(|(id, _)| *id == TRACK_ENTRY).find_map(|(_, entry)| {
            let child = |wanted| children(entry).find(|(id, _)| *id == wanted).map(|(_, body)| body);
            (child(CODEC_ID)?.strip_suffix(b"\0").unwrap_or(child(CODEC_ID)?) == b"A_OPUS").then_some(())?;
            let channels = child(AUDIO)
                .and_then(|audio| children(audio).find(|(id, _)| *id == CHANNELS))
                .map_or(1, |(_, body)| unsigned(body));
            let described = OpusHead { channels: u8::try_from(channels).unwrap_or(u8::MAX), pre_skip: USUAL_PRE_SKIP };
            Some((unsigned(child(TRACK_NUMBER)?), child(CODEC_PRIVATE).and_then(OpusHead::parse).unwrap_or(described)))
        });
        match opus {
            Some((track, head)) => {
                (self.track, self.track_is_guessed) = (track, false);
                self.reading.announce(head);
            }
            None if !self.reading.has_head() => {
                (self.track_is_guessed, self.reading.unreadable) = (false, Unreadable::NoOpus);
            }
            None => self.track_is_guessed = false,
        }
    }

    fn begin_block(&mut self) {
        let Some(&first) = self.reading.bytes.first() else { return };
        let length = first.leading_zeros() as usize + 1;
        let Some(&[high, low, flags]) =
            self.reading.bytes.get(length..length + 3).and_then(|three| three.first_chunk())
        else {
            self.reading.damages += 1;
            return;
        };
        let track = vint_value(self.reading.bytes.get(..length).unwrap_or_default());
        let data = length + 3..self.reading.bytes.len();
        if self.track_is_guessed && self.reading.bytes.get(data.clone()).and_then(opus::samples).is_some() {
            (self.track, self.track_is_guessed) = (track, false);
            let is_stereo = self.reading.bytes.get(data.start).is_some_and(|toc| toc & 4 != 0);
            self.reading.announce(OpusHead { channels: if is_stereo { 2 } else { 1 }, pre_skip: USUAL_PRE_SKIP });
        }
        if track != self.track || !self.reading.has_head() {
            return;
        }
        self.place(i64::from(i16::from_be_bytes([high, low])));
        match lace(&self.reading.bytes, data, flags >> 1 & 3) {
            Some(laced) => self.reading.packets = laced,
            None => self.reading.damages += 1,
        }
    }

    /// Where a block is on the recorder's clock: later than the frames before it have it means that some are missing.
    fn place(&mut self, in_cluster: i64) {
        let ticks = self.cluster.unwrap_or_default().saturating_add(in_cluster).max(0).unsigned_abs();
        let ns = u128::from(ticks) * u128::from(self.scale_ns);
        let clock = i64::try_from(ns * u128::from(SAMPLES_PER_MS) / u128::from(NS_PER_MS)).unwrap_or(i64::MAX);
        let (clock_base, position_base) = *self.base.get_or_insert((clock, self.reading.position));
        let told = position_base.saturating_add(clock.saturating_sub(clock_base).max(0).unsigned_abs());
        if told > self.reading.position.saturating_add(DRIFT_TOLERATED) {
            self.reading.position = told;
        }
    }
}

/// `None`: unknown.
fn size_of(first: u8, coded: u64) -> Option<u64> {
    let bits = 7 * (first.leading_zeros() + 1);
    let value = coded & ((1 << bits) - 1);
    (value != (1 << bits) - 1).then_some(value)
}

fn vint_value(bytes: &[u8]) -> u64 {
    let coded = unsigned(bytes);
    match bytes.first() {
        Some(first) if first.leading_zeros() < 8 => coded & ((1 << (7 * (first.leading_zeros() + 1))) - 1),
        _ => 0,
    }
}

fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The elements of a small body; ends where they make no sense.
fn children(mut body: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let id_length = body.first()?.leading_zeros() as usize + 1;
        let id = u32::try_from(unsigned(body.get(..id_length).filter(|_| id_length <= 4)?)).ok()?;
        let rest = body.get(id_length..)?;
        let first = *rest.first()?;
        let size_length = first.leading_zeros() as usize + 1;
        let size = size_of(first, unsigned(rest.get(..size_length).filter(|_| size_length <= 8)?))?;
        let (child, after) = rest.get(size_length..)?.split_at_checked(usize::try_from(size).ok()?)?;
        body = after;
        Some((id, child))
    })
}

/// The frames of a block (RFC 9559, section 10.3); `None` when it makes no sense.
fn lace(block: &[u8], data: Range<usize>, lacing: u8) -> Option<Vec<Range<usize>>> {
    if lacing == 0 {
        return Some(vec![data]);
    }
    let count = usize::from(*block.get(data.start)?) + 1;
    let mut at = data.start + 1;
    let mut sizes = Vec::with_capacity(count);
    match lacing {
        1 => {
            for _ in 1..count {
                let mut size = 0;
                loop {
                    let byte = *block.get(at)?;
                    at += 1;
                    size += usize::from(byte);
                    if byte != 255 {
                        break;
                    }
                }
                sizes.push(size);
            }
        }
        3 => {
            let mut size = 0_i64;
            for number in 1..count {
                let length = block.get(at)?.leading_zeros() as usize + 1;
                let value = i64::try_from(vint_value(block.get(at..at + length).filter(|_| length <= 8)?)).ok()?;
                at += length;
                let middle = (1_i64 << (7 * length - 1)) - 1;
                size = if number == 1 { value } else { size.checked_add(value - middle)? };
                sizes.push(usize::try_from(size).ok()?);
            }
        }
        _ => {
            let size = data.end.checked_sub(at)? / count;
            sizes.resize(count - 1, size);
        }
    }
    let mut frames = Vec::with_capacity(count);
    for size in sizes {
        let end = at.checked_add(size).filter(|end| *end <= data.end)?;
        frames.push(at..end);
        at = end;
    }
    frames.push(at..data.end);
    Some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laces_of_every_kind_come_apart() {
        let xiph = [2, 255, 1, 2, 7, 7];
        assert_eq!(lace(&xiph, 0..6, 1), None);
        let xiph = [1, 2, 10, 11, 12];
        assert_eq!(lace(&xiph, 0..5, 1), Some(vec![2..4, 4..5]));
        let fixed = [1, 10, 11, 12, 13];
        assert_eq!(lace(&fixed, 0..5, 2), Some(vec![1..3, 3..5]));
        // First size 2, then one more (bias 63), and the rest.
        let ebml = [2, 0x82, 0x80 | 64, 1, 1, 2, 2, 2, 3];
        assert_eq!(lace(&ebml, 0..9, 3), Some(vec![3..5, 5..8, 8..9]));
        assert_eq!(lace(&[3, 0xFF], 0..2, 3), None);
    }

    #[test]
    fn sizes_are_read_and_unknown_ones_known() {
        assert_eq!(size_of(0x81, 0x81), Some(1));
        assert_eq!(size_of(0x40, 0x4002), Some(2));
        assert_eq!(size_of(0xFF, 0xFF), None);
        assert_eq!(size_of(0x01, 0x01FF_FFFF_FFFF_FFFF), None);
    }
}
