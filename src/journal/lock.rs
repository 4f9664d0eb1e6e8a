//! Keeps other processes away from the journal's directory.
//!
//! Promises: the directory is free again as soon as this is dropped.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
};

use super::log::OpenError;

/// The lock on a directory.
#[derive(Debug)]
pub(super) struct DirectoryLock(File);

impl DirectoryLock {
    pub(super) fn take(directory: &Path) -> Result<Self, OpenError> {
        let failed = |action, source| OpenError::Io { action, directory: directory.to_owned(), source };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join("LOCK"))
            .map_err(|source| failed("open the lock file", source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { directory: directory.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed("take the lock", source)),
        }
    }
}

impl Drop for DirectoryLock {
    /// Not left to the closing of the file: a child process that is being started holds a copy of it for a moment.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "cannot unlock the journal directory");
        }
    }
}
