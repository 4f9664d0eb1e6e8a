//! Reads the journal: after a restart, and when a backlog is worked off.
//!
//! Promises: every good entry behind its start, once and in order; damage is stepped over, reported and counted.
//! Refuses: to wait: at the written end it answers with nothing.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Acquire},
};

use super::{
    Entry, Position, codec,
    scan::{Found, Scanner},
    segment::Segment,
    state::Shared,
};

/// A segment could not be read. The same call may succeed later.
#[derive(Debug, thiserror::Error)]
#[error("cannot read journal segment {}: {source}", .path.display())]
pub struct ReadError {
    path: PathBuf,
    source: io::Error,
}

/// A place in the journal, and the way on from there.
pub struct JournalReader {
    shared: Arc<Shared>,
    position: u64,
    reached_end: bool,
    scanner: Option<Scanner>,
}

impl JournalReader {
    pub(super) const fn new(shared: Arc<Shared>, from: Position) -> Self {
        Self { shared, position: from.0, reached_end: false, scanner: None }
    }

    /// Everything at or below was returned, or is no entry.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position(self.position)
    }

    /// Whether the last batch ended because nothing more was written then.
    #[must_use]
    pub const fn reached_end(&self) -> bool {
        self.reached_end
    }

    /// The next entries, with their positions, until they make up `max_bytes`; at least one if there is any. Empty
    /// when the written end is reached. Blocking file I/O.
    ///
    /// # Errors
    /// [`ReadError`]; no entry is passed over by it.
    pub fn next_batch(&mut self, max_bytes: usize) -> Result<Vec<(Position, Entry)>, ReadError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        self.reached_end = false;
        while bytes < max_bytes {
            match self.next() {
                Ok(Some((entry, entry_bytes))) => {
                    bytes += entry_bytes;
                    batch.push((Position(self.position), entry));
                }
                Ok(None) => {
                    self.reached_end = true;
                    break;
                }
                // It comes again with the next call.
                Err(_) if !batch.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(batch)
    }

    fn next(&mut self) -> Result<Option<(Entry, usize)>, ReadError> {
        loop {
            let written = self.shared.written.load(Acquire);
            if self.position >= written {
                return Ok(None);
            }
            let Some(scanner) = self.scanner()? else { return Ok(None) };
            let segment = Arc::clone(scanner.segment());
            let found = scanner.next(written).map_err(|source| ReadError { path: segment.path.clone(), source })?;
            match found {
                Found::Frame { end, payload } => {
                    self.position = end;
                    let bytes = payload.len();
                    match codec::decode(payload) {
                        Ok(entry) => return Ok(Some((entry, bytes))),
                        Err(error) => self.shared.report_undecodable(&segment, end, error),
                    }
                }
                Found::Damage { from, to } => {
                    self.position = to;
                    self.shared.report_damage(&segment, from, to);
                }
                Found::End { garbage } => {
                    let (from, to) = (self.position, segment.end().min(written));
                    self.position = to;
                    if garbage {
                        self.shared.report_damage(&segment, from, to);
                    }
                }
            }
        }
    }

    /// The scanner of the segment that holds the position, which moves forward where there is no such segment.
    fn scanner(&mut self) -> Result<Option<&mut Scanner>, ReadError> {
        let at_its_end =
            |scanner: &Scanner, position| position >= scanner.segment().end() || position != scanner.position();
        while self.scanner.as_ref().is_none_or(|scanner| at_its_end(scanner, self.position)) {
            self.scanner = None;
            let Some(segment) = self.shared.lock().segment_at(self.position) else { return Ok(None) };
            match Scanner::open(Arc::clone(&segment), self.position) {
                Ok(scanner) => {
                    self.position = scanner.position();
                    self.scanner = Some(scanner);
                }
                // Trimmed since the look at the list.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_trimmed(&segment) => {}
                Err(source) => return Err(ReadError { path: segment.path.clone(), source }),
            }
        }
        Ok(self.scanner.as_mut())
    }

    fn is_trimmed(&self, segment: &Segment) -> bool {
        segment.base < self.shared.lock().begin()
    }
}
