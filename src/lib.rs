//! `ShopAloud`: records shoppers who think aloud.

pub mod domain;
pub mod journal;
pub mod objects;
pub mod runtime;
