//! Tracks on SQLite.

use super::{SqliteStore, read};
use crate::store::{sql::claim_track, tracks::keep_tracks};

keep_tracks!(SqliteStore, claim_track!(""), Timestamp::as_unix_ms, change);
