//! Connections and sessions: from a transport's frames to records, audio and answers.
//!
//! Owns: the session actor and its state, the transports, the registry of who is here.
//! Promises: one actor per connection; bad input ends its own connection only, after an error that says why.
//! Refuses: to write. Records go to the persistence actors, audio to the upload actors.

mod actor;
mod audio;
mod delivery;
mod effect;
pub mod engine;
mod housekeeper;
mod inbound;
mod live;
mod messages;
mod recording;
mod refusals;
mod registry;
mod state;
#[cfg(test)]
mod tests;
pub mod websocket;

pub use actor::{SessionActor, SessionDeps};
pub use delivery::{DeliveryActor, SessionOver};
pub use housekeeper::HousekeeperActor;
pub use inbound::Pulse;
pub use messages::{
    AudioUrl, ConnectionHandle, ConnectionLost, FrameIn, FrameOut, LostCause, OutboundFull, SessionHandle, SessionNews,
};
pub use recording::ObeyedWord;
pub use refusals::Refusals;
pub use registry::{Now, Registry, SessionLimits, StreamMemo};
pub use state::SessionSettings;
