//! Keys and certificates that change while the server runs.
//!
//! Promises: a changed file is taken within [`INTERVAL`], or at once after SIGHUP; what cannot be taken is told once for
//! each change, and what was valid before stays in use.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    auth::Access,
    session::{Registry, SessionNews},
    tls::Certificate,
};

/// Two `stat`s or three cost nothing; an operator who revokes a key waits no longer than this.
const INTERVAL: Duration = Duration::from_secs(2);

/// What is watched.
pub struct Watched {
    pub keys_file: PathBuf,
    pub access: Access,
    pub certificate: Option<Arc<Certificate>>,
    /// Told of new keys: connections of those that are gone are closed.
    pub registry: Arc<Registry>,
}

/// Watches until it is dropped.
///
/// # Errors
/// When SIGHUP cannot be listened to.
pub fn watch(watched: Watched) -> std::io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    // Before anybody is served: a change from now on is a change.
    let mut stamps = Stamps::of(&watched);
    Ok(async move {
        loop {
            let is_told = tokio::select! {
                () = tokio::time::sleep(INTERVAL) => false,
                _ = hangup.recv() => true,
            };
            let now = Stamps::of(&watched);
            if is_told || now.keys != stamps.keys {
                reload_keys(&watched, is_told);
            }
            if is_told || now.certificate != stamps.certificate {
                reload_certificate(&watched);
            }
            stamps = now;
        }
    })
}

fn reload_keys(watched: &Watched, is_told: bool) {
    match watched.access.reload() {
        Ok(true) => {
            tracing::info!("the keys changed");
            watched.registry.tell_all(&SessionNews::KeysChanged);
        }
        Ok(false) if is_told => tracing::info!("the keys are as they were"),
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "the keys stay as they were"),
    }
}

fn reload_certificate(watched: &Watched) {
    let Some(certificate) = &watched.certificate else { return };
    match certificate.reload() {
        Ok(()) => tracing::info!("the certificate was read again"),
        Err(error) => tracing::error!(%error, "the certificate stays as it was"),
    }
}

#[derive(PartialEq, Eq)]
struct Stamps {
    keys: Stamp,
    certificate: Vec<Stamp>,
}

/// What differs when a file was written or replaced; `None` without a file.
type Stamp = Option<(u64, i64, i64, u64)>;

impl Stamps {
    fn of(watched: &Watched) -> Self {
        let files = watched.certificate.iter().flat_map(|certificate| certificate.files());
        Self { keys: stamp(&watched.keys_file), certificate: files.map(stamp).collect() }
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}
