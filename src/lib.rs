//! ShopAloud: records shoppers who think aloud.

pub mod cli;
pub mod config;
pub mod domain;
pub mod journal;
pub mod objects;
pub mod persist;
pub mod protocol;
pub mod runtime;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod upload;
