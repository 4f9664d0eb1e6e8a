//! The real program, over real sockets, on real storage: what its users see.

#![expect(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not what they call")]

mod bad_input;
mod command;
mod deletion;
mod late_database;
mod openapi;
mod reconnect;
mod restart;
#[path = "../support/mod.rs"]
mod support;
mod tracks;
mod whole_session;
