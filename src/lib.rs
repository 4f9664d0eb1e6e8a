//! `ShopAloud`: records shoppers who think aloud.

pub mod cli;
pub mod config;
pub mod domain;
pub mod objects;
pub mod runtime;
pub mod telemetry;
