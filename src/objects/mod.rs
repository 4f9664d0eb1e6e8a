//! Where audio is kept: one trait, two backends.
//!
//! Owns: object keys, checksums and the AWS SDK. Nobody else knows S3.
//! Promises: what [`ObjectStore::put`] and [`ObjectStore::complete`] accepted is durable;
//! [`ObjectStore::verify`] tells whether it reads back with the right length and checksum.
//! Refuses: to retry beyond one call's deadline (its caller keeps the bytes and knows how long to wait).

mod digest;
mod error;
mod folder;
mod s3;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

pub use digest::{Sha256Hasher, digest_of};
pub use error::{ObjectError, ObjectErrorKind};
pub use folder::FolderStore;
pub use s3::{MAX_PARTS, MIN_PART_SIZE_BYTES, S3Options, S3Store, S3Timeouts, SecretKey};

use crate::domain::{AudioFormat, RunId, SessionId, Sha256};

/// The name of an object: `sessions/<session id>/<run id>.<extension>`. Nothing a client chose is in it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ObjectKey(String);

/// A text that is no key this service would make.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an object key")]
pub struct InvalidKey;

impl ObjectKey {
    #[must_use]
    pub fn for_run(session: SessionId, run: RunId, format: AudioFormat) -> Self {
        Self(format!("sessions/{session}/{run}.{}", format.extension()))
    }

    /// The session's track: one name, however often it is made.
    #[must_use]
    pub fn for_track(session: SessionId) -> Self {
        Self::for_run(session, RunId::of_track(session), AudioFormat::WebM)
    }

    /// Takes only what [`Self::for_run`] makes, so that a path out of a request cannot leave the folder.
    ///
    /// # Errors
    /// [`InvalidKey`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let parts = || {
            let (session, file) = text.strip_prefix("sessions/")?.split_once('/')?;
            let (run, extension) = file.split_once('.')?;
            let session: SessionId = session.parse().ok()?;
            let run: RunId = run.parse().ok()?;
            [AudioFormat::WebM, AudioFormat::Ogg, AudioFormat::Mp4, AudioFormat::Unknown]
                .into_iter()
                .find(|format| format.extension() == extension)
                .map(|format| Self::for_run(session, run, format))
        };
        // Compared with its own canonical form: other spellings of a UUID are other keys.
        parts().filter(|key| key.0 == text).ok_or(InvalidKey)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A range of a local file that is to be sent, with its digest known before.
#[derive(Clone, Debug)]
pub struct FileSlice {
    pub path: PathBuf,
    pub offset: u64,
    pub len: u64,
    pub sha256: Sha256,
}

/// A stored part of a multipart upload, as the store named it. Kept beside the run to survive a restart.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct UploadedPart {
    /// From 1.
    pub number: i32,
    pub etag: String,
    pub size_bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
}

/// What a whole object must be.
#[derive(Clone, Debug)]
pub struct Expected {
    pub size_bytes: u64,
    pub sha256: Sha256,
    /// The parts it was uploaded in; empty for a single put.
    pub parts: Vec<UploadedPart>,
}

/// What [`ObjectStore::verify`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Intact,
    Missing,
    /// Another length or checksum, in words.
    Different(String),
}

/// Where a reader gets an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// A local file, served by this server itself.
    File(PathBuf),
    /// A URL that plays without further credentials, for a while.
    Url(String),
}

/// A place for objects.
#[async_trait]
pub trait ObjectStore: Send + Sync + 'static {
    /// Stores a whole object; the store checks the digest on arrival. Overwrites.
    async fn put(&self, key: &ObjectKey, content_type: &str, body: FileSlice) -> Result<(), ObjectError>;

    /// Begins a multipart upload and returns its id.
    async fn begin(&self, key: &ObjectKey, content_type: &str) -> Result<String, ObjectError>;

    /// Stores one part; the same number again overwrites.
    async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: i32,
        body: FileSlice,
    ) -> Result<UploadedPart, ObjectError>;

    /// Makes the object out of its parts.
    /// [`ObjectErrorKind::NoSuchUpload`] when the id is not known (any more): it may have been completed before, so
    /// [`Self::verify`] decides what that means.
    async fn complete(&self, key: &ObjectKey, upload_id: &str, parts: &[UploadedPart]) -> Result<(), ObjectError>;

    /// Forgets an upload. Not an error when it is not known.
    async fn abort(&self, key: &ObjectKey, upload_id: &str) -> Result<(), ObjectError>;

    /// Compares the stored object with what it must be: by the store's own length and checksum where it tells
    /// them, by reading it back where it does not.
    async fn verify(&self, key: &ObjectKey, expected: &Expected) -> Result<Verdict, ObjectError>;

    /// Where a reader gets it. Does not look whether it exists.
    async fn locate(&self, key: &ObjectKey) -> Result<Location, ObjectError>;

    /// A local file with the object's bytes: the store's own, or a copy at `scratch`. For reading only.
    /// [`ObjectErrorKind::Permanent`] when there is no such object.
    async fn fetch(&self, key: &ObjectKey, scratch: &Path) -> Result<PathBuf, ObjectError>;

    /// Removes an object. Not an error when there is none.
    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError>;

    /// The store answers and the credentials are taken.
    async fn ping(&self) -> Result<(), ObjectError>;

    /// Smallest size of a part that is not the last, in bytes.
    fn part_size(&self) -> u64;
}

/// Shared by every actor and handler.
pub type Objects = Arc<dyn ObjectStore>;
