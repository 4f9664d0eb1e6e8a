//! ShopAloud: records shoppers who think aloud.

pub mod domain;
pub mod protocol;
pub mod runtime;
pub mod session;
