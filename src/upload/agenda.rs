//! Which run is to be looked at when.
//!
//! Promises: one entry per run, the earliest asked for.

use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use crate::domain::RunId;

#[derive(Default, Debug)]
pub(super) struct Agenda {
    by_time: BTreeSet<(Instant, RunId)>,
    by_run: HashMap<RunId, Instant>,
}

impl Agenda {
    /// An earlier time replaces a later one. A later one is not noted: a run that is looked at too early says when
    /// to look again.
    pub(super) fn note(&mut self, run: RunId, at: Instant) {
        match self.by_run.get(&run) {
            Some(noted) if *noted <= at => return,
            Some(noted) => {
                self.by_time.remove(&(*noted, run));
            }
            None => {}
        }
        self.by_run.insert(run, at);
        self.by_time.insert((at, run));
    }

    /// Takes one run that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<RunId> {
        let first = *self.by_time.first()?;
        if first.0 > now {
            return None;
        }
        self.forget(first.1);
        Some(first.1)
    }

    pub(super) fn forget(&mut self, run: RunId) {
        if let Some(at) = self.by_run.remove(&run) {
            self.by_time.remove(&(at, run));
        }
    }

    pub(super) fn first(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earliest_time_of_a_run_counts() {
        let (mut agenda, run, other) = (Agenda::default(), RunId::new(), RunId::new());
        let now = Instant::now();
        let after = |secs| now + Duration::from_secs(secs);
        agenda.note(run, after(5));
        agenda.note(run, after(2));
        agenda.note(run, after(9));
        agenda.note(other, after(3));
        assert_eq!(agenda.first(), Some(after(2)));
        assert_eq!(agenda.pop_due(after(1)), None);
        assert_eq!(agenda.pop_due(after(9)), Some(run));
        agenda.forget(other);
        assert_eq!((agenda.pop_due(after(9)), agenda.first()), (None, None));
    }
}
