//! What several test programs stand on. Each includes this folder as a module: `#[path = "../support/mod.rs"] mod support;`
#![allow(dead_code, reason = "each test program uses a part of this, so `expect` would fail in some of them")]

pub(crate) mod postgres;
pub(crate) mod proxy;
