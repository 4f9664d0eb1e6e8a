//! Records sorted by kind, so that each kind is written with one statement.
//!
//! Promises: every key is there once, and keys come in ascending order. The order keeps two writers that share keys
//! from waiting for each other in a circle.
//! Refuses: I/O; knowledge of any dialect.

use std::collections::BTreeMap;

use super::session_news::SessionNews;
use crate::domain::{
    AudioPart, Event, Presence, Record, RunId, SessionId, SessionStatus, StreamId, StreamOpened, Timestamp, UserId,
};

/// One batch, to be applied in the order of the fields.
#[derive(Default)]
pub(super) struct Batch<'a> {
    /// Everybody that a record says something about: they exist from now on.
    pub(super) users: BTreeMap<&'a UserId, UserNews<'a>>,
    /// The first opening of each stream.
    pub(super) streams: BTreeMap<StreamId, &'a StreamOpened>,
    /// The highest position of a message that opened or closed a session, by stream.
    pub(super) control_seqs: BTreeMap<StreamId, i64>,
    /// The last word on each user.
    pub(super) presence: BTreeMap<&'a UserId, &'a Presence>,
    /// What is known of each session that anything was said of.
    pub(super) sessions: BTreeMap<SessionId, SessionNews<'a>>,
    /// By `(stream, seq)`; of those with the same key, the one that came first is first.
    pub(super) events: Vec<&'a Event>,
    pub(super) parts: BTreeMap<RunId, &'a AudioPart>,
    /// True of most batches: they need no transaction around their one statement.
    pub(super) has_only_events: bool,
}

/// What a batch says about a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct UserNews<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) email: Option<&'a str>,
    pub(super) first_at: Timestamp,
    pub(super) last_at: Timestamp,
}

impl<'a> Batch<'a> {
    pub(super) fn of(records: &'a [Record]) -> Self {
        let mut batch = Self::default();
        for record in records {
            batch.add(record);
        }
        batch.has_only_events = batch.events.len() == records.len();
        batch.events.sort_by_key(|event| (event.stream, event.seq));
        batch
    }

    fn add(&mut self, record: &'a Record) {
        match record {
            Record::Event(event) => self.events.push(event),
            Record::StreamOpened(stream) => {
                let news = self.heard_of(&stream.user, stream.at);
                news.name = stream.profile.name().or(news.name);
                news.email = stream.profile.email().or(news.email);
                self.streams.entry(stream.stream).or_insert(stream);
            }
            Record::Presence(presence) => {
                self.heard_of(&presence.user, presence.at);
                self.presence.insert(&presence.user, presence);
            }
            Record::SessionOpened(opened) => {
                self.heard_of(&opened.user, opened.at);
                self.settled(opened.stream, opened.seq);
                let news = SessionNews::new(&opened.user, opened.page.as_deref(), SessionStatus::Recording, opened.at);
                self.heard_of_session(opened.session, news);
            }
            Record::SessionTouched(touched) => {
                let news = SessionNews::new(&touched.user, None, SessionStatus::Recording, touched.at);
                self.heard_of_session(touched.session, news);
            }
            Record::SessionClosed(closed) => {
                self.settled(closed.stream, closed.seq);
                let news = SessionNews::new(&closed.user, None, closed.status, closed.at);
                self.heard_of_session(closed.session, news);
            }
            Record::AudioAttached(part) => {
                self.parts.entry(part.run).or_insert(part);
            }
        }
    }

    fn heard_of(&mut self, user: &'a UserId, at: Timestamp) -> &mut UserNews<'a> {
        let news = self.users.entry(user).or_insert(UserNews { name: None, email: None, first_at: at, last_at: at });
        news.first_at = news.first_at.min(at);
        news.last_at = news.last_at.max(at);
        news
    }

    fn heard_of_session(&mut self, session: SessionId, news: SessionNews<'a>) {
        self.sessions.entry(session).and_modify(|known| *known = known.merge(news)).or_insert(news);
    }

    fn settled(&mut self, stream: StreamId, seq: Option<i64>) {
        if let Some(seq) = seq {
            let highest = self.control_seqs.entry(stream).or_insert(seq);
            *highest = seq.max(*highest);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::{EventName, JsonText, Profile, SessionClosed, SessionTouched};

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms).unwrap()
    }

    fn event(stream: StreamId, seq: i64, name: &str) -> Record {
        Record::Event(Event {
            stream,
            seq,
            user: UserId::parse("anna").unwrap(),
            session: None,
            name: EventName::parse(name.to_owned()).unwrap(),
            data: JsonText::null(),
            client_at: None,
            received_at: at(1),
        })
    }

    fn closed(session: SessionId, seq: i64, status: SessionStatus, ms: i64) -> Record {
        let (stream, user) = (StreamId::from_bytes([7; 16]), UserId::parse("anna").unwrap());
        Record::SessionClosed(SessionClosed { session, user, stream, seq: Some(seq), status, at: at(ms) })
    }

    #[test]
    fn events_are_sorted_by_key_and_the_first_of_a_key_stays_first() {
        let (low, high) = (StreamId::from_bytes([1; 16]), StreamId::from_bytes([2; 16]));
        let records = [event(high, 1, "c"), event(low, 2, "b"), event(low, 1, "a"), event(low, 2, "again")];
        let batch = Batch::of(&records);
        let names: Vec<_> = batch.events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "again", "c"]);
        assert!(batch.has_only_events);
    }

    #[test]
    fn what_is_said_of_a_user_is_gathered() {
        let user = UserId::parse("anna").unwrap();
        let opened = |profile, ms| {
            Record::StreamOpened(StreamOpened { stream: StreamId::new(), user: user.clone(), profile, at: at(ms) })
        };
        let records = [
            opened(Profile::parse(Some("Anna"), Some("anna@example.com")).unwrap(), 20),
            opened(Profile::parse(Some("Anna B"), None).unwrap(), 30),
            Record::Presence(Presence { user: user.clone(), connected: true, at: at(10) }),
            Record::Presence(Presence { user: user.clone(), connected: false, at: at(25) }),
        ];
        let batch = Batch::of(&records);
        let news =
            UserNews { name: Some("Anna B"), email: Some("anna@example.com"), first_at: at(10), last_at: at(30) };
        assert_eq!(batch.users, BTreeMap::from([(&user, news)]));
        assert!(!batch.presence[&user].connected);
        assert_eq!(batch.streams.len(), 2);
        assert!(!batch.has_only_events);
    }

    #[test]
    fn what_is_said_of_a_session_is_gathered_and_of_positions_the_highest() {
        let session = SessionId::new();
        let user = UserId::parse("anna").unwrap();
        let touched = |ms| Record::SessionTouched(SessionTouched { session, user: user.clone(), at: at(ms) });
        let records = [
            closed(session, 9, SessionStatus::Ended, 50),
            closed(session, 4, SessionStatus::Ended, 60),
            closed(session, 5, SessionStatus::Expired, 40),
            touched(70),
            touched(20),
        ];
        let batch = Batch::of(&records);
        let news = batch.sessions[&session];
        assert_eq!((news.opened_at, news.alive_at), (at(20), at(70)));
        assert_eq!((news.status, news.ended_at), (SessionStatus::Ended, Some(at(50))));
        assert_eq!(batch.control_seqs.into_values().collect::<Vec<_>>(), [9]);
    }
}
