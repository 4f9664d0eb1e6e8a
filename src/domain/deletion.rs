//! Deletions: what is to be gone, and stay so.

use super::{SessionId, Timestamp, UserId};

/// What somebody, or its age, deleted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Doomed {
    Session(SessionId),
    /// All that is known of a user, sessions included.
    User(UserId),
}

/// One deletion.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Deletion {
    pub what: Doomed,
    /// Of a user, what was received later is another, new user's.
    pub at: Timestamp,
}

impl Deletion {
    /// Whether it is about something of `session` and `user` that was received at `at`.
    #[must_use]
    pub fn covers(&self, session: SessionId, user: &UserId, at: Timestamp) -> bool {
        match &self.what {
            Doomed::Session(doomed) => *doomed == session,
            Doomed::User(doomed) => doomed == user && at <= self.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_goes_whole_and_a_user_up_to_that_time() {
        let [session, other] = [SessionId::new(), SessionId::new()];
        let [anna, ben] = ["anna", "ben"].map(|name| UserId::parse(name).unwrap());
        let at = |ms| Timestamp::from_unix_ms(ms).unwrap();
        let of_session = Deletion { what: Doomed::Session(session), at: at(10) };
        assert!(of_session.covers(session, &anna, at(20)));
        assert!(!of_session.covers(other, &anna, at(5)));
        let of_user = Deletion { what: Doomed::User(anna.clone()), at: at(10) };
        assert!(of_user.covers(other, &anna, at(10)));
        assert!(!of_user.covers(other, &anna, at(11)));
        assert!(!of_user.covers(other, &ben, at(5)));
    }
}
