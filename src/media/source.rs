//! Bytes from the front, with their count. Promises: nothing is held but one buffer of fixed size.

use std::io::{self, BufRead as _, BufReader, Read};

const BUFFER_BYTES: usize = 64 * 1024;

pub(super) struct Source<R> {
    reader: BufReader<R>,
    position: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER_BYTES, reader), position: 0 }
    }

    /// Bytes read or skipped.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// `None` at the end.
    pub(super) fn byte(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        Ok(self.fill(&mut byte)?.then_some(byte[0]))
    }

    /// `false` when the end comes first: what is in `into` means nothing then.
    pub(super) fn fill(&mut self, into: &mut [u8]) -> io::Result<bool> {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    filled += count;
                    self.position += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// `false` when the end comes first.
    pub(super) fn skip(&mut self, mut count: u64) -> io::Result<bool> {
        while count > 0 {
            let there = self.reader.fill_buf()?.len();
            if there == 0 {
                return Ok(false);
            }
            let step = usize::try_from(count).unwrap_or(usize::MAX).min(there);
            self.reader.consume(step);
            self.position += step as u64;
            count -= step as u64;
        }
        Ok(true)
    }

    /// Goes on behind the next occurrence of `word`; `false` when there is none.
    pub(super) fn find(&mut self, word: [u8; 4]) -> io::Result<bool> {
        let mut last = [0; 4];
        loop {
            let Some(byte) = self.byte()? else { return Ok(false) };
            last.rotate_left(1);
            last[3] = byte;
            if last == word {
                return Ok(true);
            }
        }
    }
}
