//! What every backend of a trait promises: one body of tests, run over each of them.
#![expect(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not what they call")]

mod objects;
mod store;
#[path = "../support/mod.rs"]
mod support;
