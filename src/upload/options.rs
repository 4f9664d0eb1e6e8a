//! What an upload actor can be told to do differently.

use std::{path::PathBuf, time::Duration};

/// Settings of the upload actors.
#[derive(Clone, Debug)]
pub struct UploadOptions {
    /// Where runs are staged; made if it is missing. On the same disk as the journal, or as trustworthy a one.
    pub staging_dir: PathBuf,
    /// How long staged bytes may stay unsynced, and so in the journal: shorter syncs more files, longer keeps a
    /// larger journal.
    pub sync_interval: Duration,
    /// A run without new bytes for that long is finished.
    pub idle_timeout: Duration,
    /// How long a run that was open when the process ended waits for its client.
    pub reconnect_grace: Duration,
    /// Requests to the object store that one actor has under way: each holds a connection and some 100 KiB.
    pub max_in_flight: usize,
}

impl UploadOptions {
    #[must_use]
    pub fn new(staging_dir: impl Into<PathBuf>) -> Self {
        Self {
            staging_dir: staging_dir.into(),
            sync_interval: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(30),
            reconnect_grace: Duration::from_mins(1),
            max_in_flight: 8,
        }
    }

    /// How often the actor looks what is due: often enough to keep the interval, not more than 20 times a second.
    pub(super) fn tick(&self) -> Duration {
        (self.sync_interval / 8).clamp(Duration::from_millis(50), Duration::from_secs(1))
    }
}
