//! Walks the frames of one segment file, and finds its way past damage.
//!
//! Owns: one open file and a window of it.
//! Promises: yields good frames in order; what lies between them is named by its place, never guessed at.
//! Refuses: to hold more than a window of the file, unless a frame is larger or a search needs the rest.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;

use super::{frame, segment::Segment};

/// Read at a time: large enough that the disk streams, small enough for a reader in each actor.
const WINDOW_BYTES: u64 = 256 << 10;

pub(super) struct Scanner {
    segment: Arc<Segment>,
    file: File,
    /// Position of the next frame.
    at: u64,
    /// The bytes that lie at `at`, as far as they were read.
    window: Bytes,
}

/// What lies at the scanner's place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Frame {
        end: u64,
        payload: Bytes,
    },
    /// Bytes that are no frame, with more good frames or the end of the segment behind them.
    Damage {
        from: u64,
        to: u64,
    },
    /// No further frame. `garbage`: what follows is not just zeros, or the file is too short.
    End {
        garbage: bool,
    },
}

impl Scanner {
    pub(super) fn open(segment: Arc<Segment>, at: u64) -> io::Result<Self> {
        let file = File::open(&segment.path)?;
        Ok(Self { at: at.max(segment.base), segment, file, window: Bytes::new() })
    }

    pub(super) const fn position(&self) -> u64 {
        self.at
    }

    pub(super) const fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The next thing among the bytes below position `readable_to`.
    pub(super) fn next(&mut self, readable_to: u64) -> io::Result<Found> {
        let readable_to = readable_to.min(self.segment.end());
        self.fill(frame::HEADER_BYTES as u64, readable_to)?;
        if let Some(head) = frame::read_header(&self.window, self.segment.salt, self.at) {
            let bytes = (frame::HEADER_BYTES + head.length) as u64;
            if bytes <= readable_to - self.at {
                self.fill(bytes, readable_to)?;
                let payload = self.window.get(frame::HEADER_BYTES..frame::HEADER_BYTES + head.length);
                if payload.is_some_and(|payload| head.matches(payload)) {
                    let payload = self.window.slice(frame::HEADER_BYTES..frame::HEADER_BYTES + head.length);
                    return Ok(Found::Frame { end: self.advance(bytes), payload });
                }
                // The header is good, so the next frame's place is known.
                let from = self.at;
                return Ok(Found::Damage { from, to: self.advance(bytes) });
            }
        }
        self.search(readable_to)
    }

    fn search(&mut self, readable_to: u64) -> io::Result<Found> {
        let expected = readable_to.saturating_sub(self.at);
        self.fill(expected, readable_to)?;
        let too_short = (self.window.len() as u64) < expected;
        // Not from the very byte: what is there has just been looked at.
        match self.window.get(1..).and_then(|rest| frame::find(rest, self.segment.salt, self.at + 1)) {
            Some(offset) => {
                let from = self.at;
                Ok(Found::Damage { from, to: self.advance(offset as u64 + 1) })
            }
            None => Ok(Found::End { garbage: too_short || self.window.iter().any(|byte| *byte != 0) }),
        }
    }

    fn advance(&mut self, bytes: u64) -> u64 {
        let bytes_in_window = usize::try_from(bytes).map_or(self.window.len(), |bytes| bytes.min(self.window.len()));
        self.window = self.window.slice(bytes_in_window..);
        self.at += bytes;
        self.at
    }

    /// Makes the window hold `bytes` from `at`, or what is readable if that is less.
    fn fill(&mut self, bytes: u64, readable_to: u64) -> io::Result<()> {
        let readable = readable_to.saturating_sub(self.at);
        if self.window.len() as u64 >= bytes.min(readable) {
            return Ok(());
        }
        let wanted = usize::try_from(bytes.max(WINDOW_BYTES).min(readable)).map_err(io::Error::other)?;
        let mut window = vec![0; wanted];
        let mut filled = 0;
        while filled < wanted {
            match self.file.read_at(&mut window[filled..], self.segment.offset_of(self.at) + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        window.truncate(filled);
        self.window = window.into();
        Ok(())
    }
}
