//! What no database takes, known without asking one.
//!
//! Promises: whatever is refused here, Postgres refuses for good, and SQLite but for a NUL; the contract suite asks them.
//! It is all that their tables and types rule out, so that a record which is journaled is one that will be stored.
//! Refuses: to know the rest. A database may have rules of its own (a trigger, a smaller limit): those are found out
//! when the record comes to it.

use crate::domain::Record;

/// Why the record can never be stored.
#[must_use]
pub fn refusal(record: &Record) -> Option<&'static str> {
    match record {
        Record::Event(event) if event.seq < 1 => Some("positions in a stream count from 1"),
        // JSON has none, but text that was never read as JSON may.
        Record::Event(event) if has_nul(event.data.as_str()) => Some("the data contains a NUL"),
        Record::SessionOpened(opened) if opened.page.as_deref().is_some_and(has_nul) => Some("the page contains a NUL"),
        Record::AudioAttached(part) if i64::try_from(part.stream_offset).is_err() => {
            Some("the place in the stream is beyond what SQL counts")
        }
        Record::AudioAttached(part) if i64::try_from(part.size_bytes).is_err() => {
            Some("the size is beyond what SQL counts")
        }
        _ => None,
    }
}

fn has_nul(text: &str) -> bool {
    text.as_bytes().contains(&0)
}
