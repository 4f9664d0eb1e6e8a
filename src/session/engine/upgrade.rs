//! Websockets: one that begins a session, and one that takes over from polling.

use std::{sync::Arc, time::Instant};

use actix::prelude::*;
use actix_web::HttpResponse;

use super::{
    super::{
        ConnectionHandle, ConnectionLost, FrameIn, Pulse, SessionHandle,
        websocket::{self, WebsocketOptions},
    },
    EngineDoor,
    actor::{Beginning, EngineActor},
    messages::{AttachWebSocket, OpenWebSocket, WebSocketFailed},
    registry::Entry,
    routes::{self, Problem, Visit},
};
use crate::{
    auth::Throttle,
    protocol::{CloseCode, Frame, engine_session::EngineSession, engineio},
    runtime::ConnectionBudget,
};

/// A session that begins with a websocket.
pub(super) fn begin(visit: Visit) -> Result<HttpResponse, Problem> {
    if !is_upgrade(&visit.request) {
        return Err(Problem::BadRequest);
    }
    let (place, guest) = routes::place(&visit)?;
    let Visit { door, request, payload, .. } = visit;
    let throttle = guest.throttle().clone();
    let options = options(&door, door.budget.connection(), throttle.clone());
    let (budget, pulse) = (options.budget.clone(), options.pulse.clone());
    let handshake = request.clone();
    let start = move |socket: ConnectionHandle| {
        let open = engineio::open_packet(place.sid(), false, &door.options.open_fields());
        // The first frame of an empty queue: it fits.
        let _ = socket.send(Frame::Text(open));
        let beginning = Beginning {
            engine: EngineSession::websocket(door.options.timing(), Instant::now()),
            place,
            budget,
            throttle,
            websocket: Some((socket, pulse)),
            outbound_bytes: door.options.outbound_bytes,
        };
        let application = &door.application;
        handle(&EngineActor::begin(beginning, |connection| application.open(&handshake, guest, connection)))
    };
    websocket::upgrade(&request, payload, options, start).map_err(|_| Problem::BadRequest)
}

/// A websocket for a session that polls. One that is not let in is opened all the same, and closed: browsers tell
/// their pages nothing else.
pub(super) async fn take_over(visit: Visit, entry: Entry) -> Result<HttpResponse, Problem> {
    let Visit { door, request, payload, .. } = visit;
    if !is_upgrade(&request) {
        return Err(Problem::BadRequest);
    }
    let options = options(&door, entry.budget, entry.throttle);
    let (answer, answered) = tokio::sync::oneshot::channel();
    entry.actor.try_send(OpenWebSocket { answer }).map_err(|_| Problem::UnknownSession)?;
    if !answered.await.map_err(|_| Problem::UnknownSession)? {
        return websocket::upgrade(&request, payload, options, |connection| Refused::start_for(&connection))
            .map_err(|_| Problem::BadRequest);
    }
    let (actor, pulse) = (entry.actor.clone(), options.pulse.clone());
    let start = move |connection: ConnectionHandle| {
        if let Err(error) = actor.try_send(AttachWebSocket { connection, pulse }) {
            error.into_inner().connection.close(CloseCode::NORMAL, "the session is over");
        }
        handle(&actor)
    };
    websocket::upgrade(&request, payload, options, start).map_err(|_| {
        let _ = entry.actor.try_send(WebSocketFailed);
        Problem::BadRequest
    })
}

fn options(door: &Arc<EngineDoor>, budget: ConnectionBudget, throttle: Throttle) -> WebsocketOptions {
    WebsocketOptions {
        // The type before the text.
        max_message_bytes: door.options.max_message_bytes.saturating_add(1),
        message_timeout: door.options.message_timeout,
        heartbeat: None,
        outbound_bytes: door.options.outbound_bytes,
        budget,
        throttle,
        pulse: Pulse::new(),
    }
}

fn handle(actor: &Addr<EngineActor>) -> SessionHandle {
    SessionHandle { frames: actor.clone().recipient(), lost: actor.clone().recipient() }
}

fn is_upgrade(request: &actix_web::HttpRequest) -> bool {
    actix_http::ws::verify_handshake(request.head()).is_ok()
}

/// Behind a websocket that was not let in, until it is gone.
struct Refused;

impl Refused {
    fn start_for(connection: &ConnectionHandle) -> SessionHandle {
        connection.close(CloseCode::NORMAL, "the session has a websocket");
        let address = Self.start();
        SessionHandle { frames: address.clone().recipient(), lost: address.recipient() }
    }
}

impl Actor for Refused {
    type Context = Context<Self>;
}

impl Handler<FrameIn> for Refused {
    type Result = ();

    fn handle(&mut self, _: FrameIn, _: &mut Self::Context) {}
}

impl Handler<ConnectionLost> for Refused {
    type Result = ();

    fn handle(&mut self, _: ConnectionLost, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
