//! Ogg as recorders write it (RFC 3533, RFC 7845): pages of at most 64 KiB, each read as a whole.
//!
//! Promises: a packet that runs over many pages is held up to the size that Opus allows, and left out above it.
//! Refuses: to check the pages' own checksums: the file as a whole has one.

use std::{
    io::{self, Read},
    ops::Range,
};

use super::{
    DRIFT_TOLERATED, Unreadable,
    frames::Frame,
    opus::{self, MAX_PACKET_BYTES, OpusHead},
    source::Source,
};

const CAPTURE: [u8; 4] = *b"OggS";
const CONTINUED: u8 = 0x01;
const FIRST: u8 = 0x02;
/// A page whose last packet is not complete has no position.
const NO_POSITION: u64 = u64::MAX;

pub(super) struct OggFrames<R> {
    source: Source<R>,
    head: Option<OpusHead>,
    unreadable: Unreadable,
    serial: Option<u32>,
    /// The next packet is a comment.
    comment_is_next: bool,
    /// Ends of the last page on its own clock and in the file's frames.
    last: Option<(u64, u64)>,
    position: u64,
    /// Whole packets of the page, one after the other.
    packets: Vec<u8>,
    ranges: Vec<Range<usize>>,
    next: usize,
    /// The beginning of a packet that goes on in the next page; `None` when it grew too large.
    partial: Option<Vec<u8>>,
    pub(super) damages: u64,
    pub(super) ends_early: bool,
}

impl<R: Read> OggFrames<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            source: Source::new(reader),
            head: None,
            unreadable: Unreadable::NoContainer,
            serial: None,
            comment_is_next: false,
            last: None,
            position: 0,
            packets: Vec::new(),
            ranges: Vec::new(),
            next: 0,
            partial: Some(Vec::new()),
            damages: 0,
            ends_early: false,
        }
    }

    pub(super) fn head(&self) -> Result<OpusHead, Unreadable> {
        self.head.ok_or(self.unreadable)
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Frame<'_>>> {
        loop {
            while let Some(range) = self.ranges.get(self.next).cloned() {
                self.next += 1;
                match self.packets.get(range.clone()).and_then(opus::samples) {
                    Some(samples) => {
                        let begin = self.position;
                        self.position += samples;
                        let bytes = self.packets.get(range).unwrap_or_default();
                        return Ok(Some(Frame { begin, samples, bytes, read: self.source.position() }));
                    }
                    None => self.damages += 1,
                }
            }
            if !self.page()? {
                return Ok(None);
            }
        }
    }

    /// Reads one page; `false` at the end.
    fn page(&mut self) -> io::Result<bool> {
        let before = self.source.position();
        if !self.source.find(CAPTURE)? {
            return Ok(false);
        }
        if self.source.position() != before + 4 {
            self.damages += 1;
        }
        let mut header = [0; 23];
        if !self.source.fill(&mut header)? {
            return Ok(self.cut_off());
        }
        let mut lengths = [0; 255];
        let lengths = &mut lengths[..usize::from(header[22])];
        if !self.source.fill(lengths)? {
            return Ok(self.cut_off());
        }
        let mut body = vec![0; lengths.iter().map(|length| usize::from(*length)).sum()];
        if !self.source.fill(&mut body)? {
            return Ok(self.cut_off());
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

    const fn cut_off(&mut self) -> bool {
        self.ends_early = true;
        false
    }

    fn begin_stream(&mut self, serial: u32, body: &[u8]) {
        let Some(head) = OpusHead::parse(body) else {
            if self.head.is_none() {
                self.unreadable = Unreadable::NoOpus;
            }
            return;
        };
        self.head.get_or_insert(head);
        (self.serial, self.comment_is_next, self.last) = (Some(serial), true, None);
        self.partial = Some(Vec::new());
    }

    fn take_packets(&mut self, flags: u8, lengths: &[u8], body: &[u8]) {
        (self.next, self.ranges) = (0, Vec::new());
        self.packets.clear();
        if flags & CONTINUED == 0 {
            self.damages += u64::from(self.partial.as_ref().is_none_or(|partial| !partial.is_empty()));
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
                    let begin = self.packets.len();
                    self.packets.extend_from_slice(&packet);
                    self.ranges.push(begin..self.packets.len());
                }
                None => self.damages += 1,
            }
        }
    }

    /// The page's packets end at `granule`: later than counted means that pages are missing before them.
    fn place(&mut self, granule: u64) {
        if granule == NO_POSITION {
            return;
        }
        let lasting: u64 = self.ranges.iter().filter_map(|range| opus::samples(self.packets.get(range.clone())?)).sum();
        if let Some((last_granule, last_position)) = self.last {
            let told = last_position.saturating_add(granule.saturating_sub(last_granule)).saturating_sub(lasting);
            // A clock of many years is none.
            if told > self.position.saturating_add(DRIFT_TOLERATED) && granule < 1 << 48 {
                self.position = told;
            }
        }
        self.last = Some((granule, self.position + lasting));
    }
}
