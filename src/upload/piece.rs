//! Which bytes of a run nobody else has stored. Pure.
//!
//! A stream that goes on with another node sends again what it was not told to be durable, so two nodes may hold the
//! same bytes, each in a run of its own. The database takes the run that comes first as a whole; of the other one, what is
//! left is stored in pieces, each an object and a row of its own.
//! Promises: pieces and what others stored make up the run, without overlap; the same pieces come out again after a crash.

use std::ops::Range;

use crate::domain::{AudioFormat, AudioPart, Sha256};

/// Bytes of a staged run that become an object of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    /// Where in the run they are.
    pub(super) range: Range<u64>,
    pub(super) sha256: Sha256,
    pub(super) format: AudioFormat,
}

impl Piece {
    pub(super) const fn len(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// The first bytes, counted from its beginning, of a run at `own` in its stream that lie in none of the `stored` parts of
/// that stream.
pub(super) fn first_uncovered(own: &Range<u64>, stored: &[AudioPart]) -> Option<Range<u64>> {
    let mut stored: Vec<_> =
        stored.iter().map(|part| part.stream_offset..part.stream_offset + part.size_bytes).collect();
    stored.sort_by_key(|part| part.start);
    let mut from = own.start;
    for part in stored {
        if part.start > from {
            let to = part.start.min(own.end);
            return (from < to).then(|| from - own.start..to - own.start);
        }
        from = from.max(part.end);
    }
    (from < own.end).then(|| from - own.start..own.end - own.start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Arrivals, RunId, SessionId, StreamId, Timestamp, UserId};

    fn part(range: Range<u64>) -> AudioPart {
        AudioPart {
            run: RunId::new(),
            session: SessionId::new(),
            user: UserId::parse("anna").unwrap(),
            stream: StreamId::new(),
            stream_offset: range.start,
            started_at: Timestamp::from_unix_ms(0).unwrap(),
            ended_at: Timestamp::from_unix_ms(0).unwrap(),
            object_key: String::new(),
            format: AudioFormat::Unknown,
            size_bytes: range.end - range.start,
            sha256: Sha256([0; 32]),
            arrivals: Arrivals::default(),
        }
    }

    #[test]
    fn a_run_that_nobody_overlaps_is_left_whole() {
        assert_eq!(first_uncovered(&(10..20), &[part(0..10), part(20..30)]), Some(0..10));
    }

    #[test]
    fn what_others_stored_is_cut_off() {
        assert_eq!(first_uncovered(&(10..20), &[part(0..14)]), Some(4..10), "its beginning");
        assert_eq!(first_uncovered(&(10..20), &[part(17..40)]), Some(0..7), "its end");
        assert_eq!(first_uncovered(&(10..20), &[part(12..15)]), Some(0..2), "its middle");
        assert_eq!(first_uncovered(&(10..20), &[part(15..20), part(0..15)]), None, "all of it");
    }

    proptest! {
        #[test]
        fn pieces_fill_what_is_free_and_nothing_else(
            others in proptest::collection::vec((0_u64..100, 1_u64..20), 0..8),
            start in 0_u64..100,
            len in 1_u64..40,
        ) {
            let own = start..start + len;
            let mut stored: Vec<_> = others.into_iter().map(|(at, len)| part(at..at + len)).collect();
            let is_in = |stored: &[AudioPart], byte: u64| {
                stored.iter().filter(|part| (part.stream_offset..part.stream_offset + part.size_bytes).contains(&byte)).count()
            };
            let before: Vec<_> = own.clone().map(|byte| is_in(&stored, byte)).collect();
            while let Some(piece) = first_uncovered(&own, &stored) {
                prop_assert!(piece.start < piece.end && piece.end <= len);
                stored.push(part(start + piece.start..start + piece.end));
            }
            let after: Vec<_> = own.map(|byte| is_in(&stored, byte)).collect();
            prop_assert_eq!(after, before.into_iter().map(|times| times.max(1)).collect::<Vec<_>>());
        }
    }
}
