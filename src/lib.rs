//! `ShopAloud`: records shoppers who think aloud.

pub mod domain;
pub mod journal;
pub mod persist;
pub mod runtime;
pub mod store;
