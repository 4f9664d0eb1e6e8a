//! The websocket transport: a thin pump between one socket and one session.
//!
//! Owns: the socket, its heartbeat, its close. Nothing that must survive it.
//! Promises: the session hears of the end exactly once, however the socket ends; what the session sent before a close
//! is sent before the close.
//! Refuses: meaning. It passes frames.
//!
//! The only file that knows `actix_web_actors`. The crate is deprecated and its own frame stream buffers without
//! bound, so it is given a stream that never yields, and frames come from [`super::inbound`] instead. Its actor is the
//! HTTP response body: while a client does not read, timers and mailbox stand still, and only TCP's user timeout ends
//! it. That is why the session lives in an actor of its own.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use actix::prelude::*;
use actix_web::{Error, HttpRequest, HttpResponse, web};
use actix_web_actors::ws::{self, WebsocketContext};
use futures_util::StreamExt;

use super::{
    ConnectionHandle, ConnectionLost, FrameIn, FrameOut, LostCause, SessionHandle,
    inbound::{self, InboundLimits, Pulse},
};
use crate::{
    auth::Throttle,
    protocol::{CloseCode, ErrorCode, Frame, ProtocolError, websocket::Inbound},
    runtime::{ConnectionBudget, Permit},
};

/// How long the peer may take to answer a close before the socket is cut.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Settings of one websocket.
#[derive(Clone)]
pub struct WebsocketOptions {
    pub max_message_bytes: usize,
    /// Longest time for one message from its first byte to its last.
    pub message_timeout: Duration,
    pub heartbeat: Option<Heartbeat>,
    /// Bytes that may wait for a client that does not read.
    pub outbound_bytes: usize,
    pub budget: ConnectionBudget,
    pub throttle: Throttle,
    /// Made for this websocket; whoever keeps a heartbeat above it may keep a clone.
    pub pulse: Pulse,
}

/// Pings of the websocket protocol; protocols with a heartbeat of their own go without.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    pub interval: Duration,
    /// Silence for longer than the interval and this means that the client is gone.
    pub timeout: Duration,
}

/// Answers an upgrade request. `session` makes the session for the connection, on this thread.
///
/// # Errors
/// The handshake's, when the request is no websocket upgrade.
pub fn upgrade(
    request: &HttpRequest,
    payload: web::Payload,
    options: WebsocketOptions,
    session: impl FnOnce(ConnectionHandle) -> SessionHandle + 'static,
) -> Result<HttpResponse, Error> {
    let actor = ConnectionActor {
        queued_bytes: Arc::default(),
        start: Some((payload, Box::new(session))),
        session: None,
        options,
        is_closing: false,
    };
    ws::WsResponseBuilder::new(actor, request, futures_util::stream::pending()).start()
}

type SessionFactory = Box<dyn FnOnce(ConnectionHandle) -> SessionHandle>;

struct ConnectionActor {
    queued_bytes: Arc<AtomicUsize>,
    start: Option<(web::Payload, SessionFactory)>,
    /// Taken when the session is told of the end.
    session: Option<SessionHandle>,
    options: WebsocketOptions,
    is_closing: bool,
}

impl ConnectionActor {
    fn tell_lost(&mut self, cause: LostCause) {
        if let Some(session) = self.session.take() {
            session.lost.do_send(ConnectionLost { cause });
        }
    }

    /// The session tells the client why and closes; if it does not, the socket is cut all the same.
    fn violated(&mut self, violation: ProtocolError, ctx: &mut WebsocketContext<Self>) {
        if self.session.is_some() {
            self.tell_lost(LostCause::Violation(violation));
            ctx.run_later(CLOSE_TIMEOUT * 2, |_, ctx| ctx.stop());
        }
    }

    fn beat(&mut self, heartbeat: Heartbeat, ctx: &mut WebsocketContext<Self>) {
        if self.options.pulse.silence() > heartbeat.interval + heartbeat.timeout {
            self.violated(ProtocolError::new(ErrorCode::HeartbeatLost, "no answer to the heartbeat"), ctx);
        } else {
            ctx.ping(b"");
        }
    }
}

impl Actor for ConnectionActor {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some((payload, session)) = self.start.take() else { return };
        let to = ctx.address().recipient();
        let queued_bytes = Arc::clone(&self.queued_bytes);
        self.session = Some(session(ConnectionHandle::new(to, queued_bytes, self.options.outbound_bytes)));
        let limits = InboundLimits {
            max_message_bytes: self.options.max_message_bytes,
            message_timeout: self.options.message_timeout,
            budget: self.options.budget.clone(),
            throttle: self.options.throttle.clone(),
        };
        ctx.add_stream(inbound::messages(payload, limits, self.options.pulse.clone()).boxed_local());
        if let Some(heartbeat) = self.options.heartbeat {
            ctx.run_interval(heartbeat.interval, move |actor, ctx| actor.beat(heartbeat, ctx));
        }
    }
}

impl Drop for ConnectionActor {
    /// The actor gets no other chance when its socket is gone.
    fn drop(&mut self) {
        self.tell_lost(LostCause::ClosedByPeer);
    }
}

impl StreamHandler<Result<(Inbound, Permit), ProtocolError>> for ConnectionActor {
    fn handle(&mut self, inbound: Result<(Inbound, Permit), ProtocolError>, ctx: &mut Self::Context) {
        match inbound {
            Ok((Inbound::Message(frame), permit)) => {
                if let Some(session) = &self.session
                    && session.frames.try_send(FrameIn { frame, permit }).is_err()
                {
                    // The session ended. Its close is on the way, unless it died.
                    self.session = None;
                    ctx.run_later(CLOSE_TIMEOUT, |_, ctx| ctx.stop());
                }
            }
            Ok((Inbound::Ping(payload), _)) => ctx.pong(&payload),
            Ok((Inbound::Pong, _)) => {}
            Ok((Inbound::Close, _)) => {
                self.tell_lost(LostCause::ClosedByPeer);
                if !self.is_closing {
                    self.is_closing = true;
                    ctx.close(Some(ws::CloseCode::Normal.into()));
                }
                ctx.stop();
            }
            Err(violation) => self.violated(violation, ctx),
        }
    }

    /// The payload ended: the client is gone.
    fn finished(&mut self, ctx: &mut Self::Context) {
        self.tell_lost(LostCause::ClosedByPeer);
        ctx.stop();
    }
}

/// Demanded by the builder; its stream never yields.
impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for ConnectionActor {
    fn handle(&mut self, _: Result<ws::Message, ws::ProtocolError>, _: &mut Self::Context) {}

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl Handler<FrameOut> for ConnectionActor {
    type Result = ();

    fn handle(&mut self, message: FrameOut, ctx: &mut Self::Context) {
        match message {
            FrameOut::Frame(frame) => {
                ConnectionHandle::taken(&self.queued_bytes, &frame);
                match frame {
                    Frame::Text(text) => ctx.text(text),
                    Frame::Binary(bytes) => ctx.binary(bytes),
                }
            }
            FrameOut::Close { code: CloseCode(code), reason } => {
                if !self.is_closing {
                    self.is_closing = true;
                    ctx.close(Some((ws::CloseCode::from(code), reason).into()));
                    // The client's own close ends the actor earlier.
                    ctx.run_later(CLOSE_TIMEOUT, |actor, ctx| {
                        actor.tell_lost(LostCause::ClosedByUs);
                        ctx.stop();
                    });
                }
            }
        }
    }
}
