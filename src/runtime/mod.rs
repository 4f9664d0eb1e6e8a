//! What the actors stand on: the byte budget, pools that survive a panic, retry delays.
//!
//! Refuses: to know what the actors do.

mod backoff;
mod budget;
mod pool;

pub use backoff::Backoff;
pub use budget::{Budget, ConnectionBudget, Permit};
pub use pool::{ActorPool, Exhausted, Lifeline};

/// Mailbox capacity of an actor whose messages carry permits: bounded by bytes, not by slots. Half of the numbers stay
/// free, since actix counts senders with what the capacity leaves (and panics when that is nothing).
pub const MAILBOX_BOUNDED_BY_BYTES: usize = usize::MAX >> 2;
