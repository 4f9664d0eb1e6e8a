//! The echo application that the protocols' own test suites expect, on the product's transport and protocol modules.
//!
//! Engine.IO at `/engine.io/` echoes every message, and sends without end when asked to. Socket.IO at `/socket.io/` has the namespaces `/` and `/custom`:
//! it emits `auth` with the handshake's payload, answers `message` with `message-back` and `message-with-ack` with an
//! acknowledgement, each with the same arguments.

use std::{
    collections::HashSet,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use actix_web::{App, HttpRequest, HttpServer, dev::ServerHandle};
use engineioxide_core::Sid;
use serde_json::{Value, value::RawValue};
use shopaloud::{
    auth::{Access, ForeignOrigin, PageOrigin, Visit},
    config::{Config, Environment},
    protocol::{
        CloseCode, ErrorCode, Frame, ProtocolError,
        socketio::{
            event::EventText,
            packet::{self, Incoming, PacketReader},
        },
    },
    runtime::Budget,
    session::{
        ConnectionHandle, ConnectionLost, FrameIn, LostCause, SessionHandle,
        engine::{Application, EngineDoor, EngineOptions, NotNow},
    },
};

pub(crate) const MAX_MESSAGE_BYTES: usize = 1_000_000;

/// The message that asks the Engine.IO echo to send without end, and the size of each frame.
pub(crate) const FLOOD: &str = "flood";
const FLOOD_FRAME_BYTES: usize = 60_000;

/// How long a client may take to connect to a namespace. The suites wait more than a second before some.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The suites await one message at a time and miss the second of two that arrive in one segment.
const AUTH_DELAY: Duration = Duration::from_millis(5);

/// The suites' settings.
pub(crate) const fn options() -> EngineOptions {
    EngineOptions {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        upgrade_timeout: Duration::from_secs(10),
        max_payload_bytes: 1_000_000,
        max_message_bytes: MAX_MESSAGE_BYTES,
        message_timeout: Duration::from_secs(5),
        outbound_bytes: 4 * 1024 * 1024,
        max_sessions: 1_000,
    }
}

/// A running echo server.
pub(crate) struct EchoServer {
    pub(crate) address: SocketAddr,
    pub(crate) engine: Arc<EngineDoor>,
    pub(crate) socketio: Arc<EngineDoor>,
    pub(crate) budget: Budget,
    handle: ServerHandle,
}

impl EchoServer {
    /// Starts on `address` with two workers: with one, no race between workers would ever show.
    pub(crate) fn start(address: &str, options: &EngineOptions) -> std::io::Result<Self> {
        let access = access()?;
        let budget = Budget::new(64 * 1024 * 1024, 16 * 1024 * 1024);
        let engine = EngineDoor::new(options.clone(), budget.clone(), RawEcho { access: access.clone() });
        let socketio = EngineDoor::new(options.clone(), budget.clone(), SocketIoEcho { access });
        let doors = (Arc::clone(&engine), Arc::clone(&socketio));
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let server = HttpServer::new(move || {
            App::new().service(doors.0.resource("/engine.io")).service(doors.1.resource("/socket.io"))
        })
        .workers(2)
        .h1_allow_half_closed(false)
        .client_disconnect_timeout(Duration::ZERO)
        .disable_signals()
        .shutdown_timeout(0)
        .listen(listener)?
        .run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Ok(Self { address, engine, socketio, budget, handle })
    }

    pub(crate) async fn stop(self) {
        self.handle.stop(false).await;
    }
}

/// An open server, that pages of the shop may use.
fn access() -> std::io::Result<Access> {
    // Of its folder nothing is needed once it was read.
    let folder = tempfile::tempdir()?;
    let settings = format!(
        "[server]\norigins = [\"http://shop.example\"]\n[storage]\ndata_dir = \"{}\"\n",
        folder.path().display()
    );
    let config = Config::from_toml(&settings, &Environment::default()).map_err(std::io::Error::other)?;
    Access::open(&config).map_err(std::io::Error::other)
}

struct RawEcho {
    access: Access,
}

impl Application for RawEcho {
    fn origin(&self, request: &HttpRequest) -> Result<PageOrigin, ForeignOrigin> {
        self.access.page(request)
    }

    fn admit(&self, request: &HttpRequest, origin: &PageOrigin) -> Result<Visit, NotNow> {
        Ok(self.access.visit(request, origin)?)
    }

    fn open(&self, _: &HttpRequest, _: Visit, connection: ConnectionHandle) -> SessionHandle {
        let address = RawEchoActor { connection }.start();
        SessionHandle { frames: address.clone().recipient(), lost: address.recipient() }
    }
}

struct RawEchoActor {
    connection: ConnectionHandle,
}

impl Actor for RawEchoActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1 << 30);
    }
}

impl RawEchoActor {
    /// One frame at a time, so that each is taken before the next: what fills up is the way to the client.
    fn flood(ctx: &mut Context<Self>) {
        ctx.run_later(Duration::from_millis(1), |actor, ctx| {
            actor.send(Frame::Text("x".repeat(FLOOD_FRAME_BYTES).into()), ctx);
            Self::flood(ctx);
        });
    }

    fn send(&self, frame: Frame, ctx: &mut Context<Self>) {
        if self.connection.send(frame).is_err() {
            let slow = ErrorCode::SlowReader;
            self.connection.close(slow.close_code(), slow.as_str());
            ctx.stop();
        }
    }
}

impl Handler<FrameIn> for RawEchoActor {
    type Result = ();

    fn handle(&mut self, message: FrameIn, ctx: &mut Self::Context) {
        if matches!(&message.frame, Frame::Text(text) if &**text == FLOOD) {
            Self::flood(ctx);
        }
        self.send(message.frame, ctx);
    }
}

impl Handler<ConnectionLost> for RawEchoActor {
    type Result = ();

    fn handle(&mut self, lost: ConnectionLost, ctx: &mut Self::Context) {
        if let LostCause::Violation(error) = lost.cause {
            self.connection.close(error.code.close_code(), error.code.as_str());
        }
        ctx.stop();
    }
}

struct SocketIoEcho {
    access: Access,
}

impl Application for SocketIoEcho {
    fn origin(&self, request: &HttpRequest) -> Result<PageOrigin, ForeignOrigin> {
        self.access.page(request)
    }

    fn admit(&self, request: &HttpRequest, origin: &PageOrigin) -> Result<Visit, NotNow> {
        Ok(self.access.visit(request, origin)?)
    }

    fn open(&self, _: &HttpRequest, _: Visit, connection: ConnectionHandle) -> SessionHandle {
        let reader = PacketReader::new(MAX_MESSAGE_BYTES);
        let address = SocketIoEchoActor { connection, reader, namespaces: HashSet::new() }.start();
        SessionHandle { frames: address.clone().recipient(), lost: address.recipient() }
    }
}

struct SocketIoEchoActor {
    connection: ConnectionHandle,
    reader: PacketReader,
    namespaces: HashSet<String>,
}

impl SocketIoEchoActor {
    fn take(&mut self, frame: Frame, ctx: &mut Context<Self>) -> Result<(), ProtocolError> {
        let Some(incoming) = self.reader.read(frame)? else { return Ok(()) };
        let replies = match incoming {
            Incoming::Connect { namespace, auth } if matches!(&*namespace, "/" | "/custom") => {
                self.namespaces.insert(namespace.to_string());
                let auth = auth.as_ref().map_or(Ok(Value::Object(serde_json::Map::new())), |auth| {
                    serde_json::from_str(auth).map_err(ProtocolError::bad_message)
                })?;
                let emitted = packet::event(&namespace, "auth", &auth);
                ctx.run_later(AUTH_DELAY, move |actor, _| {
                    for frame in emitted {
                        // A client that does not read meets its end with the next answer.
                        let _ = actor.connection.send(frame);
                    }
                });
                packet::connected(&namespace, Sid::new())
            }
            Incoming::Connect { namespace, .. } => packet::connect_error(&namespace, "Invalid namespace", None),
            Incoming::Disconnect { namespace } => {
                self.namespaces.remove(&*namespace);
                Vec::new()
            }
            Incoming::Event { namespace, .. } | Incoming::Ack { namespace }
                if !self.namespaces.contains(&*namespace) =>
            {
                return Err(ProtocolError::new(ErrorCode::HelloRequired, "connect to the namespace first"));
            }
            Incoming::Ack { .. } => Vec::new(),
            Incoming::Event { namespace, ack, event } => {
                let name = event.parts()?.name.into_owned();
                let attachments = event.attachments().clone();
                match (name.as_str(), ack) {
                    ("message", _) => packet::event_of(&namespace, array("message-back", &event)?, attachments),
                    ("message-with-ack", Some(id)) => {
                        packet::acknowledgement_of(&namespace, id, array("", &event)?, attachments)
                    }
                    _ => Vec::new(),
                }
            }
        };
        for frame in replies {
            let slow = |_| ProtocolError::new(ErrorCode::SlowReader, "the client does not read");
            self.connection.send(frame).map_err(slow)?;
        }
        Ok(())
    }

    fn fail(&mut self, error: &ProtocolError, ctx: &mut Context<Self>) {
        self.connection.close(error.code.close_code(), error.code.as_str());
        ctx.stop();
    }
}

/// The arguments of `event` behind another name, or behind none.
fn array(name: &str, event: &EventText) -> Result<String, ProtocolError> {
    let parts = event.parts()?;
    let arguments: Option<(&RawValue, &RawValue)> = parts.first.zip(parts.last);
    let name = (!name.is_empty()).then(|| format!("\"{name}\""));
    let arguments = arguments.map(|(first, last)| event.between(first, last).to_owned());
    Ok(format!("[{}]", name.into_iter().chain(arguments).collect::<Vec<_>>().join(",")))
}

impl Actor for SocketIoEchoActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1 << 30);
        ctx.run_later(CONNECT_TIMEOUT, |actor, ctx| {
            if actor.namespaces.is_empty() {
                actor.connection.close(CloseCode::NORMAL, "no namespace");
                ctx.stop();
            }
        });
    }
}

impl Handler<FrameIn> for SocketIoEchoActor {
    type Result = ();

    fn handle(&mut self, message: FrameIn, ctx: &mut Self::Context) {
        if let Err(error) = self.take(message.frame, ctx) {
            self.fail(&error, ctx);
        }
    }
}

impl Handler<ConnectionLost> for SocketIoEchoActor {
    type Result = ();

    fn handle(&mut self, lost: ConnectionLost, ctx: &mut Self::Context) {
        match lost.cause {
            LostCause::Violation(error) => self.fail(&error, ctx),
            LostCause::ClosedByPeer | LostCause::ClosedByUs => ctx.stop(),
        }
    }
}
