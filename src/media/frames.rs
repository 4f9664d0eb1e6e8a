//! One run, frame by frame, whatever its container.

use std::io::{self, Read};

use super::{Unreadable, ogg::OggFrames, opus::OpusHead, webm::WebmFrames};
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
        match self {
            Self::WebM(frames) => frames.next(),
            Self::Ogg(frames) => frames.next(),
        }
    }

    /// Known when the first frame was read.
    pub(super) fn head(&self) -> Result<OpusHead, Unreadable> {
        match self {
            Self::WebM(frames) => frames.head(),
            Self::Ogg(frames) => frames.head(),
        }
    }

    const fn faults(&self) -> (u64, bool) {
        match self {
            Self::WebM(frames) => (frames.damages, frames.ends_early),
            Self::Ogg(frames) => (frames.damages, frames.ends_early),
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
    let (damages, ends_early) = frames.faults();
    let (channels, pre_skip) = (head.channels, head.pre_skip);
    Ok(Ok(Scan { channels, pre_skip, samples, recorded, frames: count, damages, ends_early, arrived }))
}
