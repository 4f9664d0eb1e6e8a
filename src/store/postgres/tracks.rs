//! Tracks on Postgres.

use super::{PostgresStore, read, time::PgTime};
use crate::store::{sql::claim_track, tracks::keep_tracks};

keep_tracks!(PostgresStore, claim_track!(" FOR UPDATE OF t SKIP LOCKED"), PgTime::from, fetch);
