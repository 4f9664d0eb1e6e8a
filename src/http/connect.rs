//! The two doors for those who record: plain WebSocket at `/ws`, Socket.IO at `/socket.io/`.
//!
//! Promises: no new connection while the node drains or is full, said with a status and a reason.

use std::sync::Arc;

use actix_web::{Error, HttpRequest, HttpResponse, web};

use super::{Readiness, audio::base_url, problem::Problem};
use crate::{
    auth::{AllowedOrigins, ForeignOrigin, PageOrigin},
    protocol::{ErrorCode, plain::PlainCodec, socketio::SocketIoCodec},
    runtime::Budget,
    session::{
        ConnectionHandle, Pulse, SessionActor, SessionDeps, SessionHandle,
        engine::Application,
        websocket::{self, Heartbeat, WebsocketOptions},
    },
};

/// What a door needs to let a client in.
#[derive(Clone)]
pub struct DoorState {
    pub sessions: Arc<SessionDeps>,
    pub budget: Budget,
    pub readiness: Readiness,
    /// Pages that may connect.
    pub origins: AllowedOrigins,
    pub limits: DoorLimits,
    /// Base of the URLs handed out, without a slash at the end; `None`: the request's own scheme and host.
    pub public_url: Option<String>,
}

/// Limits of each connection, and of all together.
#[derive(Clone, Copy, Debug)]
pub struct DoorLimits {
    pub max_message_bytes: usize,
    pub message_timeout: std::time::Duration,
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
    door.origin(&request).map_err(Problem::from)?;
    door.admit().map_err(|reason| Problem::NotReady(vec![reason.as_str()]))?;
    let options = WebsocketOptions {
        max_message_bytes: door.limits.max_message_bytes,
        message_timeout: door.limits.message_timeout,
        heartbeat: Some(door.limits.heartbeat),
        outbound_bytes: door.limits.outbound_bytes,
        budget: door.budget.connection(),
        pulse: Pulse::new(),
    };
    let base_url = base_url(&request, door.public_url.as_deref());
    let deps = Arc::clone(&door.sessions);
    websocket::upgrade(&request, payload, options, move |connection| {
        SessionActor::start_for(connection, Box::new(PlainCodec), base_url, deps)
    })
    .map_err(|error| Problem::BadRequest(error.to_string()).into())
}

impl Application for DoorState {
    fn origin(&self, request: &HttpRequest) -> Result<PageOrigin, ForeignOrigin> {
        self.origins.check(request)
    }

    fn admit(&self) -> Result<(), ErrorCode> {
        if self.readiness.is_draining() {
            Err(ErrorCode::Draining)
        } else if self.sessions.registry.connections() >= self.limits.max_connections {
            Err(ErrorCode::Overloaded)
        } else {
            Ok(())
        }
    }

    fn open(&self, request: &HttpRequest, connection: ConnectionHandle) -> SessionHandle {
        let codec = SocketIoCodec::new(self.limits.max_message_bytes);
        let base_url = base_url(request, self.public_url.as_deref());
        SessionActor::start_for(connection, Box::new(codec), base_url, Arc::clone(&self.sessions))
    }
}
