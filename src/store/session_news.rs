//! What records say about a session, and how two such words become one.
//!
//! Promises: merging is commutative, associative and idempotent, so that a session comes out the same however its
//! records are ordered, repeated, and spread over batches, actors and nodes. Both dialects merge a stored row with news by
//! the same rules.
//! Refuses: to ask whether the opening came. Whatever names a session makes it exist.

use crate::domain::{SessionStatus, Timestamp, UserId};

/// A session as far as a batch knows it; a row of `sessions` is the same for all batches.
///
/// - It was opened when it was first heard of.
/// - It is alive until the latest that was heard of it, be it the verdict that it expired.
/// - It is expired when nothing later than that verdict was heard.
/// - It is ended, whatever else was heard, once its user ended it: at the earliest of these ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SessionNews<'a> {
    pub(super) user: &'a UserId,
    pub(super) page: Option<&'a str>,
    pub(super) opened_at: Timestamp,
    pub(super) alive_at: Timestamp,
    pub(super) status: SessionStatus,
    /// `Some` unless it is recording.
    pub(super) ended_at: Option<Timestamp>,
}

impl<'a> SessionNews<'a> {
    /// It was heard of at `at`, and is in `status` since.
    pub(super) fn new(user: &'a UserId, page: Option<&'a str>, status: SessionStatus, at: Timestamp) -> Self {
        let ended_at = (status != SessionStatus::Recording).then_some(at);
        Self { user, page, opened_at: at, alive_at: at, status, ended_at }
    }

    /// Whose word counts where both have one: of the user and the page the same is said each time.
    pub(super) fn merge(self, other: Self) -> Self {
        let (status, ended_at) = self.end_of_both(other);
        Self {
            user: self.user,
            page: self.page.or(other.page),
            opened_at: self.opened_at.min(other.opened_at),
            alive_at: self.alive_at.max(other.alive_at),
            status,
            ended_at,
        }
    }

    fn end_of_both(self, other: Self) -> (SessionStatus, Option<Timestamp>) {
        use SessionStatus::{Ended, Expired};
        match (self.status, other.status) {
            (Ended, Ended) => (Ended, self.ended_at.min(other.ended_at)),
            (Ended, _) => (Ended, self.ended_at),
            (_, Ended) => (Ended, other.ended_at),
            _ if other.alive_at > self.alive_at => (other.status, other.ended_at),
            (_, Expired) if other.alive_at == self.alive_at => (Expired, other.ended_at),
            _ => (self.status, self.ended_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn merged(user: &UserId, words: &[(u8, i64)]) -> Option<SessionNews<'static>> {
        let user: &'static UserId = Box::leak(Box::new(user.clone()));
        words.iter().map(|(kind, ms)| word(user, *kind, *ms)).reduce(SessionNews::merge)
    }

    fn word(user: &UserId, kind: u8, ms: i64) -> SessionNews<'_> {
        let at = Timestamp::from_unix_ms(ms).unwrap();
        match kind {
            0 => SessionNews::new(user, Some("page"), SessionStatus::Recording, at),
            1 => SessionNews::new(user, None, SessionStatus::Recording, at),
            2 => SessionNews::new(user, None, SessionStatus::Expired, at),
            _ => SessionNews::new(user, None, SessionStatus::Ended, at),
        }
    }

    proptest! {
        #[test]
        fn the_order_does_not_matter(
            (words, shuffled) in proptest::collection::vec((0_u8..4, 0_i64..8), 1..9)
                .prop_flat_map(|words| (Just(words.clone()), Just(words).prop_shuffle())),
            again in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let user = UserId::parse("anna").unwrap();
            let once = merged(&user, &words);
            // Two batches, merged with each other rather than one by one, and a word that comes again.
            let (left, right) = shuffled.split_at(cut.index(shuffled.len()));
            let halves = match (merged(&user, left), merged(&user, right)) {
                (Some(left), Some(right)) => Some(left.merge(right)),
                (left, right) => left.or(right),
            };
            let again = word(&user, words[again.index(words.len())].0, words[again.index(words.len())].1);
            prop_assert_eq!(halves.map(|news| news.merge(again)), once);
        }
    }
}
