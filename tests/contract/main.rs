//! One body of tests per trait, run against every backend of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod objects;
#[expect(dead_code, reason = "each kind of tests uses a part of it")]
#[path = "../support/mod.rs"]
mod support;
