//! The two doors for those who record: plain WebSocket at `/ws`, Socket.IO at `/socket.io/`.
//!
//! Promises: no new connection while the node drains or is full, said with a status and a reason.

use std::{sync::Arc, time::Duration};

use actix_web::{Error, HttpRequest, HttpResponse, web};

use super::{Readiness, problem::Problem};
use crate::{
    auth::{Access, ForeignOrigin, PageOrigin, Visit},
    protocol::{ErrorCode, plain::PlainCodec, socketio::SocketIoCodec},
    runtime::Budget,
    session::{
        ConnectionHandle, Pulse, SessionActor, SessionDeps, SessionHandle,
        engine::{Application, NotNow},
        websocket::{self, Heartbeat, WebsocketOptions},
    },
};

/// When one who found no place may try again: a restart takes about as long.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What a door needs to let a client in.
#[derive(Clone)]
pub struct DoorState {
    pub sessions: Arc<SessionDeps>,
    pub budget: Budget,
    pub readiness: Readiness,
    pub access: Access,
    pub limits: DoorLimits,
}

/// Limits of each connection, and of all together.
#[derive(Clone, Copy, Debug)]
pub struct DoorLimits {
    pub max_message_bytes: usize,
    pub message_timeout: Duration,
    pub heartbeat: Heartbeat,
    pub outbound_bytes: usize,
    pub max_connections: usize,
}

/// Upgrades to a websocket and starts its session.
pub(super) async fn plain(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<DoorState>,
) -> Result<HttpResponse, Error> {
    let origin = door.origin(&request).map_err(Problem::from)?;
    let visit = door.admit(&request, &origin).map_err(Problem::from)?;
    let options = WebsocketOptions {
        max_message_bytes: door.limits.max_message_bytes,
        message_timeout: door.limits.message_timeout,
        heartbeat: Some(door.limits.heartbeat),
        outbound_bytes: door.limits.outbound_bytes,
        budget: door.budget.connection(),
        throttle: visit.throttle().clone(),
        pulse: Pulse::new(),
    };
    let base_url = door.access.base_url(&request);
    let deps = Arc::clone(&door.sessions);
    websocket::upgrade(&request, payload, options, move |connection| {
        SessionActor::start_for(connection, Box::new(PlainCodec), visit, base_url, deps)
    })
    .map_err(|error| Problem::BadRequest(error.to_string()).into())
}

impl Application for DoorState {
    fn origin(&self, request: &HttpRequest) -> Result<PageOrigin, ForeignOrigin> {
        self.access.page(request)
    }

    fn admit(&self, request: &HttpRequest, origin: &PageOrigin) -> Result<Visit, NotNow> {
        let not_now = |code| Err(NotNow { code, retry_after: RETRY_AFTER });
        if self.readiness.is_draining() {
            not_now(ErrorCode::Draining)
        } else if self.sessions.registry.connections() >= self.limits.max_connections {
            not_now(ErrorCode::Overloaded)
        } else {
            Ok(self.access.visit(request, origin)?)
        }
    }

    fn open(&self, request: &HttpRequest, visit: Visit, connection: ConnectionHandle) -> SessionHandle {
        let codec = SocketIoCodec::new(self.limits.max_message_bytes);
        let base_url = self.access.base_url(request);
        SessionActor::start_for(connection, Box::new(codec), visit, base_url, Arc::clone(&self.sessions))
    }
}
