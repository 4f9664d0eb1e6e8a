//! What is asked for: pages and filters.

use super::{EventCursor, SessionCursor, UserCursor};
use crate::domain::{EventName, SessionStatus, Timestamp, UserId};

/// A page of sessions, newest first (by opening time, then id).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionQuery {
    pub filter: SessionFilter,
    pub after: Option<SessionCursor>,
    pub limit: u32,
    /// Whether events are counted: a large session costs as much as its events. If not, the counts are 0.
    pub counts_events: bool,
}

impl SessionQuery {
    /// All sessions, with their counts.
    #[must_use]
    pub fn page(after: Option<SessionCursor>, limit: u32) -> Self {
        Self { filter: SessionFilter::default(), after, limit, counts_events: true }
    }
}

/// Which sessions; `None` means any.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionFilter {
    pub user: Option<UserId>,
    pub status: Option<SessionStatus>,
    /// Opened at or after, and before.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Whether a part of its audio is stored.
    pub has_audio: Option<bool>,
}

/// A page of users, newest first (by creation time, then id).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserQuery {
    pub filter: UserFilter,
    pub after: Option<UserCursor>,
    pub limit: u32,
    /// As in [`SessionQuery::counts_events`].
    pub counts_events: bool,
}

impl UserQuery {
    /// All users, with their counts.
    #[must_use]
    pub fn page(after: Option<UserCursor>, limit: u32) -> Self {
        Self { filter: UserFilter::default(), after, limit, counts_events: true }
    }
}

/// Which users; `None` means any.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UserFilter {
    pub user: Option<UserId>,
    pub connected: Option<bool>,
    /// Has a session in this status.
    pub status: Option<SessionStatus>,
    /// Created at or after, and before.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Whether any audio of theirs is stored.
    pub has_audio: Option<bool>,
}

/// A page of events, in their order (by arrival, then stream, then number).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventQuery {
    pub filter: EventFilter,
    pub after: Option<EventCursor>,
    pub limit: u32,
}

impl EventQuery {
    /// All events.
    #[must_use]
    pub fn page(after: Option<EventCursor>, limit: u32) -> Self {
        Self { filter: EventFilter::default(), after, limit }
    }
}

/// Which events.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventFilter {
    /// With one of these names; empty means any.
    pub names: Vec<EventName>,
    /// Received at or after, and before.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl EventQuery {
    /// The place that the page comes after: of the cursor and the filter's beginning, the later one. Numbers begin at 1,
    /// so that the place before everything received at a time has number 0 of the lowest stream.
    pub(super) fn begin(&self) -> Option<EventCursor> {
        let since = self.filter.since.map(EventCursor::before_everything_at);
        let place = |cursor: &EventCursor| (cursor.received_at, cursor.stream, cursor.seq);
        self.after.into_iter().chain(since).max_by_key(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::StreamId;

    #[test]
    fn a_page_begins_at_the_later_of_cursor_and_filter() {
        let at = |ms| Timestamp::from_unix_ms(ms).unwrap();
        let cursor = |ms| EventCursor { received_at: at(ms), stream: StreamId::from_bytes([7; 16]), seq: 3 };
        let query = |after: Option<i64>, since: Option<i64>| EventQuery {
            filter: EventFilter { since: since.map(at), ..EventFilter::default() },
            after: after.map(cursor),
            limit: 1,
        };
        assert_eq!(query(None, None).begin(), None);
        assert_eq!(query(Some(5), Some(4)).begin(), Some(cursor(5)));
        assert_eq!(query(Some(5), Some(5)).begin(), Some(cursor(5)), "some of that time were shown");
        assert_eq!(query(Some(5), Some(6)).begin(), Some(EventCursor::before_everything_at(at(6))));
        assert_eq!(query(None, Some(6)).begin(), Some(EventCursor::before_everything_at(at(6))));
    }
}
