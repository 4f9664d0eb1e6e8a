//! The Socket.IO door against its protocols' rules and against real clients.
//!
//! `engineio` and `socketio` check the two protocol documents rule by rule with raw requests and frames; `limits` what
//! this server adds to them; `clients` runs `socket.io-client` and `python-socketio` from outside. All speak to the
//! echo application, on two workers and a port of its own; `widget` speaks the published widget's words to the real
//! program.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how a test fails")]

mod browser;
mod clients;
mod echo;
mod engineio;
mod limits;
mod raw;
mod socketio;
#[path = "../support/mod.rs"]
mod support;
mod widget;
