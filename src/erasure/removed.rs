//! What a deletion took away.

use serde::Serialize;
use utoipa::ToSchema;

/// Counts for the answer. What another node has in hand is not in them; it goes all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Removed {
    pub users: u64,
    pub sessions: u64,
    pub events: u64,
    /// Stored parts, and what their objects had.
    pub audio_parts: u64,
    pub audio_bytes: u64,
    /// Audio that this node had not stored yet.
    pub staged_runs: u64,
    pub staged_bytes: u64,
    /// Whether all of it is gone. If not, the rest goes as soon as it can.
    pub complete: bool,
}
