//! The Engine.IO v4 door: HTTP long polling and websockets, and the way from one to the other, for one session behind.
//!
//! Owns: the requests under one path, the sessions they belong to, their limits.
//! Promises: the session behind sees frames and one end, whatever the transport does; a dead session is forgotten; a
//! client that does not read, does not answer or sends too much is told why before it is closed.
//! Refuses: to know what is in a message; the application behind a [`EngineDoor`] is handed in.
//!
//! A request may come to any worker. It finds its session in the [`EngineRegistry`] and talks to the [`EngineActor`]
//! on the worker where the session began; bodies are read and written, decoded and encoded where the request is.

mod actor;
mod messages;
mod polling;
mod registry;
mod routes;
mod upgrade;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_web::{HttpRequest, Resource, web};

use self::registry::EngineRegistry;
use super::{ConnectionHandle, SessionHandle};
use crate::{
    auth::{ForeignOrigin, Limited, PageOrigin, Visit},
    protocol::{
        ErrorCode,
        engine_session::{PollId, Timing},
        engineio::OpenFields,
    },
    runtime::Budget,
};

/// Settings of a door.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// From a websocket's opening to its taking over.
    pub upgrade_timeout: Duration,
    /// Told to clients: up to here they join packets into one body. A longer packet travels alone.
    pub max_payload_bytes: usize,
    pub max_message_bytes: usize,
    /// Longest time for one message or body from its first byte to its last.
    pub message_timeout: Duration,
    /// Bytes that may wait for a client that does not read.
    pub outbound_bytes: usize,
    /// Sessions at a time; one more is told to come back later.
    pub max_sessions: usize,
}

impl EngineOptions {
    const fn timing(&self) -> Timing {
        Timing {
            ping_interval: self.ping_interval,
            ping_timeout: self.ping_timeout,
            upgrade_timeout: self.upgrade_timeout,
        }
    }

    const fn open_fields(&self) -> OpenFields {
        OpenFields {
            ping_interval: self.ping_interval,
            ping_timeout: self.ping_timeout,
            max_payload_bytes: self.max_payload_bytes,
        }
    }
}

/// Why no session may begin now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotNow {
    /// [`ErrorCode::Draining`], [`ErrorCode::Overloaded`] or [`ErrorCode::RateLimited`].
    pub code: ErrorCode,
    pub retry_after: Duration,
}

impl From<Limited> for NotNow {
    fn from(limited: Limited) -> Self {
        Self { code: ErrorCode::RateLimited, retry_after: limited.retry_after }
    }
}

/// What sessions are for.
pub trait Application: Send + Sync + 'static {
    /// The page that a request comes from.
    ///
    /// # Errors
    /// [`ForeignOrigin`] when it may not connect.
    fn origin(&self, request: &HttpRequest) -> Result<PageOrigin, ForeignOrigin>;

    /// Whether a new session may begin now.
    ///
    /// # Errors
    /// Why not, for the client to try again later.
    fn admit(&self, request: &HttpRequest, origin: &PageOrigin) -> Result<Visit, NotNow>;

    /// Starts the session behind a connection, on the current thread. `request` is the handshake.
    fn open(&self, request: &HttpRequest, visit: Visit, connection: ConnectionHandle) -> SessionHandle;
}

/// A door: one for all workers.
pub struct EngineDoor {
    options: EngineOptions,
    budget: Budget,
    application: Box<dyn Application>,
    registry: EngineRegistry,
    next_poll: AtomicU64,
}

impl EngineDoor {
    #[must_use]
    pub fn new(options: EngineOptions, budget: Budget, application: impl Application) -> Arc<Self> {
        let registry = EngineRegistry::new(options.max_sessions);
        Arc::new(Self { options, budget, application: Box::new(application), registry, next_poll: AtomicU64::new(0) })
    }

    /// The resource to mount. `path` is like `/socket.io`; clients end it with a slash or not.
    ///
    /// The server should not allow half-closed connections: a client that left is noticed by them only.
    #[must_use]
    pub fn resource(self: &Arc<Self>, path: &str) -> Resource {
        let door = Arc::clone(self);
        let path = path.trim_end_matches('/');
        web::resource([path.to_owned(), format!("{path}/")])
            .to(move |request, payload| routes::answer(Arc::clone(&door), request, payload))
    }

    /// Sessions that live now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.registry.len()
    }

    fn next_poll(&self) -> PollId {
        PollId(self.next_poll.fetch_add(1, Ordering::Relaxed))
    }
}
