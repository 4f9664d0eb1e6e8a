//! `ShopAloud`: records shoppers who think aloud.

pub mod domain;
pub mod objects;
pub mod runtime;
