//! A fault and what it cost, as a row of a table.

use std::{fmt, time::Duration};

use super::audit::{Findings, Tally};

/// One row.
pub(crate) struct Row<'a> {
    pub(crate) fault: &'a str,
    pub(crate) duration: Duration,
    pub(crate) load: &'a str,
    pub(crate) findings: &'a Findings,
    /// Of the server that needed most.
    pub(crate) peak_memory_bytes: u64,
}

/// The rows' heading.
pub(crate) const HEADING: &str = "\
| fault | duration | load | acknowledged | stored | lost | doubled | wrong | peak memory |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |";

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, duration, load, findings: Findings { events, audio_bytes, .. }, .. } = self;
        let both = |of: fn(&Tally) -> u64| format!("{} events, {}", of(events), size(of(audio_bytes)));
        write!(
            f,
            "| {fault} | {:.0} s | {load} | {} | {} | {} | {} | {} | {} |",
            duration.as_secs_f64(),
            both(|tally| tally.acknowledged),
            both(|tally| tally.stored),
            both(|tally| tally.lost),
            both(|tally| tally.doubled),
            both(|tally| tally.invented + tally.corrupt),
            size(self.peak_memory_bytes),
        )
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}
