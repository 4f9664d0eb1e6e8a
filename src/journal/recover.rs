//! Opening a journal that was there before: finds its end and mends its tail.
//!
//! Promises: after it, everything behind the last good entry is zeros again, on disk. Reads one segment, or a few
//! empty ones: how long it takes does not depend on how much is kept. Damage in older segments is met, reported and
//! counted by whoever reads them.
//! Refuses: to touch anything in front of the last good entry.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use uuid::Uuid;

use super::{
    log::OpenError,
    scan::{Found, Scanner},
    segment::{self, Listed, Segment, WritableSegment},
    state::{Counters, Kept, Shared},
};

/// What a segment holds.
struct Contents {
    /// Position after its last good entry.
    last: Option<u64>,
    /// Ranges in front of it that are no entries.
    damage: Vec<(u64, u64)>,
    /// Whether something other than zeros follows.
    torn: bool,
}

pub(super) fn recover(directory: PathBuf, segment_bytes: u64, limit_bytes: u64) -> Result<Shared, OpenError> {
    let counters = Counters::default();
    let mut segments = list(&directory, &counters)?;
    let failed = |action| {
        let directory = directory.clone();
        move |source| OpenError::Io { action, directory, source }
    };
    let mut prepared = VecDeque::new();
    while let Some((segment, header_is_good)) = segments.pop() {
        let contents = look_through(&segment).map_err(failed("read a segment"))?;
        let used_to = contents.last.unwrap_or(segment.base);
        if contents.torn {
            tracing::warn!(
                segment = %segment.path.display(),
                offset_bytes = segment.offset_of(used_to),
                "journal ends in an unfinished write, which is cut off"
            );
            counters.torn_tails.fetch_add(1, Relaxed);
        }
        let writable = segment.open_for_writing().map_err(failed("open a segment"))?;
        if contents.torn || !header_is_good {
            segment::mend(&writable, used_to).map_err(failed("mend the tail"))?;
        }
        if contents.last.is_none() && !segments.is_empty() {
            prepared.push_front(writable);
            continue;
        }
        let mut kept: VecDeque<Kept> = segments.into_iter().map(|(segment, _)| Kept::closed(segment)).collect();
        kept.push_back(Kept::closed(Arc::clone(&segment)));
        let shared =
            Shared::new(directory, (segment_bytes, limit_bytes), kept, (writable, used_to), prepared, counters);
        for (from, to) in contents.damage {
            shared.report_damage(&segment, from, to);
        }
        return Ok(shared);
    }
    let first = create_first(&directory, segment_bytes).map_err(failed("make the first segment"))?;
    let (base, kept) = (first.segment.base, VecDeque::from([Kept::closed(Arc::clone(&first.segment))]));
    Ok(Shared::new(directory, (segment_bytes, limit_bytes), kept, (first, base), prepared, counters))
}

fn create_first(directory: &Path, segment_bytes: u64) -> io::Result<WritableSegment> {
    // As long as there is a segment, its salt goes on in the next: a random number once in a journal's life.
    let (salt, _) = Uuid::new_v4().as_u64_pair();
    segment::create(directory, 0, segment_bytes, salt, || true)?.ok_or_else(|| io::Error::other("interrupted"))
}

/// The segments found, each with whether its header is good. Reports what is wrong with them as a row.
fn list(directory: &Path, counters: &Counters) -> Result<Vec<(Arc<Segment>, bool)>, OpenError> {
    let listed = segment::list(directory).map_err(|source| OpenError::Io {
        action: "list the segments",
        directory: directory.to_owned(),
        source,
    })?;
    let mut segments: Vec<(Arc<Segment>, bool)> = Vec::with_capacity(listed.len());
    for listed in listed {
        let (segment, header_is_good) = match listed {
            Listed::Segment(segment) => (segment, true),
            Listed::DamagedHeader(segment) => {
                tracing::error!(segment = %segment.path.display(), "journal segment has a damaged header");
                counters.damaged_places.fetch_add(1, Relaxed);
                (segment, false)
            }
            Listed::NewerVersion { path, version } => return Err(OpenError::NewerVersion { path, version }),
        };
        if let Some((before, _)) = segments.last() {
            if before.end() > segment.base {
                return Err(OpenError::Overlap { path: segment.path });
            }
            if before.end() < segment.base {
                tracing::error!(
                    after = %before.path.display(),
                    missing_bytes = segment.base - before.end(),
                    "journal segments are missing: their entries are lost unless a client sends them again"
                );
                counters.missing_segments.fetch_add(1, Relaxed);
            }
        }
        segments.push((Arc::new(segment), header_is_good));
    }
    Ok(segments)
}

fn look_through(segment: &Arc<Segment>) -> io::Result<Contents> {
    let mut scanner = Scanner::open(Arc::clone(segment), segment.base)?;
    let mut contents = Contents { last: None, damage: Vec::new(), torn: false };
    // Damage counts as such only with a good entry behind it; else it is the torn tail.
    let mut uncertain = Vec::new();
    loop {
        match scanner.next(segment.end())? {
            Found::Frame { end, .. } => {
                contents.last = Some(end);
                contents.damage.append(&mut uncertain);
            }
            Found::Damage { from, to } => uncertain.push((from, to)),
            Found::End { garbage } => {
                contents.torn = garbage || !uncertain.is_empty();
                return Ok(contents);
            }
        }
    }
}
