//! What a session decides: messages in, effects out. No I/O, no clock.
//!
//! Owns: the phases of a connection, from hello to goodbye, and what waits while a stream is looked up.
//! Promises: messages keep their order through every phase; an ack is sent only for what the persistence or upload
//! actor reported durable; a violation is told before the close, and ends this connection only.
//! Refuses: to know its transport, or what happens to an effect.

use std::collections::VecDeque;

use super::{
    effect::Effect,
    live::Live,
    registry::{ConnectionId, Now, Registry},
};
use crate::{
    auth::{Identity, Visit},
    domain::{StreamId, Timestamp, UserId},
    persist::{FenceReason, RecordsStored, StreamLookup, StreamReady},
    protocol::{ClientMessage, ErrorCode, Hello, ProtocolError, ServerMessage},
    runtime::Permit,
    session::SessionNews,
    upload::AudioJournaled,
};

/// Settings of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionSettings {
    /// How long after `recording:end` late audio and events still belong to the recording.
    pub end_grace: std::time::Duration,
    /// How long a run waits for its user's next connection.
    pub reconnect_grace: std::time::Duration,
    /// How often the database is told that a session is alive.
    pub touch_interval: std::time::Duration,
}

/// What a decision is made with.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) connection: ConnectionId,
    pub(super) registry: &'a Registry,
    pub(super) settings: &'a SessionSettings,
    /// Who the client may be.
    pub(super) visit: &'a Visit,
    pub(super) now: Now,
}

/// The state of one connection's session.
#[derive(Debug, Default)]
pub(super) struct SessionState {
    phase: Phase,
    /// Of whom the hello was accepted from.
    identity: Identity,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    AwaitingHello,
    /// Hello was said without a user; a later message may name one.
    AwaitingUser(Hello),
    /// The stream is being looked up.
    Opening(Box<Opening>),
    Live(Box<Live>),
    Closed,
}

#[derive(Debug)]
struct Opening {
    stream: StreamId,
    user: UserId,
    hello: Hello,
    /// Whether this is the connection's first stream, and the client waits for a welcome.
    is_first: bool,
    waiting: VecDeque<(ClientMessage, Permit)>,
}

impl SessionState {
    /// Whether the client has said hello.
    #[must_use]
    pub(super) const fn is_introduced(&self) -> bool {
        !matches!(self.phase, Phase::AwaitingHello)
    }

    #[must_use]
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// A message of the client.
    pub(super) fn on_message(
        &mut self,
        message: ClientMessage,
        permit: Permit,
        around: Surroundings<'_>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Err(violation) = self.take_message(message, permit, around, &mut effects) {
            effects.extend(self.fail(&violation, around));
        }
        effects
    }

    fn take_message(
        &mut self,
        message: ClientMessage,
        permit: Permit,
        around: Surroundings<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ProtocolError> {
        if !matches!(self.phase, Phase::Closed) {
            self.check_user(&message, around)?;
        }
        match (&mut self.phase, message) {
            (Phase::Closed, _) => Ok(()),
            (Phase::AwaitingHello, ClientMessage::Hello(hello)) => {
                self.identity = around.visit.admit(&hello, around.now.wall)?;
                if let Some(valid_until) = self.identity.valid_until {
                    effects.push(Effect::EndAfter(valid_until.since(around.now.wall)));
                }
                match self.identity.user.clone().or_else(|| hello.user.clone()) {
                    None if hello.names_user_later => {
                        self.phase = Phase::AwaitingUser(hello);
                        effects.push(Effect::Send(ServerMessage::Admitted));
                    }
                    user => effects.extend(self.open(user.unwrap_or_else(UserId::anonymous), hello, true, around)?),
                }
                Ok(())
            }
            (Phase::AwaitingHello, _) => {
                Err(ProtocolError::new(ErrorCode::HelloRequired, "the first message must be a hello"))
            }
            (_, ClientMessage::Hello(_)) => Err(ProtocolError::bad_message("hello was said before")),
            (Phase::AwaitingUser(hello), message) => {
                let hello = std::mem::take(hello);
                let user = message.user().cloned().unwrap_or_else(UserId::anonymous);
                effects.extend(self.open(user, hello, true, around)?);
                self.enqueue(message, permit);
                Ok(())
            }
            (Phase::Opening(opening), message) => {
                opening.waiting.push_back((message, permit));
                Ok(())
            }
            (Phase::Live(live), message) => {
                if let Some(user) = message.user().filter(|user| *user != live.user()) {
                    let user = user.clone();
                    live.leave(around, effects);
                    effects.extend(self.open(user, Hello::default(), false, around)?);
                    self.enqueue(message, permit);
                    return Ok(());
                }
                live.on_message(message, permit, around, effects)
            }
        }
    }

    /// Nobody writes as somebody else: who came with a token is its user and no other.
    fn check_user(&self, message: &ClientMessage, around: Surroundings<'_>) -> Result<(), ProtocolError> {
        match (&self.identity.user, message.user()) {
            (Some(user), Some(named)) if user != named => {
                around.visit.count(ErrorCode::WrongUser);
                Err(ProtocolError::new(ErrorCode::WrongUser, "this connection's token is another user's"))
            }
            _ => Ok(()),
        }
    }

    /// Until the token's or key's time is over.
    pub(super) fn time_left(&self, now: Timestamp) -> Option<std::time::Duration> {
        self.identity.valid_until.map(|valid_until| valid_until.since(now))
    }

    /// The time of the token or key is over, or the keys changed.
    pub(super) fn on_identity_questioned(&mut self, around: Surroundings<'_>) -> Vec<Effect> {
        if !self.is_introduced() || self.is_closed() {
            return Vec::new();
        }
        let is_over = self.identity.valid_until.is_some_and(|valid_until| valid_until <= around.now.wall);
        let violation = if is_over {
            let message = "the time of this token or key is over: reconnect with a new one";
            ProtocolError::new(ErrorCode::TokenExpired, message)
        } else if !around.visit.is_still(&self.identity, around.now.wall) {
            revoked()
        } else {
            return Vec::new();
        };
        around.visit.count(violation.code);
        self.fail(&violation, around)
    }

    fn enqueue(&mut self, message: ClientMessage, permit: Permit) {
        if let (Phase::Opening(opening), false) = (&mut self.phase, matches!(message, ClientMessage::Identify(_))) {
            opening.waiting.push_back((message, permit));
        }
    }

    fn open(
        &mut self,
        user: UserId,
        hello: Hello,
        is_first: bool,
        around: Surroundings<'_>,
    ) -> Result<Vec<Effect>, ProtocolError> {
        let memo = hello.stream.and_then(|stream| around.registry.recall_stream(stream));
        if memo.is_some_and(|memo| memo.user != user) {
            return Err(foreign_stream());
        }
        let resume = hello.stream.is_some();
        let stream = hello.stream.unwrap_or_default();
        let opened = Effect::OpenStream { stream, user: user.clone(), resume };
        self.phase = Phase::Opening(Box::new(Opening { stream, user, hello, is_first, waiting: VecDeque::new() }));
        Ok(vec![opened])
    }

    /// The stream was looked up.
    pub(super) fn on_stream_ready(&mut self, ready: &StreamReady, around: Surroundings<'_>) -> Vec<Effect> {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Opening(opening) if opening.stream == ready.stream => self.go_live(*opening, ready, around),
            other => {
                self.phase = other;
                Vec::new()
            }
        }
    }

    fn go_live(&mut self, opening: Opening, ready: &StreamReady, around: Surroundings<'_>) -> Vec<Effect> {
        let Opening { stream, user, hello, is_first, waiting } = opening;
        let memo = around.registry.recall_stream(stream);
        let refuse = |violation: &ProtocolError| {
            let mut effects = vec![Effect::CloseStream { stream }];
            effects.extend(farewell(violation));
            effects
        };
        if ready.state == StreamLookup::Foreign || memo.as_ref().is_some_and(|memo| memo.user != user) {
            return refuse(&foreign_stream());
        }
        // From here on it is told of changes; before, it was not.
        if !around.visit.is_still(&self.identity, around.now.wall) {
            return refuse(&revoked());
        }
        if let Some(open) = &ready.open_session {
            around.registry.offer_session(&user, open, around.now);
        }
        let session = around.registry.live_session(&user, around.now.steady);
        if let Some(wanted) = hello.session
            && session.is_none_or(|live| live.session != wanted)
        {
            let message = "this session is not open for this user";
            return refuse(&ProtocolError::new(ErrorCode::UnknownSession, message));
        }
        let mut effects = vec![Effect::Join { user: user.clone() }];
        let mut live = Box::new(Live::new(stream, user, &hello, memo.as_ref(), &ready.state, session, around));
        live.introduce(is_first, &mut effects);
        self.phase = Phase::Live(live);
        for (message, permit) in waiting {
            effects.extend(self.on_message(message, permit, around));
        }
        effects
    }

    /// Records became durable.
    pub(super) fn on_records_stored(&mut self, stored: &RecordsStored) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Live(live) if live.stream() == stored.stream => live.on_records_stored(stored),
            _ => Vec::new(),
        }
    }

    /// Audio became durable.
    pub(super) fn on_audio_journaled(&mut self, journaled: AudioJournaled) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Live(live) => live.on_audio_journaled(journaled),
            _ => Vec::new(),
        }
    }

    /// Audio was handed over that will not become durable: its run is finished, or its actor died.
    pub(super) fn on_audio_refused(&mut self, around: Surroundings<'_>) -> Vec<Effect> {
        if let Phase::Live(live) = &mut self.phase {
            live.on_audio_refused();
        }
        self.fail(&aborted(), around)
    }

    /// The stream was taken by another connection, or its actor died.
    pub(super) fn on_fenced(&mut self, stream: StreamId, reason: FenceReason, around: Surroundings<'_>) -> Vec<Effect> {
        let is_ours = match &self.phase {
            Phase::Live(live) => live.stream() == stream,
            Phase::Opening(opening) => opening.stream == stream,
            _ => false,
        };
        if !is_ours {
            return Vec::new();
        }
        let violation = match reason {
            FenceReason::Replaced => ProtocolError::new(ErrorCode::Replaced, "a newer connection resumed this stream"),
            FenceReason::Aborted => aborted(),
        };
        self.fail(&violation, around)
    }

    /// News from the rest of the node.
    pub(super) fn on_news(&mut self, news: SessionNews, base_url: &str, around: Surroundings<'_>) -> Vec<Effect> {
        match (&mut self.phase, news) {
            (Phase::Closed, _) => Vec::new(),
            (_, SessionNews::KeysChanged) => self.on_identity_questioned(around),
            (_, SessionNews::Drain) => {
                self.fail(&ProtocolError::new(ErrorCode::Draining, "this server stops: reconnect"), around)
            }
            (_, SessionNews::UserDeleted) => {
                let message = "all that was known of this user was deleted: reconnect as a new one";
                self.fail(&ProtocolError::new(ErrorCode::Deleted, message), around)
            }
            (_, SessionNews::AudioSaved { session, audio_urls }) => {
                let audio_urls = audio_urls.into_iter().map(|url| url.complete(base_url)).collect();
                vec![Effect::Send(ServerMessage::AudioSaved { session, audio_urls })]
            }
            (Phase::Live(live), SessionNews::Opened(_)) => {
                live.on_session_opened(around);
                Vec::new()
            }
            (Phase::Live(live), SessionNews::Closed(session)) => live.on_session_closed(session, around),
            (Phase::Live(live), SessionNews::SessionDeleted(session)) => {
                live.on_session_deleted(session);
                Vec::new()
            }
            (_, SessionNews::Opened(_) | SessionNews::Closed(_) | SessionNews::SessionDeleted(_)) => Vec::new(),
        }
    }

    /// The transport ended by itself.
    pub(super) fn on_connection_lost(&mut self, around: Surroundings<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Live(mut live) => live.leave(around, &mut effects),
            Phase::Opening(opening) => effects.push(Effect::CloseStream { stream: opening.stream }),
            Phase::AwaitingHello | Phase::AwaitingUser(_) | Phase::Closed => {}
        }
        effects
    }

    /// Tells the client what it did wrong, lets go of everything and closes.
    pub(super) fn fail(&mut self, violation: &ProtocolError, around: Surroundings<'_>) -> Vec<Effect> {
        if self.is_closed() {
            return Vec::new();
        }
        let mut effects = self.on_connection_lost(around);
        effects.extend(farewell(violation));
        effects
    }
}

/// The server lost track of something that it was sent.
pub(super) fn aborted() -> ProtocolError {
    ProtocolError::new(ErrorCode::Aborted, "reconnect and send again what was not acknowledged")
}

/// The error before the close.
fn farewell(violation: &ProtocolError) -> [Effect; 2] {
    let (code, message) = (violation.code, violation.message.to_string());
    [Effect::Send(ServerMessage::Error { code, message, seq: None }), Effect::Close(code)]
}

fn revoked() -> ProtocolError {
    ProtocolError::new(ErrorCode::Unauthorized, "the key of this connection is not valid any more")
}

fn foreign_stream() -> ProtocolError {
    ProtocolError::new(ErrorCode::UnknownStream, "this stream is not this user's")
}
