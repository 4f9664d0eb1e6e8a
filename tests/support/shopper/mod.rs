//! Shoppers: clients of both doors that write down what they were promised, and an audit of what became of it.
//!
//! Owns: the load ([`Load`]), its ledgers, and the comparison ([`audit`]). Stands by itself, so that whoever wants a
//! load includes this folder: `#[path = "../tests/support/shopper/mod.rs"] mod shopper;`
//! Promises: what shoppers say is a function of a seed; who is cut off comes back and goes on.
//! Refuses: to start servers, and to know why one is away.

pub(crate) mod audit;
pub(crate) mod content;
mod door;
pub(crate) mod habits;
pub(crate) mod inspect;
pub(crate) mod ledger;
pub(crate) mod load;
mod numbered;
mod outbox;
pub(crate) mod row;
mod visit;
mod widget;
