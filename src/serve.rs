//! The server: its routes and guards, its sockets and their limits, plain or with TLS.

use std::{any::Any, net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{
    App, HttpServer,
    dev::{Extensions, Server},
    middleware::from_fn,
};
use anyhow::Context as _;

use crate::{
    auth::Access,
    config::Config,
    erasure::Erasure,
    http::{self, DoorLimits, DoorState, HttpState, Readiness},
    metrics,
    objects::Objects,
    runtime::Budget,
    session::{
        SessionDeps,
        engine::{EngineDoor, EngineOptions},
        websocket::Heartbeat,
    },
    store::Store,
    tls::Certificate,
};

/// What is served.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub objects: Objects,
    pub erasure: Erasure,
    pub sessions: Arc<SessionDeps>,
    pub readiness: Readiness,
    pub metrics: metrics::Sources,
    pub access: Access,
    pub certificate: Option<Arc<Certificate>>,
}

/// Binds the port and starts the workers once the server is polled.
///
/// # Errors
/// When the port cannot be bound.
pub fn serve(config: &Config, parts: Parts, goodbye_timeout: Duration) -> anyhow::Result<(Server, Vec<SocketAddr>)> {
    let server = &config.server;
    let Parts { store, objects, erasure, sessions, readiness, metrics, access, certificate } = parts;
    let budget = Budget::new(config.memory.budget_bytes, config.memory.connection_bytes);
    let state = HttpState {
        store,
        objects,
        erasure,
        readiness: readiness.clone(),
        metrics: metrics::renderer(metrics, budget.clone()),
        access: access.clone(),
        audio_link_lifetime: config.audio_link_lifetime,
        max_header_bytes: server.max_header_bytes,
    };
    let doors = DoorState {
        sessions,
        budget,
        readiness,
        access: access.clone(),
        limits: DoorLimits {
            max_message_bytes: server.max_message_bytes as usize,
            message_timeout: server.message_timeout,
            heartbeat: Heartbeat { interval: server.heartbeat_interval, timeout: server.heartbeat_timeout },
            outbound_bytes: config.memory.outbound_bytes,
            max_connections: server.max_connections,
        },
    };
    let socketio = EngineDoor::new(engine_options(config), doors.budget.clone(), doors.clone());
    let user_timeout = server.tcp_user_timeout;
    let http_server = HttpServer::new(move || {
        App::new()
            .configure(|cfg| http::configure_doors(cfg, doors.clone(), &socketio))
            .configure(|cfg| http::configure(cfg, state.clone()))
            .wrap(from_fn(http::let_in))
            .wrap(from_fn(http::harden))
    })
    .workers(server.workers)
    .max_connections(server.max_connections)
    // A websocket that waits for room would never notice that its client left.
    .h1_allow_half_closed(false)
    .client_request_timeout(server.request_timeout)
    // How long bytes are still read after an answer, for the client to see its end. The server's clock ticks each 500 ms,
    // and a deadline that is past when it is set is never noticed: a shorter one leaves closed websockets open for ever.
    .client_disconnect_timeout(Duration::from_secs(1))
    .on_connect(move |connection, extensions| {
        if let Some(stream) = tcp_stream(connection) {
            set_up(stream, user_timeout, &access, extensions);
        }
    })
    .disable_signals()
    .shutdown_timeout(goodbye_timeout.as_secs());
    let address = (server.host.as_str(), server.port);
    let http_server = match (certificate, &config.tls) {
        (Some(certificate), Some(tls)) => http_server
            .tls_handshake_timeout(tls.handshake_timeout)
            .bind_rustls_0_23(address, certificate.server_config()?),
        _ => http_server.bind(address),
    };
    let http_server = http_server.with_context(|| format!("listen on {}:{}", server.host, server.port))?;
    let addresses = http_server.addrs();
    Ok((http_server.run(), addresses))
}

fn tcp_stream(connection: &dyn Any) -> Option<&tokio::net::TcpStream> {
    let in_tls = || connection.downcast_ref::<actix_tls::accept::rustls_0_23::TlsStream<tokio::net::TcpStream>>();
    connection.downcast_ref().or_else(|| in_tls().map(|tls| tls.get_ref().0))
}

fn set_up(stream: &tokio::net::TcpStream, user_timeout: Duration, access: &Access, extensions: &mut Extensions) {
    let socket = socket2::SockRef::from(stream);
    match stream.peer_addr().map(|peer| access.socket(peer)) {
        // Kept as long as the connection is.
        Ok(Ok(Some(place))) => drop(extensions.insert(place)),
        Ok(Ok(None)) => {}
        // Cut before anything is read: an answer for each of a flood would be the flood's doing.
        Ok(Err(_)) | Err(_) => return drop(socket.shutdown(std::net::Shutdown::Both)),
    }
    // The only thing that frees a connection whose client stopped reading.
    if let Err(error) = socket.set_tcp_user_timeout(Some(user_timeout)) {
        tracing::debug!(%error, "no TCP user timeout on this socket");
    }
    let _ = stream.set_nodelay(true);
}

const fn engine_options(config: &Config) -> EngineOptions {
    let server = &config.server;
    EngineOptions {
        ping_interval: server.heartbeat_interval,
        ping_timeout: server.heartbeat_timeout,
        upgrade_timeout: server.handshake_timeout,
        // A client that polls joins what waits into one body: as large as a message may be.
        max_payload_bytes: server.max_message_bytes as usize,
        max_message_bytes: server.max_message_bytes as usize,
        message_timeout: server.message_timeout,
        outbound_bytes: config.memory.outbound_bytes,
        max_sessions: server.max_connections,
    }
}
