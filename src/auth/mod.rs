//! Who may do what.
//!
//! Owns: the origins of web pages.

pub mod origins;

pub use origins::{AllowedOrigins, ForeignOrigin, PageOrigin};
