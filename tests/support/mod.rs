//! What several test programs stand on: real servers of their own, on ports of their own. Each program includes this
//! folder as a module: `#[path = "../support/mod.rs"] mod support;`
#![allow(dead_code, reason = "each test program uses a part of this, so `expect` would fail in some of them")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_const_for_fn,
    reason = "a test fails by panicking, in its helpers too; how much of this a program includes varies"
)]

pub(crate) mod accounts;
pub(crate) mod client;
pub(crate) mod install;
pub(crate) mod keys;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod s3;
pub(crate) mod server;
pub(crate) mod shopper;
