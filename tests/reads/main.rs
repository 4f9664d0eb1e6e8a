//! The reading side from outside: a real server on a port of its own, whose database and folder the test fills.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod audio;
mod lists;
mod problems;
mod queries;
mod support;
