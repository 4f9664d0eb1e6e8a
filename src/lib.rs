//! ShopAloud: records shoppers who think aloud.

pub mod app;
pub mod backends;
pub mod check;
pub mod cli;
pub mod config;
pub mod domain;
pub mod http;
pub mod journal;
pub mod objects;
pub mod persist;
pub mod protocol;
pub mod runtime;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod upload;
