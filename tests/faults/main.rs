//! What is away, killed or broken in the middle of things, and comes back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod audit;
mod bucket;
mod database;
mod disk_full;
mod killed;
mod overload;
mod poison;
mod scene;
mod shutdown;
mod slow_line;
#[path = "../support/mod.rs"]
mod support;
mod upload_node;
mod uploads;
