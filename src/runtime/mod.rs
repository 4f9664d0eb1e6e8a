//! What the actors stand on: the byte budget, pools that survive a panic, retry delays.
//!
//! Refuses: to know what the actors do.

mod backoff;
mod budget;
mod pool;

pub use backoff::Backoff;
pub use budget::{Budget, ConnectionBudget, Permit};
pub use pool::{ActorPool, Exhausted, Lifeline};
