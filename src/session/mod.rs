//! Connections and sessions.
mod messages;
pub use messages::{
    AudioUrl, ConnectionHandle, ConnectionLost, FrameIn, FrameOut, LostCause, OutboundFull, SessionHandle, SessionNews,
};
