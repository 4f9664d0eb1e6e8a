//! Objects as files of a folder: the store of a node that has no S3.
//!
//! Owns: the folder. Objects lie under their keys, everything unfinished under `.incoming`.
//! Promises: an object appears whole or not at all (written aside, synced, renamed, its directories synced).
//! Refuses: bytes whose digest is not the announced one.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    Expected, FileSlice, Location, ObjectError, ObjectErrorKind, ObjectKey, ObjectStore, UploadedPart, Verdict,
    digest::{copy_hashed, parse_hex},
};

/// The same as S3's usual part size, so that both backends are driven alike.
const DEFAULT_PART_SIZE_BYTES: u64 = 8 * 1024 * 1024;
/// What lies in `.incoming` that long belongs to nobody: no upload is retried for a week without a word.
const ABANDONED_AFTER: Duration = Duration::from_hours(7 * 24);

/// A folder of objects. Clones of its `Arc` share it; several processes may.
pub struct FolderStore {
    folder: Arc<Folder>,
    part_size_bytes: u64,
}

impl FolderStore {
    /// Makes the folder where it is missing, and clears away uploads abandoned for a week.
    ///
    /// # Errors
    /// [`ObjectErrorKind::Permanent`] when the folder cannot be made or written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, ObjectError> {
        let folder = Folder { root: root.into() };
        folder.prepare().map_err(|error| permanent("open the object folder", error))?;
        Ok(Self { folder: Arc::new(folder), part_size_bytes: DEFAULT_PART_SIZE_BYTES })
    }

    /// Another size of parts, in bytes; at least one.
    #[must_use]
    pub fn with_part_size(self, part_size_bytes: u64) -> Self {
        Self { part_size_bytes: part_size_bytes.max(1), ..self }
    }

    /// Files block, so they are worked on apart from the threads that serve connections.
    async fn blocking<T: Send + 'static>(
        &self,
        context: &'static str,
        work: impl FnOnce(&Folder) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, ObjectError> {
        let folder = Arc::clone(&self.folder);
        match tokio::task::spawn_blocking(move || work(&folder)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(failure)) => Err(ObjectError::new(failure.kind(), context, failure)),
            Err(error) => Err(ObjectError::new(ObjectErrorKind::Retryable, context, error)),
        }
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn put(&self, key: &ObjectKey, _content_type: &str, body: FileSlice) -> Result<(), ObjectError> {
        let key = key.clone();
        self.blocking("put an object", move |folder| {
            let incoming = folder.incoming().join(Uuid::now_v7().simple().to_string());
            let written = write_slice(&incoming, &body).and_then(|()| folder.publish(&incoming, &key));
            if written.is_err() {
                discard(&incoming);
            }
            written
        })
        .await
    }

    async fn begin(&self, _key: &ObjectKey, _content_type: &str) -> Result<String, ObjectError> {
        self.blocking("begin an upload", |folder| {
            let upload_id = Uuid::now_v7().simple().to_string();
            fs::create_dir(folder.incoming().join(&upload_id))?;
            sync_dir(&folder.incoming())?;
            Ok(upload_id)
        })
        .await
    }

    async fn put_part(
        &self,
        _key: &ObjectKey,
        upload_id: &str,
        number: i32,
        body: FileSlice,
    ) -> Result<UploadedPart, ObjectError> {
        let upload_id = upload_id.to_owned();
        self.blocking("put a part", move |folder| {
            let upload = folder.upload(&upload_id)?;
            let incoming = upload.join(Uuid::now_v7().simple().to_string());
            let written = write_slice(&incoming, &body)
                .and_then(|()| Ok(fs::rename(&incoming, part_path(&upload, number))?))
                .and_then(|()| Ok(sync_dir(&upload)?));
            if let Err(failure) = written {
                discard(&incoming);
                return Err(failure);
            }
            let sha256 = body.sha256.to_string();
            Ok(UploadedPart { number, etag: sha256.clone(), size_bytes: body.len, sha256 })
        })
        .await
    }

    async fn complete(&self, key: &ObjectKey, upload_id: &str, parts: &[UploadedPart]) -> Result<(), ObjectError> {
        let (key, upload_id, parts) = (key.clone(), upload_id.to_owned(), parts.to_vec());
        self.blocking("complete an upload", move |folder| {
            let upload = folder.upload(&upload_id)?;
            let whole = upload.join("whole");
            join_parts(&upload, &parts, &whole)?;
            folder.publish(&whole, &key)?;
            // The object is there: what stays behind after a crash here is cleared away as abandoned.
            Ok(fs::remove_dir_all(&upload)?)
        })
        .await
    }

    async fn abort(&self, _key: &ObjectKey, upload_id: &str) -> Result<(), ObjectError> {
        let upload_id = upload_id.to_owned();
        self.blocking("abort an upload", move |folder| match folder.upload(&upload_id) {
            Ok(upload) => Ok(fs::remove_dir_all(upload)?),
            Err(Failure::NoSuchUpload) => Ok(()),
            Err(failure) => Err(failure),
        })
        .await
    }

    async fn verify(&self, key: &ObjectKey, expected: &Expected) -> Result<Verdict, ObjectError> {
        let (key, expected) = (key.clone(), expected.clone());
        self.blocking("verify an object", move |folder| {
            let file = match File::open(folder.path(&key)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Verdict::Missing),
                Err(error) => return Err(error.into()),
            };
            let len = file.metadata()?.len();
            if len != expected.size_bytes {
                return Ok(Verdict::Different(format!("{len} bytes long instead of {}", expected.size_bytes)));
            }
            let (_, sha256) = copy_hashed(file, |_| Ok(()))?;
            Ok(if sha256 == expected.sha256 {
                Verdict::Intact
            } else {
                Verdict::Different(format!("{sha256} instead of {}", expected.sha256))
            })
        })
        .await
    }

    async fn locate(&self, key: &ObjectKey) -> Result<Location, ObjectError> {
        Ok(Location::File(self.folder.path(key)))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let key = key.clone();
        self.blocking("delete an object", move |folder| {
            let path = folder.path(&key);
            match fs::remove_file(&path) {
                Ok(()) => {
                    let session = parent(&path);
                    sync_dir(session)?;
                    // Only an empty one goes. A put that needs it at this instant fails once and is tried again.
                    let _ = fs::remove_dir(session);
                    Ok(())
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    async fn fetch(&self, key: &ObjectKey, _: &Path) -> Result<PathBuf, ObjectError> {
        let key = key.clone();
        self.blocking("find an object", move |folder| {
            let path = folder.path(&key);
            if path.is_file() { Ok(path) } else { Err(Failure::Unreadable(io::ErrorKind::NotFound.into())) }
        })
        .await
    }

    async fn ping(&self) -> Result<(), ObjectError> {
        self.blocking("write to the object folder", |folder| {
            let path = folder.incoming().join(Uuid::now_v7().simple().to_string());
            File::create_new(&path)?;
            Ok(fs::remove_file(path)?)
        })
        .await
    }

    fn part_size(&self) -> u64 {
        self.part_size_bytes
    }
}

/// The layout of the folder.
struct Folder {
    root: PathBuf,
}

impl Folder {
    fn incoming(&self) -> PathBuf {
        self.root.join(".incoming")
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Upload ids are made here; anything else, a path above all, names no upload.
    fn upload(&self, upload_id: &str) -> Result<PathBuf, Failure> {
        let known = Uuid::try_parse(upload_id).is_ok_and(|uuid| uuid.simple().to_string() == upload_id);
        let path = self.incoming().join(upload_id);
        if known && path.is_dir() { Ok(path) } else { Err(Failure::NoSuchUpload) }
    }

    fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(self.incoming())?;
        sync_dir(&self.root)?;
        let now = SystemTime::now();
        for entry in fs::read_dir(self.incoming())? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let age = now.duration_since(metadata.modified()?).unwrap_or_default();
            if age < ABANDONED_AFTER {
                continue;
            }
            if metadata.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }?;
        }
        Ok(())
    }

    /// Moves a synced file to where readers find it.
    fn publish(&self, file: &Path, key: &ObjectKey) -> Result<(), Failure> {
        let path = self.path(key);
        let folder = parent(&path);
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
            // A new directory is as durable as its entry in the one above.
            for above in folder.ancestors().skip(1).take_while(|above| above.starts_with(&self.root)) {
                sync_dir(above)?;
            }
        }
        fs::rename(file, &path)?;
        Ok(sync_dir(folder)?)
    }
}

fn part_path(upload: &Path, number: i32) -> PathBuf {
    upload.join(format!("part-{number}"))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Best effort: what stays behind is cleared away as abandoned.
fn discard(path: &Path) {
    let _ = fs::remove_file(path);
}

fn write_slice(to: &Path, body: &FileSlice) -> Result<(), Failure> {
    let mut source = File::open(&body.path).map_err(Failure::Unreadable)?;
    source.seek(SeekFrom::Start(body.offset)).map_err(Failure::Unreadable)?;
    let mut file = File::create_new(to)?;
    let (len, sha256) = copy_hashed(source.take(body.len), |bytes| file.write_all(bytes))?;
    if len != body.len || sha256 != body.sha256 {
        return Err(Failure::WrongDigest);
    }
    Ok(file.sync_all()?)
}

/// The parts one after the other. A part that is missing or not as it was announced makes the upload unusable.
fn join_parts(upload: &Path, parts: &[UploadedPart], to: &Path) -> Result<(), Failure> {
    let mut whole = File::create(to)?;
    for part in parts {
        let file = match File::open(part_path(upload, part.number)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Failure::NoSuchUpload),
            Err(error) => return Err(error.into()),
        };
        let (_, sha256) = copy_hashed(file, |bytes| whole.write_all(bytes))?;
        if parse_hex(&part.sha256) != Some(sha256) {
            return Err(Failure::NoSuchUpload);
        }
    }
    Ok(whole.sync_all()?)
}

fn permanent(context: &'static str, error: io::Error) -> ObjectError {
    ObjectError::new(ObjectErrorKind::Permanent, context, error)
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the upload or a part of it is not known")]
    NoSuchUpload,
    #[error("the local file cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("the local bytes are not what their digest says")]
    WrongDigest,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Failure {
    const fn kind(&self) -> ObjectErrorKind {
        match self {
            Self::NoSuchUpload => ObjectErrorKind::NoSuchUpload,
            Self::Unreadable(_) | Self::WrongDigest => ObjectErrorKind::Permanent,
            // A full disk gets room, a folder gets its rights back.
            Self::Io(_) => ObjectErrorKind::Retryable,
        }
    }
}
