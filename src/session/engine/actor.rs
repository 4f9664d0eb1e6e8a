//! One Engine.IO session: between its transports and the application's session.
//!
//! Owns: the waiting requests, the handle to the websocket, the timer. [`EngineSession`] decides, this does.
//! Promises: the application hears of the end exactly once, also when this actor dies; every request is answered, or
//! learns by its dropped sender that the session is no more.
//! Refuses: decisions, and to keep what was delivered.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicUsize},
    time::Instant,
};

use actix::prelude::*;

use super::{
    super::{ConnectionHandle, ConnectionLost, FrameIn, FrameOut, LostCause, Pulse, SessionHandle},
    messages::{
        AttachWebSocket, BeginPost, EndPost, OpenWebSocket, Poll, PollAborted, PollAnswer, PostAborted, PostAnswer,
        WebSocketFailed,
    },
    registry::{Entry, Registered},
};
use crate::{
    auth::Throttle,
    protocol::{
        CloseCode, ErrorCode, ProtocolError,
        engine_session::{Effect, EndCause, EngineSession, PollId, Refusal},
        engineio::Packet,
    },
    runtime::{ConnectionBudget, Permit},
};

/// What waits is bounded by the bytes that a connection may hold, not by slots. (Half of `usize::MAX` would be too much:
/// senders are counted in what is left of it.)
const MAILBOX_SLOTS: usize = 1 << 30;

/// The actor.
pub(super) struct EngineActor {
    engine: EngineSession,
    session: SessionHandle,
    /// Told to the session already.
    is_over: bool,
    /// One waits; for a moment there are two, until the second is refused.
    polls: Vec<(PollId, PollAnswer)>,
    /// Requests that are refused once the application has told the client why.
    refused_posts: Vec<PostAnswer>,
    /// Of the session, what waits for a poll.
    queued_bytes: Arc<AtomicUsize>,
    websocket: WebSocket,
    timer: Option<(Instant, SpawnHandle)>,
    /// Given back when the session has finished.
    place: Option<Registered>,
}

enum WebSocket {
    None,
    /// Let in; its handle is on the way. With a close that waits for it.
    Expected(Option<(CloseCode, String)>),
    Attached {
        connection: ConnectionHandle,
        pulse: Pulse,
    },
}

/// What a session begins with.
pub(super) struct Beginning {
    pub(super) engine: EngineSession,
    pub(super) place: Registered,
    pub(super) budget: ConnectionBudget,
    pub(super) throttle: Throttle,
    /// The websocket that the session began with.
    pub(super) websocket: Option<(ConnectionHandle, Pulse)>,
    pub(super) outbound_bytes: usize,
}

impl EngineActor {
    /// Starts the session on this thread; it can be found from now on.
    pub(super) fn begin(beginning: Beginning, open: impl FnOnce(ConnectionHandle) -> SessionHandle) -> Addr<Self> {
        let Beginning { engine, place, budget, throttle, websocket, outbound_bytes } = beginning;
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX_SLOTS);
            let queued_bytes = Arc::default();
            let to = ctx.address().recipient();
            let session = open(ConnectionHandle::new(to, Arc::clone(&queued_bytes), outbound_bytes));
            place.announce(Entry { actor: ctx.address(), budget, throttle });
            Self {
                engine,
                session,
                is_over: false,
                polls: Vec::new(),
                refused_posts: Vec::new(),
                queued_bytes,
                websocket: websocket
                    .map_or(WebSocket::None, |(connection, pulse)| WebSocket::Attached { connection, pulse }),
                timer: None,
                place: Some(place),
            }
        })
    }

    /// Does what is decided, and what follows from it. `permit` is for the one frame that may be delivered.
    fn run(&mut self, effects: Vec<Effect>, mut permit: Permit, ctx: &mut Context<Self>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            effects.extend(self.run_one(effect, &mut permit, ctx));
        }
        self.set_timer(ctx);
    }

    fn run_one(&mut self, effect: Effect, permit: &mut Permit, ctx: &mut Context<Self>) -> Vec<Effect> {
        match effect {
            Effect::AnswerPoll { poll, packets } => {
                for packet in &packets {
                    self.taken(packet);
                }
                let answer = self.take_poll(poll);
                if answer.is_some_and(|answer| answer.send(Ok(packets)).is_err()) {
                    return self.engine.answer_lost(Instant::now());
                }
            }
            Effect::RefusePoll { poll, refusal } => {
                if let Some(answer) = self.take_poll(poll) {
                    // Who is refused and gone misses nothing.
                    let _ = answer.send(Err(refusal));
                }
            }
            Effect::SendWebSocket(packet) => {
                self.taken(&packet);
                return self.send_websocket(packet);
            }
            Effect::CloseWebSocket { code, reason } => match &mut self.websocket {
                WebSocket::Attached { connection, .. } => connection.close(code, reason),
                WebSocket::Expected(close) => *close = Some((code, reason)),
                WebSocket::None => {}
            },
            Effect::Deliver(frame) => {
                let permit = std::mem::take(permit);
                if self.session.frames.try_send(FrameIn { frame, permit }).is_err() {
                    self.engine.application_gone(Instant::now());
                }
            }
            Effect::Ended(cause) => self.tell_lost(match cause {
                EndCause::ClosedByPeer => LostCause::ClosedByPeer,
                EndCause::ClosedByUs => LostCause::ClosedByUs,
                EndCause::Violation(error) => LostCause::Violation(error),
            }),
            Effect::Finished => {
                self.place = None;
                ctx.stop();
            }
        }
        Vec::new()
    }

    fn send_websocket(&mut self, packet: Packet) -> Vec<Effect> {
        let WebSocket::Attached { connection, .. } = &self.websocket else { return Vec::new() };
        if connection.send(packet.into_websocket()).is_ok() {
            return Vec::new();
        }
        let slow = ProtocolError::new(ErrorCode::SlowReader, "the client does not read what it is sent");
        self.engine.broken(Instant::now(), slow)
    }

    fn take_poll(&mut self, poll: PollId) -> Option<PollAnswer> {
        let at = self.polls.iter().position(|(id, _)| *id == poll)?;
        Some(self.polls.swap_remove(at).1)
    }

    /// A message of the session leaves its queue.
    fn taken(&self, packet: &Packet) {
        if let Packet::Message(frame) = packet {
            ConnectionHandle::taken(&self.queued_bytes, frame);
        }
    }

    fn tell_lost(&mut self, cause: LostCause) {
        if !self.is_over {
            self.is_over = true;
            self.session.lost.do_send(ConnectionLost { cause });
        }
    }

    /// One timer, for the earliest deadline. One that goes off too early only sets the next.
    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        let Some(deadline) = self.engine.next_deadline() else { return };
        if self.timer.is_some_and(|(at, _)| at <= deadline) {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(deadline.saturating_duration_since(Instant::now()), |actor, ctx| {
            actor.timer = None;
            actor.tick(ctx);
        });
        self.timer = Some((deadline, timer));
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        if let WebSocket::Attached { pulse, .. } = &self.websocket
            && let Some(heard_at) = now.checked_sub(pulse.silence())
        {
            self.engine.heard(heard_at);
        }
        if !self.is_over && !self.session.lost.connected() {
            self.engine.application_gone(now);
        }
        let effects = self.engine.tick(now);
        self.run(effects, Permit::none(), ctx);
    }
}

impl Actor for EngineActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.set_timer(ctx);
    }
}

impl Drop for EngineActor {
    /// Only an actor that died comes here without having told.
    fn drop(&mut self) {
        self.tell_lost(LostCause::ClosedByPeer);
    }
}

impl Handler<Poll> for EngineActor {
    type Result = ();

    fn handle(&mut self, Poll { poll, answer }: Poll, ctx: &mut Self::Context) {
        self.polls.push((poll, answer));
        let effects = self.engine.poll(Instant::now(), poll);
        self.run(effects, Permit::none(), ctx);
    }
}

impl Handler<PollAborted> for EngineActor {
    type Result = ();

    fn handle(&mut self, PollAborted { poll }: PollAborted, ctx: &mut Self::Context) {
        let effects = self.engine.poll_aborted(Instant::now(), poll);
        self.take_poll(poll);
        self.run(effects, Permit::none(), ctx);
    }
}

impl Handler<BeginPost> for EngineActor {
    type Result = ();

    fn handle(&mut self, BeginPost { answer }: BeginPost, ctx: &mut Self::Context) {
        let (effects, refusal) = self.engine.post_begins(Instant::now());
        // A request that is gone says so itself.
        let _ = answer.send(refusal.map_or(Ok(()), Err));
        self.run(effects, Permit::none(), ctx);
    }
}

impl Handler<EndPost> for EngineActor {
    type Result = ();

    fn handle(&mut self, EndPost { packets, broken, mut permit, answer }: EndPost, ctx: &mut Self::Context) {
        let now = Instant::now();
        let mut is_broken = broken.is_some();
        for packet in packets {
            // Each takes its share of the body's room along; the rest was for the encoding.
            let share = match &packet {
                Packet::Message(frame) => permit.split(frame.len() + 1),
                _ => Permit::none(),
            };
            let effects = self.engine.post_packet(now, packet);
            is_broken |= effects.iter().any(|effect| matches!(effect, Effect::Ended(EndCause::Violation(_))));
            self.run(effects, share, ctx);
        }
        if let Some(error) = broken {
            let effects = self.engine.broken(now, error);
            self.run(effects, Permit::none(), ctx);
        }
        let effects = self.engine.post_ends(now);
        if is_broken && self.engine.awaits_close() {
            self.refused_posts.push(answer);
        } else {
            // A client that did not wait for the answer has sent its packets all the same.
            let _ = answer.send(if is_broken { Err(Refusal::BadRequest) } else { Ok(()) });
        }
        self.run(effects, Permit::none(), ctx);
    }
}

impl Handler<PostAborted> for EngineActor {
    type Result = ();

    fn handle(&mut self, _: PostAborted, ctx: &mut Self::Context) {
        let effects = self.engine.post_aborted(Instant::now());
        self.run(effects, Permit::none(), ctx);
    }
}

impl Handler<OpenWebSocket> for EngineActor {
    type Result = ();

    fn handle(&mut self, OpenWebSocket { answer }: OpenWebSocket, ctx: &mut Self::Context) {
        let (mut effects, is_welcome) = self.engine.websocket_opens(Instant::now());
        if is_welcome {
            self.websocket = WebSocket::Expected(None);
        }
        if answer.send(is_welcome).is_err() && is_welcome {
            self.websocket = WebSocket::None;
            effects.extend(self.engine.websocket_lost(Instant::now()));
        }
        self.run(effects, Permit::none(), ctx);
    }
}

impl Handler<AttachWebSocket> for EngineActor {
    type Result = ();

    fn handle(&mut self, AttachWebSocket { connection, pulse }: AttachWebSocket, _: &mut Self::Context) {
        if let WebSocket::Expected(Some((code, reason))) = &self.websocket {
            connection.close(*code, reason.clone());
        }
        self.websocket = WebSocket::Attached { connection, pulse };
    }
}

impl Handler<WebSocketFailed> for EngineActor {
    type Result = ();

    fn handle(&mut self, _: WebSocketFailed, ctx: &mut Self::Context) {
        self.websocket = WebSocket::None;
        let effects = self.engine.websocket_lost(Instant::now());
        self.run(effects, Permit::none(), ctx);
    }
}

/// From the websocket.
impl Handler<FrameIn> for EngineActor {
    type Result = ();

    fn handle(&mut self, FrameIn { frame, permit }: FrameIn, ctx: &mut Self::Context) {
        let now = Instant::now();
        let effects = match Packet::from_websocket(frame) {
            Ok(packet) => self.engine.websocket_packet(now, packet),
            Err(error) => self.engine.websocket_broken(now, error),
        };
        self.run(effects, permit, ctx);
    }
}

/// From the websocket. After a violation it still sends, and waits to be closed.
impl Handler<ConnectionLost> for EngineActor {
    type Result = ();

    fn handle(&mut self, ConnectionLost { cause }: ConnectionLost, ctx: &mut Self::Context) {
        if let LostCause::Violation(error) = cause {
            let effects = self.engine.websocket_broken(Instant::now(), error);
            self.run(effects, Permit::none(), ctx);
            if self.engine.has_websocket() {
                return;
            }
        }
        self.websocket = WebSocket::None;
        let effects = self.engine.websocket_lost(Instant::now());
        self.run(effects, Permit::none(), ctx);
    }
}

/// From the session.
impl Handler<FrameOut> for EngineActor {
    type Result = ();

    fn handle(&mut self, message: FrameOut, ctx: &mut Self::Context) {
        let now = Instant::now();
        let effects = match message {
            FrameOut::Frame(frame) => self.engine.send(now, frame),
            FrameOut::Close { code, reason } => {
                let effects = self.engine.close(now, code, reason);
                for answer in self.refused_posts.drain(..) {
                    let _ = answer.send(Err(Refusal::BadRequest));
                }
                effects
            }
        };
        self.run(effects, Permit::none(), ctx);
    }
}
