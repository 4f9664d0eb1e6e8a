//! The session actor: one per connection, on the connection's thread. It does what [`SessionState`] decides.
//!
//! Owns: its state, its codec, and the only address its transport and the pools know it by.
//! Promises: effects are done in order; data goes with its permit; a pool that is gone is told to the client as an
//! error, never passed over.
//! Refuses: decisions.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use tracing::{debug, info_span};

use super::{
    ConnectionHandle, ConnectionLost, FrameIn, LostCause, SessionHandle, SessionNews,
    delivery::{DeliveryActor, SessionOver},
    effect::{AudioEffect, Effect},
    refusals::Refusals,
    registry::{ConnectionId, Now, Registry},
    state::{SessionSettings, SessionState, Surroundings, aborted},
};
use crate::{
    auth::Visit,
    domain::{Presence, Record, StreamId, UserId},
    persist::{
        AppendRecords, CloseStream, OpenStream, PersistActor, RecordsStored, StoreRecord, StreamFenced, StreamReady,
        StreamSubscriber,
    },
    protocol::{Codec, ErrorCode, ProtocolError, ServerMessage},
    runtime::{ActorPool, MAILBOX_BOUNDED_BY_BYTES, Permit},
    upload::{AppendAudio, AudioAck, AudioJournaled, AudioRefused, LookupStreamAudio, UnstoredRun, UploadActor},
};

/// Longest wait for what an earlier process left of a stream. Recovery takes far less; a disk that cannot be read takes
/// for ever.
const RECALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is looked whether the time of a token or key is over: not later than this, not sooner.
const MAX_IDENTITY_STEP: Duration = Duration::from_hours(1);
const MIN_IDENTITY_STEP: Duration = Duration::from_millis(10);

/// What every session of a node is made with.
pub struct SessionDeps {
    pub persist: ActorPool<PersistActor>,
    pub upload: ActorPool<UploadActor>,
    pub delivery: Addr<DeliveryActor>,
    pub registry: Arc<Registry>,
    pub refusals: Arc<Refusals>,
    pub settings: SessionSettings,
    /// Longest time from the connection to its hello.
    pub handshake_timeout: Duration,
}

/// The actor.
pub struct SessionActor {
    id: ConnectionId,
    state: SessionState,
    codec: Box<dyn Codec>,
    connection: ConnectionHandle,
    visit: Visit,
    /// Base of the URLs that this client is told, without a slash at its end.
    base_url: String,
    deps: Arc<SessionDeps>,
    span: tracing::Span,
}

impl SessionActor {
    /// Starts the session of a connection on the current thread.
    #[must_use]
    pub fn start_for(
        connection: ConnectionHandle,
        codec: Box<dyn Codec>,
        visit: Visit,
        base_url: String,
        deps: Arc<SessionDeps>,
    ) -> SessionHandle {
        let id = deps.registry.next_connection_id();
        let span = info_span!("connection", id = id.0);
        let actor = Self { id, state: SessionState::default(), codec, connection, visit, base_url, deps, span };
        let address = actor.start();
        SessionHandle { frames: address.clone().recipient(), lost: address.recipient() }
    }

    fn decide<T>(&mut self, decision: impl FnOnce(&mut SessionState, Surroundings<'_>) -> T) -> T {
        let around = Surroundings {
            connection: self.id,
            registry: &self.deps.registry,
            settings: &self.deps.settings,
            visit: &self.visit,
            now: Now::read(),
        };
        decision(&mut self.state, around)
    }

    fn fail(&mut self, violation: &ProtocolError, ctx: &mut Context<Self>) {
        let effects = self.decide(|state, around| state.fail(violation, around));
        self.run(effects, ctx);
    }

    fn run(&mut self, effects: Vec<Effect>, ctx: &mut Context<Self>) {
        let mut effects = effects.into_iter();
        while let Some(effect) = effects.next() {
            if let Err(violation) = self.run_one(effect, ctx) {
                self.fail(&violation, ctx);
                // The rest may be the way out of a state that was left already: what lets go is done all the same.
                for effect in effects {
                    if let Effect::Close(code) = effect {
                        self.close(code, ctx);
                    } else {
                        self.let_go(effect);
                    }
                }
                return;
            }
        }
    }

    fn close(&self, code: ErrorCode, ctx: &mut Context<Self>) {
        debug!(parent: &self.span, code = code.as_str(), "closing for cause");
        self.connection.close(code.close_code(), code.as_str());
        ctx.stop();
    }

    fn run_one(&mut self, effect: Effect, ctx: &mut Context<Self>) -> Result<(), ProtocolError> {
        match effect {
            Effect::OpenStream { stream, user, resume } => {
                let memo = self.deps.registry.recall_stream(stream);
                if resume && memo.is_none_or(|memo| memo.audio_durable < memo.audio_accepted) {
                    self.recall_then_open(stream, user, ctx);
                    return Ok(());
                }
                self.open_stream(stream, user, resume, ctx)
            }
            Effect::Append { stream, ticket, records, ack_wanted, permit } => {
                let append = AppendRecords { stream, connection: self.id.0, ticket, records, ack_wanted, permit };
                self.deps.persist.of(&stream).try_send(append).map_err(|_| aborted())
            }
            Effect::BeginRun(begin) => self.deps.upload.of(&begin.run).try_send(begin).map_err(|_| aborted()),
            Effect::AppendAudio(audio) => self.append_audio(audio, ctx),
            Effect::Join { user } => {
                self.join(&user, ctx);
                Ok(())
            }
            Effect::CloseStream { .. } | Effect::FinishRun(_) | Effect::Leave { .. } => {
                self.let_go(effect);
                Ok(())
            }
            Effect::SessionOver { session, user } => {
                let _ = self.deps.delivery.try_send(SessionOver { session, user });
                Ok(())
            }
            Effect::Send(message) => {
                self.send(&message, ctx);
                Ok(())
            }
            Effect::Close(code) => {
                self.close(code, ctx);
                Ok(())
            }
            Effect::EndAfter(time) => {
                Self::question_identity_after(time, ctx);
                Ok(())
            }
        }
    }

    /// In steps: the wall clock may be set, and timers take no years.
    fn question_identity_after(time: Duration, ctx: &mut Context<Self>) {
        ctx.run_later(time.min(MAX_IDENTITY_STEP), |actor, ctx| {
            let effects = actor.decide(SessionState::on_identity_questioned);
            let left = actor.decide(|state, around| state.time_left(around.now.wall));
            actor.run(effects, ctx);
            if let (false, Some(left)) = (actor.state.is_closed(), left) {
                Self::question_identity_after(left.max(MIN_IDENTITY_STEP), ctx);
            }
        });
    }

    fn open_stream(
        &self,
        stream: StreamId,
        user: UserId,
        resume: bool,
        ctx: &Context<Self>,
    ) -> Result<(), ProtocolError> {
        let now = Now::read().wall;
        let limits = self.deps.registry.limits();
        let open = OpenStream {
            stream,
            connection: self.id.0,
            user,
            resume,
            alive_since: now.minus(limits.idle_timeout),
            opened_since: now.minus(limits.max_duration),
            session: StreamSubscriber {
                ready: ctx.address().recipient(),
                stored: ctx.address().recipient(),
                fenced: ctx.address().recipient(),
            },
        };
        self.deps.persist.of(&stream).try_send(open).map_err(|_| aborted())
    }

    /// A stream that left before this process was started, or a moment ago, may have audio in the journal which the database
    /// does not know of yet: it goes on behind that.
    fn recall_then_open(&self, stream: StreamId, user: UserId, ctx: &mut Context<Self>) {
        let asked = self.deps.upload.all().into_iter().map(|actor| actor.send(LookupStreamAudio { stream }));
        let asked = futures_util::future::join_all(asked.collect::<Vec<_>>());
        let asked = tokio::time::timeout(RECALL_TIMEOUT, asked);
        let recalled = asked.into_actor(self).map(move |answers, actor, ctx| {
            // Without all answers, bytes that are durable could be taken a second time.
            let Ok(answers) = answers else { return actor.fail(&aborted(), ctx) };
            let runs: Vec<UnstoredRun> = answers.into_iter().flatten().flatten().collect();
            actor.decide(|_, around| around.registry.recall_runs(stream, &runs, around.now, around.settings));
            if let Err(violation) = actor.open_stream(stream, user, true, ctx) {
                actor.fail(&violation, ctx);
            }
        });
        ctx.spawn(recalled);
    }

    /// The effects of leaving, which need no answer.
    fn let_go(&self, effect: Effect) {
        match effect {
            // A pool that lost its actor has no stream to close, and finishes runs by their idle limit.
            Effect::CloseStream { stream } => {
                let _ = self.deps.persist.of(&stream).try_send(CloseStream { stream, connection: self.id.0 });
            }
            Effect::FinishRun(finish) => {
                let _ = self.deps.upload.of(&finish.run).try_send(finish);
            }
            Effect::Leave { user } => {
                let persist = &self.deps.persist;
                self.deps.registry.leave(&user, self.id, || tell_presence(persist, &user, false));
            }
            _ => {}
        }
    }

    fn append_audio(&self, audio: AudioEffect, ctx: &Context<Self>) -> Result<(), ProtocolError> {
        let AudioEffect { run, stream, at, bytes, ticket, stream_end, permit } = audio;
        let stream_offset = stream_end - bytes.len() as u64;
        let ack = AudioAck::new(ctx.address().recipient(), ctx.address().recipient(), stream_end, ticket);
        self.deps
            .upload
            .of(&run)
            .try_send(AppendAudio { run, stream, stream_offset, at, bytes, ack: Some(ack), permit })
            .map_err(|_| aborted())
    }

    fn join(&self, user: &UserId, ctx: &Context<Self>) {
        let persist = &self.deps.persist;
        let news = ctx.address().recipient();
        let waiting =
            self.deps.registry.join(user, self.id, news, Now::read().steady, || tell_presence(persist, user, true));
        for news in waiting {
            ctx.address().recipient().do_send(news);
        }
    }

    fn send(&mut self, message: &ServerMessage, ctx: &mut Context<Self>) {
        if let ServerMessage::Error { code, .. } | ServerMessage::Refused { code, .. } = message {
            self.deps.refusals.count(*code);
        }
        for frame in self.codec.encode(message) {
            if self.connection.send(frame).is_err() {
                if !self.state.is_closed() {
                    let slow = ProtocolError::new(ErrorCode::SlowReader, "the client does not read what it is sent");
                    self.fail(&slow, ctx);
                }
                return;
            }
        }
    }
}

impl Drop for SessionActor {
    /// A session that dies of a panic leaves as one whose connection was lost, and its client reconnects.
    fn drop(&mut self) {
        if !self.state.is_closed() {
            for effect in self.decide(SessionState::on_connection_lost) {
                self.let_go(effect);
            }
            self.connection.close(ErrorCode::Aborted.close_code(), ErrorCode::Aborted.as_str());
        }
    }
}

/// Presence goes to one slot per user, so that it is stored in the order it changed.
fn tell_presence(persist: &ActorPool<PersistActor>, user: &UserId, connected: bool) {
    let record = Record::Presence(Presence { user: user.clone(), connected, at: Now::read().wall });
    if persist.of(user).try_send(StoreRecord { record, reply: None }).is_err() {
        tracing::warn!("presence of a user was not recorded: the persistence actor is gone");
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Bounded by the bytes that its connection may hold, not by slots.
        ctx.set_mailbox_capacity(MAILBOX_BOUNDED_BY_BYTES);
        ctx.run_later(self.deps.handshake_timeout, |actor, ctx| {
            if !actor.state.is_introduced() {
                actor.fail(&ProtocolError::new(ErrorCode::HelloTimeout, "no hello came in time"), ctx);
            }
        });
    }
}

impl Handler<FrameIn> for SessionActor {
    type Result = ();

    fn handle(&mut self, FrameIn { frame, mut permit }: FrameIn, ctx: &mut Self::Context) {
        let span = self.span.clone();
        let _entered = span.enter();
        let decoded = match self.codec.decode(frame) {
            Ok(decoded) => decoded,
            Err(violation) => return self.fail(&violation, ctx),
        };
        for reply in decoded.replies {
            if self.connection.send(reply).is_err() {
                let slow = ProtocolError::new(ErrorCode::SlowReader, "the client does not read what it is sent");
                return self.fail(&slow, ctx);
            }
        }
        let last = decoded.messages.len().saturating_sub(1);
        for (at, message) in decoded.messages.into_iter().enumerate() {
            // The bytes of a frame with several messages are shared: the last to let go of them gives them back.
            let permit = if at == last { std::mem::take(&mut permit) } else { Permit::none() };
            let effects = self.decide(|state, around| state.on_message(message, permit, around));
            self.run(effects, ctx);
        }
    }
}

impl Handler<ConnectionLost> for SessionActor {
    type Result = ();

    fn handle(&mut self, lost: ConnectionLost, ctx: &mut Self::Context) {
        match lost.cause {
            LostCause::Violation(violation) => self.fail(&violation, ctx),
            LostCause::ClosedByPeer | LostCause::ClosedByUs => {
                let effects = self.decide(SessionState::on_connection_lost);
                self.run(effects, ctx);
            }
        }
        ctx.stop();
    }
}

impl Handler<StreamReady> for SessionActor {
    type Result = ();

    fn handle(&mut self, ready: StreamReady, ctx: &mut Self::Context) {
        let effects = self.decide(|state, around| state.on_stream_ready(&ready, around));
        self.run(effects, ctx);
    }
}

impl Handler<RecordsStored> for SessionActor {
    type Result = ();

    fn handle(&mut self, stored: RecordsStored, ctx: &mut Self::Context) {
        let effects = self.state.on_records_stored(&stored);
        self.run(effects, ctx);
    }
}

impl Handler<AudioJournaled> for SessionActor {
    type Result = ();

    fn handle(&mut self, journaled: AudioJournaled, ctx: &mut Self::Context) {
        let effects = self.state.on_audio_journaled(journaled);
        self.run(effects, ctx);
    }
}

impl Handler<AudioRefused> for SessionActor {
    type Result = ();

    fn handle(&mut self, _: AudioRefused, ctx: &mut Self::Context) {
        let effects = self.decide(SessionState::on_audio_refused);
        self.run(effects, ctx);
    }
}

impl Handler<StreamFenced> for SessionActor {
    type Result = ();

    fn handle(&mut self, fenced: StreamFenced, ctx: &mut Self::Context) {
        let effects = self.decide(|state, around| state.on_fenced(fenced.stream, fenced.reason, around));
        self.run(effects, ctx);
    }
}

impl Handler<SessionNews> for SessionActor {
    type Result = ();

    fn handle(&mut self, news: SessionNews, ctx: &mut Self::Context) {
        let base_url = std::mem::take(&mut self.base_url);
        let effects = self.decide(|state, around| state.on_news(news, &base_url, around));
        self.base_url = base_url;
        self.run(effects, ctx);
    }
}
