//! The words of this service, each parsed once and trusted afterwards.
//!
//! Owns: ids, times, events, sessions, audio parts and the [`Record`], the unit that is journaled and stored.
//! Promises: a value of a type in here is valid; nothing above has to look again.
//! Refuses: I/O, clocks and knowledge of any wire format or database.

mod arrivals;
mod audio;
mod deletion;
mod event;
mod ids;
mod json;
mod origin;
mod record;
mod session;
mod text;
mod time;

pub use arrivals::{Arrivals, InvalidArrivals};
pub use audio::{AudioFormat, AudioPart, Sha256};
pub use deletion::{Deletion, Doomed};
pub use event::Event;
pub use ids::{NodeId, RunId, SessionId, StreamId};
pub use json::{JsonError, JsonText, MAX_JSON_DEPTH};
pub use origin::{OriginError, OriginPattern};
pub use record::{Presence, Record, SessionClosed, SessionOpened, SessionTouched, StreamOpened};
pub use session::SessionStatus;
pub use text::{EventName, Profile, TextError, UserId};
pub use time::Timestamp;
