//! When the bytes of a run arrived: a few bytes for each chunk, some 200 kB for a recording of four hours.
//!
//! Promises: both places and times rise. Refuses: to tell of chunks that are closer than [`CLOSEST_MS`] one by one.

use std::{fmt, ops::Range};

/// A recorder's chunks are 300 ms apart; who sends a byte at a time gets no longer list for it.
const CLOSEST_MS: i64 = 50;

/// Marks: the bytes up to here had arrived by then.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// For each mark its distance from the one before, in bytes and in ms, both as numbers of seven bits a byte.
    coded: Vec<u8>,
    last: Mark,
    before_last: Mark,
    /// Where the last mark begins in `coded`.
    last_at: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Mark {
    end: u64,
    ms: i64,
}

/// A text that is no list of marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a list of arrivals")]
pub struct InvalidArrivals;

impl Arrivals {
    /// The run's bytes up to `end` have arrived, `ms` after its first ones. What is known already is not told again.
    pub fn note(&mut self, end: u64, ms: i64) {
        if end <= self.last.end {
            return;
        }
        let ms = ms.max(self.last.ms);
        let is_close = ms - self.before_last.ms < CLOSEST_MS || ms == self.last.ms;
        if !self.coded.is_empty() && is_close {
            self.coded.truncate(self.last_at);
            self.last = self.before_last;
        }
        self.push(Mark { end, ms });
    }

    fn push(&mut self, mark: Mark) {
        self.last_at = self.coded.len();
        put_number(&mut self.coded, mark.end - self.last.end);
        put_number(&mut self.coded, (mark.ms - self.last.ms).unsigned_abs());
        (self.before_last, self.last) = (self.last, mark);
    }

    /// Places in bytes, times in ms since the run began.
    pub fn marks(&self) -> impl Iterator<Item = (u64, i64)> {
        let (mut rest, mut mark) = (&self.coded[..], Mark::default());
        std::iter::from_fn(move || {
            mark = next_mark(&mut rest, mark)?;
            Some((mark.end, mark.ms))
        })
    }

    /// Those of the run's bytes in `range`, counted from its beginning.
    #[must_use]
    pub fn within(&self, range: &Range<u64>) -> Self {
        let mut within = Self::default();
        for (end, ms) in self.marks().filter(|(end, _)| *end > range.start) {
            within.note(end.min(range.end) - range.start, ms);
            if end >= range.end {
                break;
            }
        }
        within
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.coded
    }

    /// # Errors
    /// For bytes that [`Self::as_bytes`] would not give.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidArrivals> {
        let mut arrivals = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let mark = next_mark(&mut rest, arrivals.last).ok_or(InvalidArrivals)?;
            arrivals.push(mark);
        }
        if arrivals.coded == bytes { Ok(arrivals) } else { Err(InvalidArrivals) }
    }
}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arrivals({} bytes in {} ms)", self.last.end, self.last.ms)
    }
}

fn next_mark(rest: &mut &[u8], before: Mark) -> Option<Mark> {
    let end = before.end.checked_add(take_number(rest)?).filter(|end| *end > before.end)?;
    let ms = before.ms.checked_add_unsigned(take_number(rest)?)?;
    Some(Mark { end, ms })
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7F) as u8);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(marks: &[(u64, i64)]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for (end, ms) in marks {
            arrivals.note(*end, *ms);
        }
        arrivals
    }

    #[test]
    fn marks_read_back_and_rise() {
        let arrivals = of(&[(200, 0), (5_000, 300), (4_000, 350), (10_000, 290), (20_000, 900)]);
        assert_eq!(arrivals.marks().collect::<Vec<_>>(), [(200, 0), (10_000, 300), (20_000, 900)]);
        assert_eq!(Arrivals::from_bytes(arrivals.as_bytes()), Ok(arrivals));
        for bad in [&[0, 1][..], &[1], &[0x81, 0x00, 1], &[0xFF; 30]] {
            assert_eq!(Arrivals::from_bytes(bad), Err(InvalidArrivals), "{bad:?}");
        }
    }

    #[test]
    fn bytes_one_by_one_make_no_long_list() {
        let mut arrivals = Arrivals::default();
        (1..=10_000_i64).for_each(|ms| arrivals.note(ms.unsigned_abs(), ms));
        let marks: Vec<_> = arrivals.marks().collect();
        assert!(marks.len() <= 10_000 / 49 + 2, "{}", marks.len());
        assert_eq!(marks.last(), Some(&(10_000, 10_000)));
    }

    #[test]
    fn a_piece_has_the_marks_of_its_bytes() {
        let arrivals = of(&[(100, 0), (200, 300), (300, 600), (400, 900)]);
        assert_eq!(arrivals.within(&(150..300)).marks().collect::<Vec<_>>(), [(50, 300), (150, 600)]);
        assert_eq!(arrivals.within(&(0..400)), arrivals);
    }
}
