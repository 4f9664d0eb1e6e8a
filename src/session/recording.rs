//! Recordings of a live stream: started, resumed and ended, by words, by other connections and by time.
//!
//! Promises: a word with a number is obeyed once. Said again before it is known to be durable, what it did is written
//! again as it was, and answered as it was: the first writing may be lost with the actor that had it, and merges with the
//! second if it is not.

use std::time::Duration;

use super::{
    effect::Effect,
    live::{EndedSession, Live, Owed},
    state::Surroundings,
};
use crate::{
    domain::{Record, SessionClosed, SessionId, SessionOpened, SessionStatus},
    protocol::{AckTag, ServerMessage, StartRecording},
    runtime::Permit,
};

/// What a word came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Came {
    Started { session: SessionId, resumed: bool },
    Ended { session: Option<SessionId> },
}

impl Came {
    pub(super) const fn answer(self, tag: AckTag) -> ServerMessage {
        match self {
            Self::Started { session, resumed } => ServerMessage::RecordingStarted { tag, session, resumed },
            Self::Ended { session } => ServerMessage::RecordingEnded { tag, session },
        }
    }
}

/// A numbered word that was obeyed and is not known to be durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObeyedWord {
    seq: i64,
    /// It is durable with this ticket. `None` when that was another connection's.
    pub(super) ticket: Option<u64>,
    /// The session that it opened or closed.
    record: Option<Record>,
    came: Came,
}

impl ObeyedWord {
    /// Those of an earlier connection that the stream, durable up to `durable_seq`, has not got to.
    pub(super) fn still_undurable(words: &[Self], durable_seq: i64) -> Vec<Self> {
        let undurable = words.iter().filter(|word| word.seq > durable_seq);
        undurable.map(|word| Self { ticket: None, ..word.clone() }).collect()
    }
}

impl Live {
    pub(super) fn on_start(&mut self, start: StartRecording, around: Surroundings<'_>, effects: &mut Vec<Effect>) {
        let StartRecording { seq, page, ack: tag, .. } = start;
        if self.is_repeated(seq) {
            if !self.say_again(seq, tag, effects) {
                let answer = match self.current_session(around, effects) {
                    Some(session) => Owed::Word { tag, came: Came::Started { session, resumed: true } },
                    None => Owed::Ack { tag, seq: 0 },
                };
                self.append(Vec::new(), Some(answer), Permit::none(), effects);
            }
            return;
        }
        self.finish_run(Duration::ZERO, effects);
        self.current_session(around, effects);
        let (session, opened) = self.start_session(seq, page, around);
        let came = Came::Started { session, resumed: opened.is_none() };
        self.obey(seq, tag, opened, came, effects);
    }

    /// Opens a session, or resumes the user's open one; the record of an opening is to be written.
    fn start_session(
        &mut self,
        seq: Option<i64>,
        page: Option<String>,
        around: Surroundings<'_>,
    ) -> (SessionId, Option<Record>) {
        let (stream, now) = (self.stream(), around.now.steady);
        // Another node, or another process of this one, may be told the same word, and must come to the same.
        let fresh = seq.map_or_else(SessionId::new, |seq| SessionId::of_start(stream, seq));
        let (live, resumed) = around.registry.start_session(self.user(), fresh, around.connection, now);
        self.session = Some(live);
        self.ended = None;
        if resumed {
            return (live.session, None);
        }
        self.told_database_alive = now;
        let (session, user, at) = (live.session, self.user().clone(), self.received_at(around));
        (session, Some(Record::SessionOpened(SessionOpened { session, user, stream, seq, page, at })))
    }

    /// Audio came that starts a recording by itself.
    pub(super) fn start_by_audio(&mut self, around: Surroundings<'_>, effects: &mut Vec<Effect>) {
        if let (_, Some(opened)) = self.start_session(None, None, around) {
            self.append(vec![opened], None, Permit::none(), effects);
        }
    }

    pub(super) fn on_end(
        &mut self,
        seq: Option<i64>,
        tag: AckTag,
        around: Surroundings<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let is_repeated = self.is_repeated(seq);
        if is_repeated && self.say_again(seq, tag, effects) {
            return;
        }
        let session = if is_repeated { None } else { self.current_session(around, effects) };
        let Some(session) = session else {
            let session = self.ended.map(|ended| ended.session);
            let answer = Owed::Word { tag, came: Came::Ended { session } };
            self.append(Vec::new(), Some(answer), Permit::none(), effects);
            return;
        };
        let closed = self.close_session(session, seq, SessionStatus::Ended, around, effects);
        self.obey(seq, tag, Some(closed), Came::Ended { session: Some(session) }, effects);
    }

    fn obey(&mut self, seq: Option<i64>, tag: AckTag, record: Option<Record>, came: Came, effects: &mut Vec<Effect>) {
        let records = record.iter().cloned().collect();
        let ticket = Some(self.append(records, Some(Owed::Word { tag, came }), Permit::none(), effects));
        if let Some(seq) = seq {
            self.obeyed.push(ObeyedWord { seq, ticket, record, came });
        }
    }

    /// `false` for a word that is durable: there is nothing to write again, and what it came to is not known any more.
    fn say_again(&mut self, seq: Option<i64>, tag: AckTag, effects: &mut Vec<Effect>) -> bool {
        let Some(at) = self.obeyed.iter().position(|word| Some(word.seq) == seq) else { return false };
        let ObeyedWord { seq, record, came, .. } = self.obeyed.remove(at);
        self.obey(Some(seq), tag, record, came, effects);
        true
    }

    fn close_session(
        &mut self,
        session: SessionId,
        seq: Option<i64>,
        status: SessionStatus,
        around: Surroundings<'_>,
        effects: &mut Vec<Effect>,
    ) -> Record {
        let run = self.audio.run();
        self.finish_run(around.settings.end_grace, effects);
        self.session = None;
        self.ended = Some(EndedSession { session, run, until: around.now.steady + around.settings.end_grace });
        around.registry.close_session(self.user(), session, Some(around.connection), around.now.steady);
        let user = self.user().clone();
        effects.push(Effect::SessionOver { session, user: user.clone() });
        let (stream, at) = (self.stream(), self.received_at(around));
        Record::SessionClosed(SessionClosed { session, user, stream, seq, status, at })
    }

    /// The session that is on now. One that ran out of time is closed here.
    pub(super) fn current_session(&mut self, around: Surroundings<'_>, effects: &mut Vec<Effect>) -> Option<SessionId> {
        let (now, limits) = (around.now.steady, around.registry.limits());
        let mut live = self.session?;
        if !live.is_live(now, limits) {
            // Another connection of the user may have kept it alive.
            if let Some(known) = around.registry.live_session(self.user(), now) {
                self.session = Some(known);
                return Some(known.session);
            }
            let closed = self.close_session(live.session, None, SessionStatus::Expired, around, effects);
            // What comes now comes after the end, not within its grace.
            self.ended = None;
            self.append(vec![closed], None, Permit::none(), effects);
            return None;
        }
        live.alive = now;
        self.session = Some(live);
        Some(live.session)
    }

    pub(super) fn ended_within_grace(&self, around: Surroundings<'_>) -> Option<SessionId> {
        self.ended.filter(|ended| around.now.steady <= ended.until).map(|ended| ended.session)
    }

    /// Another connection of the user opened a session.
    pub(super) fn on_session_opened(&mut self, around: Surroundings<'_>) {
        if let Some(live) = around.registry.live_session(self.user(), around.now.steady) {
            self.session = Some(live);
            self.ended = None;
        }
    }

    /// Nothing belongs to it any more: no grace, no run to go on with.
    pub(super) fn on_session_deleted(&mut self, session: SessionId) {
        self.session.take_if(|live| live.session == session);
        self.ended.take_if(|ended| ended.session == session);
        self.audio.forget_run_of(session);
    }

    /// Another connection of the user, or time, ended a session.
    pub(super) fn on_session_closed(&mut self, session: SessionId, around: Surroundings<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.session.is_some_and(|live| live.session == session) {
            let run = self.audio.run();
            self.finish_run(around.settings.end_grace, &mut effects);
            self.session = None;
            self.ended = Some(EndedSession { session, run, until: around.now.steady + around.settings.end_grace });
        }
        effects
    }
}
