//! One run, frame by frame, whatever its container.

use std::{
    io::{self, Read},
    ops::Range,
};

use super::{
    Unreadable,
    ogg::OggFrames,
    opus::{self, OpusHead},
    webm::WebmFrames,
};
use crate::domain::AudioFormat;

/// One Opus packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// Where it begins, in samples of the run's own media. Behind the end of the frame before it where some are missing.
    pub(super) begin: u64,
    pub(super) samples: u64,
    pub(super) bytes: &'a [u8],
    /// So many bytes of the run had to be read for it.
    pub(super) read: u64,
}

/// What every container keeps while it is read: its head, and the whole packets of the block or page that was read last.
pub(super) struct Reading {
    head: Option<OpusHead>,
    /// Why there is none.
    pub(super) unreadable: Unreadable,
    /// The packets, and where each of them is in these bytes.
    pub(super) bytes: Vec<u8>,
    pub(super) packets: Vec<Range<usize>>,
    next: usize,
    /// End of the last frame.
    pub(super) position: u64,
    pub(super) damages: u64,
    ends_early: bool,
}

impl Reading {
    pub(super) const fn new() -> Self {
        Self {
            head: None,
            unreadable: Unreadable::NoContainer,
            bytes: Vec::new(),
            packets: Vec::new(),
            next: 0,
            position: 0,
            damages: 0,
            ends_early: false,
        }
    }

    pub(super) const fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// Another recording in the same file does not change how the first one is announced.
    pub(super) fn announce(&mut self, head: OpusHead) {
        self.head.get_or_insert(head);
    }

    /// Forgets the packets, for those of the next block or page.
    pub(super) fn begin(&mut self) {
        self.next = 0;
        self.packets.clear();
    }

    /// Leaves out what is no packet, and tells whether one is left.
    fn has_frame(&mut self) -> bool {
        while let Some(range) = self.packets.get(self.next).cloned() {
            if self.bytes.get(range).and_then(opus::samples).is_some() {
                return true;
            }
            self.next += 1;
            self.damages += 1;
        }
        false
    }

    /// The next packet; `read` bytes of the run were needed for it.
    fn next(&mut self, read: u64) -> Option<Frame<'_>> {
        let bytes = self.bytes.get(self.packets.get(self.next)?.clone())?;
        let samples = opus::samples(bytes)?;
        let begin = self.position;
        (self.next, self.position) = (self.next + 1, begin + samples);
        Some(Frame { begin, samples, bytes, read })
    }

    /// The page was closed, or the rest never came: nothing that was whole is lost. Always `false`.
    pub(super) const fn cut_off(&mut self) -> bool {
        self.ends_early = true;
        false
    }
}

pub(super) enum Frames<R> {
    WebM(WebmFrames<R>),
    Ogg(OggFrames<R>),
}

impl<R: Read> Frames<R> {
    /// `None` for a container that is kept as it is. A run of unknown kind may be a WebM that lost its first chunk.
    pub(super) fn of(format: AudioFormat, reader: R) -> Option<Self> {
        match format {
            AudioFormat::WebM | AudioFormat::Unknown => Some(Self::WebM(WebmFrames::new(reader))),
            AudioFormat::Ogg => Some(Self::Ogg(OggFrames::new(reader))),
            AudioFormat::Mp4 => None,
        }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Frame<'_>>> {
        while !self.reading_mut().has_frame() {
            let is_end = match self {
                Self::WebM(frames) => !frames.element()?,
                Self::Ogg(frames) => !frames.page()?,
            };
            if is_end {
                return Ok(None);
            }
        }
        Ok(match self {
            Self::WebM(frames) => frames.reading.next(frames.source.position()),
            Self::Ogg(frames) => frames.reading.next(frames.source.position()),
        })
    }

    /// Known when the first frame was read.
    pub(super) fn head(&self) -> Result<OpusHead, Unreadable> {
        self.reading().head.ok_or(self.reading().unreadable)
    }

    const fn reading_mut(&mut self) -> &mut Reading {
        match self {
            Self::WebM(frames) => &mut frames.reading,
            Self::Ogg(frames) => &mut frames.reading,
        }
    }

    const fn reading(&self) -> &Reading {
        match self {
            Self::WebM(frames) => &frames.reading,
            Self::Ogg(frames) => &frames.reading,
        }
    }
}

/// What a run holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scan {
    pub channels: u8,
    pub pre_skip: u16,
    /// From its first frame to the end of its last, in samples.
    pub samples: u64,
    /// What the frames themselves last: less than `samples` where some are missing.
    pub recorded: u64,
    pub frames: u64,
    /// Places that could not be read.
    pub damages: u64,
    /// Cut off in the middle of an element: a page was closed.
    pub ends_early: bool,
    /// When the media up to a point had arrived: `(server's clock in ms, samples)`, for each of the marks that were given.
    pub arrived: Vec<(i64, u64)>,
}

/// Reads a run as a whole. `marks`: by when its bytes up to an offset had arrived, both rising.
///
/// # Errors
/// The inner one when there is nothing in it that can be played.
pub(super) fn scan<R: Read>(
    format: AudioFormat,
    reader: R,
    marks: &[(u64, i64)],
) -> io::Result<Result<Scan, Unreadable>> {
    let Some(mut frames) = Frames::of(format, reader) else { return Ok(Err(Unreadable::NoContainer)) };
    let (mut samples, mut recorded, mut count) = (0, 0, 0);
    let mut arrived = Vec::with_capacity(marks.len());
    let mut marks = marks.iter().peekable();
    while let Some(frame) = frames.next()? {
        // What was not whole at a mark had not arrived.
        while let Some((_, at)) = marks.next_if(|(end, _)| *end < frame.read) {
            arrived.push((*at, samples));
        }
        samples = frame.begin + frame.samples;
        recorded += frame.samples;
        count += 1;
    }
    arrived.extend(marks.map(|(_, at)| (*at, samples)));
    let head = match frames.head() {
        Ok(head) if head.channels > 2 => return Ok(Err(Unreadable::Channels(head.channels))),
        Ok(_) if count == 0 => return Ok(Err(Unreadable::Empty)),
        Ok(head) => head,
        Err(unreadable) => return Ok(Err(unreadable)),
    };
    let Reading { damages, ends_early, .. } = *frames.reading();
    let (channels, pre_skip) = (head.channels, head.pre_skip);
    Ok(Ok(Scan { channels, pre_skip, samples, recorded, frames: count, damages, ends_early, arrived }))
}
