//! Which sessions there are, by their ids.
//!
//! Promises: never more than its limit; a session is in it exactly as long as its [`Registered`] lives.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix::Addr;
use engineioxide_core::Sid;

use super::actor::EngineActor;
use crate::{auth::Throttle, runtime::ConnectionBudget};

/// Where a session lives, and what its requests may hold.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) actor: Addr<EngineActor>,
    pub(super) budget: ConnectionBudget,
    pub(super) throttle: Throttle,
}

/// The sessions of one door.
pub(super) struct EngineRegistry {
    shared: Arc<Shared>,
    limit: usize,
}

struct Shared {
    /// `None`: the place is taken, and its actor about to start.
    sessions: Mutex<HashMap<Sid, Option<Entry>>>,
}

/// A session's place, given back when dropped.
pub(super) struct Registered {
    shared: Arc<Shared>,
    sid: Sid,
}

impl EngineRegistry {
    pub(super) fn new(limit: usize) -> Self {
        Self { shared: Arc::new(Shared { sessions: Mutex::default() }), limit }
    }

    /// A place under a fresh id; `None` when there is none left.
    pub(super) fn reserve(&self) -> Option<Registered> {
        let mut sessions = self.shared.lock();
        if sessions.len() >= self.limit {
            return None;
        }
        // 96 random bits: two sessions never share them.
        let sid = Sid::new();
        sessions.insert(sid, None);
        Some(Registered { shared: Arc::clone(&self.shared), sid })
    }

    pub(super) fn get(&self, sid: Sid) -> Option<Entry> {
        self.shared.lock().get(&sid).cloned().flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.shared.lock().len()
    }
}

impl Registered {
    pub(super) const fn sid(&self) -> Sid {
        self.sid
    }

    /// The session can be found from now on.
    pub(super) fn announce(&self, entry: Entry) {
        self.shared.lock().insert(self.sid, Some(entry));
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut sessions = self.shared.lock();
        sessions.remove(&self.sid);
        // After a rush the table would stay as large as it ever was.
        if sessions.capacity() > 1_024 && sessions.len() * 4 < sessions.capacity() {
            sessions.shrink_to_fit();
        }
    }
}

impl Shared {
    /// Nothing inside can be left half done: each access is one call.
    fn lock(&self) -> MutexGuard<'_, HashMap<Sid, Option<Entry>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_given_back() {
        let registry = EngineRegistry::new(2);
        let first = registry.reserve().unwrap();
        let _second = registry.reserve().unwrap();
        assert!(registry.reserve().is_none());
        drop(first);
        assert!(registry.reserve().is_some());
    }

    #[test]
    fn a_place_that_is_only_reserved_is_not_found() {
        let registry = EngineRegistry::new(1);
        let place = registry.reserve().unwrap();
        assert!(registry.get(place.sid()).is_none());
    }
}
