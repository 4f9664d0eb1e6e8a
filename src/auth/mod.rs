//! Who may do what: record, read, delete, and how much of it.
//!
//! Owns: keys and where they are kept, tokens of the shop, origins of web pages, addresses behind proxies, limits, signed
//! links. [`Access`] answers for all of them.
//! Promises: a server without keys serves its own machine only; secrets are compared in constant time and never logged;
//! who came with a token writes as its user and as nobody else.
//! Refuses: passwords, accounts, and to know who reads: a key is all that it asks for.

mod access;
mod admission;
mod bucket;
pub mod client;
mod hosts;
pub mod keyring;
pub mod keys_file;
pub mod limits;
pub mod links;
pub mod origins;
pub mod secret;
mod sources;
pub mod stats;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokens;

pub use access::{Access, AccessError, ReadLevel, ReadRefusal, Visit};
pub use admission::{Identity, Refusal};
pub use limits::{Limited, Place, Throttle};
pub use origins::{AllowedOrigins, ForeignOrigin, PageOrigin};
pub use stats::AccessStats;
