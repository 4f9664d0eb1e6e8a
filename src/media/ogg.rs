//! Ogg as recorders write it (RFC 3533, RFC 7845): pages of at most 64 KiB, each read as a whole.
//!
//! Promises: a packet that runs over many pages is held up to the size that Opus allows, and left out above it.
//! Refuses: to check the pages' own checksums: the file as a whole has one.

use std::io::{self, Read};

use super::{
    DRIFT_TOLERATED, Unreadable,
    frames::Reading,
    opus::{self, MAX_PACKET_BYTES, OpusHead},
    source::Source,
};

const CAPTURE: [u8; 4] = *b"OggS";
const CONTINUED: u8 = 0x01;
const FIRST: u8 = 0x02;
/// A page whose last packet is not complete has no position.
const NO_POSITION: u64 = u64::MAX;

pub(super) struct OggFrames<R> {
    pub(super) source: Source<R>,
    pub(super) reading: Reading,
    serial: Option<u32>,
    /// The next packet is a comment.
    comment_is_next: bool,
    /// Ends of the last page on its own clock and in the file's frames.
    last: Option<(u64, u64)>,
    /// The beginning of a packet that goes on in the next page; `None` when it grew too large.
    partial: Option<Vec<u8>>,
}

impl<R: Read> OggFrames<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            source: Source::new(reader),
            reading: Reading::new(),
            serial: None,
            comment_is_next: false,
            last: None,
            partial: Some(Vec::new()),
        }
    }

    /// Reads one page; `false` at the end.
    pub(super) fn page(&mut self) -> io::Result<bool> {
        let before = self.source.position();
        if !self.source.find(CAPTURE)? {
            return Ok(false);
        }
        if self.source.position() != before + 4 {
            self.reading.damages += 1;
        }
        let mut header = [0; 23];
        if !self.source.fill(&mut header)? {
            return Ok(self.reading.cut_off());
        }
        let mut lengths = [0; 255];
        let lengths = &mut lengths[..usize::from(header[22])];
        if !self.source.fill(lengths)? {
            return Ok(self.reading.cut_off());
        }
        let mut body = vec![0; lengths.iter().map(|length| usize::from(*length)).sum()];
        if !self.source.fill(&mut body)? {
            return Ok(self.reading.cut_off());
        }
        let flags = header[1];
        let granule = u64::from_le_bytes(header[2..10].try_into().unwrap_or_default());
        let serial = u32::from_le_bytes(header[10..14].try_into().unwrap_or_default());
        if flags & FIRST != 0 {
            self.begin_stream(serial, &body);
        } else if self.serial == Some(serial) {
            self.take_packets(flags, lengths, &body);
            self.place(granule);
        }
        Ok(true)
    }

    fn begin_stream(&mut self, serial: u32, body: &[u8]) {
        let Some(head) = OpusHead::parse(body) else {
            if !self.reading.has_head() {
                self.reading.unreadable = Unreadable::NoOpus;
            }
            return;
        };
        self.reading.announce(head);
        (self.serial, self.comment_is_next, self.last) = (Some(serial), true, None);
        self.partial = Some(Vec::new());
    }

    fn take_packets(&mut self, flags: u8, lengths: &[u8], body: &[u8]) {
        self.reading.begin();
        self.reading.bytes.clear();
        if flags & CONTINUED == 0 {
            self.reading.damages += u64::from(self.partial.as_ref().is_none_or(|partial| !partial.is_empty()));
            self.partial = Some(Vec::new());
        }
        let mut rest = body;
        for length in lengths {
            let (segment, after) = rest.split_at(usize::from(*length).min(rest.len()));
            rest = after;
            if let Some(partial) = &mut self.partial {
                partial.extend_from_slice(segment);
            }
            // A comment may be of any length, and is not needed.
            self.partial.take_if(|partial| partial.len() > MAX_PACKET_BYTES);
            if *length == 255 {
                continue;
            }
            let packet = self.partial.replace(Vec::new());
            if std::mem::take(&mut self.comment_is_next) {
                continue;
            }
            match packet {
                Some(packet) => {
                    let begin = self.reading.bytes.len();
                    self.reading.bytes.extend_from_slice(&packet);
                    self.reading.packets.push(begin..self.reading.bytes.len());
                }
                None => self.reading.damages += 1,
            }
        }
    }

    /// The page's packets end at `granule`: later than counted means that pages are missing before them.
    fn place(&mut self, granule: u64) {
        if granule == NO_POSITION {
            return;
        }
        let lasting: u64 =
            self.reading.packets.iter().filter_map(|range| opus::samples(self.reading.bytes.get(range.clone())?)).sum();
        if let Some((last_granule, last_position)) = self.last {
            let told = last_position.saturating_add(granule.saturating_sub(last_granule)).saturating_sub(lasting);
            // A clock of many years is none.
            if told > self.reading.position.saturating_add(DRIFT_TOLERATED) && granule < 1 << 48 {
                self.reading.position = told;
            }
        }
        self.last = Some((granule, self.reading.position + lasting));
    }
}
