//! ShopAloud records shoppers who think aloud: their voice, and what their pages do meanwhile.
//!
//! # The way of one event
//!
//! 1. [`session::websocket`] (or [`session::engine`], for Socket.IO) joins a frame out of the socket's bytes, once
//!    [`runtime::Budget`] has room for it, and hands it to the connection's [`session::SessionActor`].
//! 2. A codec of [`protocol`] says what the client meant. The session's state, which does no I/O, gives the event its
//!    place in its stream and its recording, and asks for it to be stored and for an answer to be owed.
//! 3. The [`persist::PersistActor`] that the stream belongs to puts it into the [`journal`] and into its open batch. A
//!    batch goes to the [`store`] as soon as no other is on its way and somebody waits, or when it is large or old.
//! 4. The transaction commits. Now, and not before, the client is told; the permit is dropped, the journal lets go.
//! 5. [`http`] streams it to whoever asks for `GET /sessions`, byte for byte as the page sent it.
//!
//! Audio goes the same way up to the session, then to an [`upload::UploadActor`]: journaled and acknowledged, staged in
//! a file, uploaded to the [`objects`] store, verified, its row committed, and only then let go of.
//!
//! # What is deliberately not done
//!
//! - Nothing is acknowledged from memory, and nothing durable is kept by an actor that dies with its socket.
//! - Nothing is dropped to make room: sockets are not read until there is some.
//! - JSON is not normalised, audio is not re-encoded, a failed fdatasync is not tried again.
//! - No state is global; [`app`] wires every part by hand.

pub mod app;
pub mod auth;
pub mod backends;
pub mod check;
pub mod cli;
pub mod config;
pub mod domain;
pub mod erasure;
pub mod http;
pub mod journal;
pub mod keys;
pub mod media;
pub mod metrics;
pub mod objects;
pub mod persist;
pub mod preparation;
pub mod protocol;
pub mod reload;
pub mod runtime;
pub mod serve;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod tracks;
pub mod upload;
