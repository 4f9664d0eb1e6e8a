//! Attacks on the real program, each by its name, and what stops it.

#![expect(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not what they call")]

mod floods;
mod half_open;
mod injection;
mod keyed;
mod keys;
mod open_mode;
mod origins;
mod oversize;
mod smuggling;
#[path = "../support/mod.rs"]
mod support;
mod takeover;
mod tls;
mod tokens;
