//! The real program, over real sockets, on real storage: what its users see.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]
#![expect(clippy::disallowed_methods, reason = "tests hand settings to the program through its environment")]

mod bad_input;
mod command;
mod reconnect;
mod restart;
mod whole_session;
#[path = "../support/mod.rs"]
mod support;
