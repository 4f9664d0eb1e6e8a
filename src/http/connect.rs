//! The plain WebSocket door: `GET /ws`.
//!
//! Promises: no new connection while the node drains or is full, said with a status and a reason.

use std::sync::Arc;

use actix_web::{Error, HttpRequest, HttpResponse, web};

use super::{Readiness, audio::base_url, problem::Problem};
use crate::{
    protocol::plain::PlainCodec,
    runtime::Budget,
    session::{
        Pulse, SessionActor, SessionDeps,
        websocket::{self, Heartbeat, WebsocketOptions},
    },
};

/// What a door needs to let a client in.
#[derive(Clone)]
pub struct DoorState {
    pub sessions: Arc<SessionDeps>,
    pub budget: Budget,
    pub readiness: Readiness,
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
    if door.readiness.is_draining() {
        return Err(Problem::NotReady(vec!["draining"]).into());
    }
    if door.sessions.registry.connections() >= door.limits.max_connections {
        return Err(Problem::NotReady(vec!["overloaded"]).into());
    }
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
}
