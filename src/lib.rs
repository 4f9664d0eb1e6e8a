//! `ShopAloud`: records shoppers who think aloud.

pub mod domain;
pub mod runtime;
pub mod store;
