//! One audio track for each session: its parts, joined on the session's clock, as one file that plays and seeks.
//!
//! Owns: the scratch directory, the work of making tracks. Promises: a track that is said to be ready was read back, and
//! verified where it is stored; making it again makes the same; whoever dies over it is succeeded by somebody else; what
//! cannot be made says why.
//! Refuses: to touch the parts. They stay.

mod actor;
mod layout;
mod make;
mod stats;

pub use actor::{StopMaking, TrackActor, TrackDeps};
pub use layout::{Layout, RunLayout};
pub use stats::TrackStats;
