//! A stream that is open: events get their place, acks are owed and paid.
//!
//! Promises: every record of the stream gets a ticket in order; an ack is paid when its ticket is.

use std::{collections::VecDeque, time::Instant};

use super::{
    audio::AudioLane,
    effect::Effect,
    recording::{Came, ObeyedWord},
    registry::{LiveSession, StreamMemo},
    state::Surroundings,
};
use crate::{
    domain::{Event, Record, RunId, SessionId, SessionTouched, StreamId, StreamOpened, Timestamp, UserId},
    persist::{RecordsStored, StreamLookup},
    protocol::{AckTag, ClientEvent, ClientMessage, ErrorCode, Hello, ProtocolError, ServerMessage},
    runtime::Permit,
    upload::AudioJournaled,
};

/// Each second is often enough to tell the rest of the node that a session is alive.
const NODE_TOUCH_MS: u128 = 1_000;

/// The state of one open stream.
#[derive(Debug)]
pub(super) struct Live {
    stream: StreamId,
    user: UserId,
    /// Highest number taken or given.
    last_seq: i64,
    /// Where numbers that the server gives begin, when nobody knows which were given before.
    given_floor: i64,
    durable_seq: i64,
    last_received_at: Timestamp,
    ticket: u64,
    owed: VecDeque<(u64, Owed)>,
    /// Few, and each for as long as a commit takes.
    pub(super) obeyed: Vec<ObeyedWord>,
    pub(super) session: Option<LiveSession>,
    pub(super) ended: Option<EndedSession>,
    told_node_alive: Instant,
    pub(super) told_database_alive: Instant,
    pub(super) audio: AudioLane,
    introduction: Option<StreamOpened>,
}

/// A recording that ended a moment ago: what was on its way still belongs to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndedSession {
    pub(super) session: SessionId,
    pub(super) run: Option<RunId>,
    pub(super) until: Instant,
}

/// An answer that waits for its ticket.
#[derive(Debug)]
pub(super) enum Owed {
    Ack { tag: AckTag, seq: i64 },
    Word { tag: AckTag, came: Came },
}

impl Live {
    pub(super) fn new(
        stream: StreamId,
        user: UserId,
        hello: &Hello,
        memo: Option<&StreamMemo>,
        lookup: &StreamLookup,
        session: Option<LiveSession>,
        around: Surroundings<'_>,
    ) -> Self {
        let (durable_seq, stored_audio) = match lookup {
            StreamLookup::Known { last_seq, audio_end } => (*last_seq, *audio_end),
            StreamLookup::New | StreamLookup::Unknown | StreamLookup::Foreign => (0, 0),
        };
        // Microseconds since 1970 are above any count that a stream reached before.
        let given_floor = if *lookup == StreamLookup::Unknown { around.now.wall.as_unix_ms() * 1_000 } else { 0 };
        Self {
            stream,
            last_seq: memo.map_or(0, |memo| memo.last_seq).max(durable_seq),
            given_floor,
            durable_seq,
            last_received_at: around.now.wall,
            ticket: 0,
            owed: VecDeque::new(),
            obeyed: memo.map_or_else(Vec::new, |memo| ObeyedWord::still_undurable(&memo.obeyed, durable_seq)),
            session,
            ended: None,
            told_node_alive: around.now.steady,
            told_database_alive: around.now.steady,
            audio: AudioLane::new(memo, stored_audio, hello.audio_offset),
            introduction: Some(StreamOpened {
                stream,
                user: user.clone(),
                profile: hello.profile.clone(),
                at: around.now.wall,
            }),
            user,
        }
    }

    pub(super) const fn stream(&self) -> StreamId {
        self.stream
    }

    pub(super) const fn user(&self) -> &UserId {
        &self.user
    }

    /// The stream's own record, and the welcome where the client waits for one.
    pub(super) fn introduce(&mut self, with_welcome: bool, effects: &mut Vec<Effect>) {
        if let Some(opened) = self.introduction.take() {
            self.append(vec![Record::StreamOpened(opened)], None, Permit::none(), effects);
        }
        if with_welcome {
            effects.push(Effect::Send(ServerMessage::Welcome {
                user: self.user.clone(),
                stream: self.stream,
                session: self.session.map(|live| live.session),
                next_seq: self.durable_seq + 1,
                audio_offset: self.audio.durable(),
            }));
        }
    }

    pub(super) fn on_message(
        &mut self,
        message: ClientMessage,
        permit: Permit,
        around: Surroundings<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ProtocolError> {
        match message {
            ClientMessage::Hello(_) | ClientMessage::Identify(_) => {}
            ClientMessage::Event(event) => self.on_event(event, permit, around, effects),
            ClientMessage::StartRecording(start) => self.on_start(start, around, effects),
            ClientMessage::EndRecording { seq, ack, .. } => self.on_end(seq, ack, around, effects),
            ClientMessage::Audio { bytes, ack, starts_recording, .. } => {
                if starts_recording && self.audio_needs_session(&bytes, around, effects) {
                    self.start_by_audio(around, effects);
                }
                return self.on_audio(&bytes, ack, permit, around, effects);
            }
        }
        Ok(())
    }

    fn on_event(&mut self, event: ClientEvent, permit: Permit, around: Surroundings<'_>, effects: &mut Vec<Effect>) {
        let seq = event.seq.unwrap_or_else(|| self.last_seq.max(self.given_floor) + 1);
        self.last_seq = self.last_seq.max(seq);
        let session = self.current_session(around, effects).or_else(|| self.ended_within_grace(around));
        let record = Record::Event(Event {
            stream: self.stream,
            seq,
            user: self.user.clone(),
            session,
            name: event.name,
            data: event.data,
            client_at: event.at,
            received_at: self.received_at(around),
        });
        let records = match self.touch(around) {
            None => vec![record],
            Some(touch) => vec![touch, record],
        };
        let owed = event.ack.is_wanted().then_some(Owed::Ack { tag: event.ack, seq });
        self.append(records, owed, permit, effects);
    }

    /// Tells the node each second, and the database now and then, that the session is alive.
    fn touch(&mut self, around: Surroundings<'_>) -> Option<Record> {
        let live = self.session?;
        let now = around.now.steady;
        if now.duration_since(self.told_node_alive).as_millis() >= NODE_TOUCH_MS {
            self.told_node_alive = now;
            around.registry.touch_session(&self.user, live.session, now);
        }
        if now.duration_since(self.told_database_alive) < around.settings.touch_interval {
            return None;
        }
        self.told_database_alive = now;
        let user = self.user.clone();
        Some(Record::SessionTouched(SessionTouched { session: live.session, user, at: around.now.wall }))
    }

    /// The same for audio, which has no record to travel with.
    pub(super) fn touch_for_audio(&mut self, around: Surroundings<'_>, effects: &mut Vec<Effect>) {
        if let Some(touch) = self.touch(around) {
            self.append(vec![touch], None, Permit::none(), effects);
        }
    }

    /// A number at or below one taken before: a resend of a word that was obeyed already.
    pub(super) const fn is_repeated(&mut self, seq: Option<i64>) -> bool {
        match seq {
            Some(seq) if seq <= self.last_seq => true,
            Some(seq) => {
                self.last_seq = seq;
                false
            }
            None => false,
        }
    }

    /// The time of arrival. Within a stream it never goes back, whatever the wall clock does.
    pub(super) fn received_at(&mut self, around: Surroundings<'_>) -> Timestamp {
        self.last_received_at = self.last_received_at.max(around.now.wall);
        self.last_received_at
    }

    /// The ticket that the records get.
    pub(super) fn append(
        &mut self,
        records: Vec<Record>,
        owed: Option<Owed>,
        permit: Permit,
        effects: &mut Vec<Effect>,
    ) -> u64 {
        self.ticket += 1;
        let ack_wanted = owed.is_some();
        if let Some(owed) = owed {
            self.owed.push_back((self.ticket, owed));
        }
        effects.push(Effect::Append { stream: self.stream, ticket: self.ticket, records, ack_wanted, permit });
        self.ticket
    }

    pub(super) fn on_records_stored(&mut self, stored: &RecordsStored) -> Vec<Effect> {
        let mut effects: Vec<Effect> = stored
            .rejected
            .iter()
            .map(|rejected| {
                let message = rejected.reason.clone();
                Effect::Send(ServerMessage::Error { code: ErrorCode::Rejected, message, seq: rejected.seq })
            })
            .collect();
        let rejection = |seq: i64| stored.rejected.iter().find(|rejected| rejected.seq == Some(seq));
        // One cumulative answer for all the numbered messages of a batch.
        let mut highest = None;
        while let Some((_, owed)) = self.owed.pop_front_if(|(ticket, _)| *ticket <= stored.ticket) {
            match owed {
                Owed::Ack { tag: AckTag::Seq(seq), .. } => highest = highest.max(Some(seq)),
                Owed::Ack { tag: tag @ AckTag::Id(_), seq } if let Some(rejected) = rejection(seq) => {
                    let (code, message) = (ErrorCode::Rejected, rejected.reason.clone());
                    effects.push(Effect::Send(ServerMessage::Refused { tag, code, message, seq: rejected.seq }));
                }
                Owed::Ack { tag, .. } => effects.push(Effect::Send(ServerMessage::Acked(tag))),
                Owed::Word { tag, came } => {
                    flush(&mut highest, &mut effects);
                    effects.push(Effect::Send(came.answer(tag)));
                }
            }
        }
        flush(&mut highest, &mut effects);
        self.obeyed.retain(|word| word.ticket.is_none_or(|ticket| ticket > stored.ticket));
        effects
    }

    pub(super) fn on_audio_journaled(&mut self, journaled: AudioJournaled) -> Vec<Effect> {
        self.audio.on_journaled(journaled)
    }

    pub(super) const fn on_audio_refused(&mut self) {
        self.audio.on_refused();
    }

    /// The connection is gone, or belongs to another user from now on.
    pub(super) fn leave(&mut self, around: Surroundings<'_>, effects: &mut Vec<Effect>) {
        self.lose_run(around, effects);
        around.registry.remember_stream(
            self.stream,
            StreamMemo {
                user: self.user.clone(),
                last_seq: self.last_seq,
                obeyed: std::mem::take(&mut self.obeyed),
                audio_accepted: self.audio.position(),
                audio_durable: self.audio.durable(),
                left: around.now.steady,
            },
        );
        effects.push(Effect::CloseStream { stream: self.stream });
        effects.push(Effect::Leave { user: self.user.clone() });
    }
}

fn flush(highest: &mut Option<i64>, effects: &mut Vec<Effect>) {
    if let Some(seq) = highest.take() {
        effects.push(Effect::Send(ServerMessage::Acked(AckTag::Seq(seq))));
    }
}

impl ClientMessage {
    /// The user that the message itself names.
    pub(super) const fn user(&self) -> Option<&UserId> {
        match self {
            Self::Hello(hello) => hello.user.as_ref(),
            Self::Identify(user) => Some(user),
            Self::StartRecording(start) => start.user.as_ref(),
            Self::Audio { user, .. } | Self::EndRecording { user, .. } => user.as_ref(),
            Self::Event(event) => event.user.as_ref(),
        }
    }
}
