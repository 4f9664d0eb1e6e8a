//! One track, from its parts in the object store to its own object there.

use std::path::Path;

use crate::{
    domain::{AudioFormat, Timestamp},
    media::{self, RunFile, Track, TrackError},
    objects::{Expected, FileSlice, ObjectError, ObjectErrorKind, ObjectKey, Objects, Verdict, digest_of},
    store::{MadeTrack, Store, StoreError, StoreErrorKind, TrackJob},
};

use super::layout::Layout;

/// Why there is no track.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Something is away.
    #[error("{0}")]
    ForNow(String),
    /// It would end so each time.
    #[error("{0}")]
    ForGood(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            StoreErrorKind::Permanent => Self::ForGood(error.to_string()),
            StoreErrorKind::Retryable | StoreErrorKind::Denied => Self::ForNow(error.to_string()),
        }
    }
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        match error.kind() {
            ObjectErrorKind::Permanent => Self::ForGood(error.to_string()),
            ObjectErrorKind::Retryable | ObjectErrorKind::NoSuchUpload => Self::ForNow(error.to_string()),
        }
    }
}

impl From<TrackError> for Failure {
    fn from(error: TrackError) -> Self {
        match error {
            // A full disk gets room.
            TrackError::Io(_) => Self::ForNow(error.to_string()),
            _ => Self::ForGood(error.to_string()),
        }
    }
}

/// Makes the track and stores it. What it needs meanwhile is in `scratch`, a directory of its own.
pub(super) async fn make(
    store: &dyn Store,
    objects: &Objects,
    job: &TrackJob,
    scratch: &Path,
) -> Result<MadeTrack, Failure> {
    let parts = store.audio_parts(&[job.session]).await?;
    let arrivals = store.arrivals(job.session).await?;
    let mut runs = Vec::with_capacity(parts.len());
    for part in &parts {
        let key = ObjectKey::parse(&part.object_key).map_err(|error| Failure::ForGood(error.to_string()))?;
        let path = objects.fetch(&key, &scratch.join(part.run.to_string())).await?;
        let began = part.started_at.as_unix_ms();
        let marks = arrivals.iter().find(|(run, _)| *run == part.run);
        runs.push(RunFile {
            path,
            format: part.format,
            sha256: part.sha256,
            started_at: began,
            marks: marks.map_or_else(Vec::new, |(_, arrivals)| {
                arrivals.marks().map(|(end, ms)| (end, began.saturating_add(ms))).collect()
            }),
        });
    }
    let (opened_at, into) = (job.opened_at.as_unix_ms(), scratch.join("track"));
    let (track, file) = on_a_thread(move || {
        let track = media::make_track(opened_at, &runs, &into)?;
        Ok((track, into))
    })
    .await?;
    let key = ObjectKey::for_track(job.session);
    store_file(objects, &key, &file, &track).await?;
    let failed = |reason: &str| Failure::ForGood(reason.to_owned());
    Ok(MadeTrack {
        object_key: key.as_str().to_owned(),
        size_bytes: track.size_bytes,
        sha256: track.sha256,
        origin: Timestamp::from_unix_ms(track.origin).ok_or_else(|| failed("its beginning is outside of time"))?,
        duration_ms: track.duration_ms,
        layout: serde_json::to_string(&Layout::of(&track, &parts)).map_err(|error| failed(&error.to_string()))?,
    })
}

/// Where a thread may wait for the disk, and a bug costs nothing but this track.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TrackError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(panicked) => Err(Failure::ForGood(format!("a bug in the making of tracks: {panicked}"))),
    }
}

/// Stores a file, in parts if it is large, and sees that it is there.
async fn store_file(objects: &Objects, key: &ObjectKey, file: &Path, track: &Track) -> Result<(), Failure> {
    let (size_bytes, sha256) = (track.size_bytes, track.sha256);
    let content_type = AudioFormat::WebM.content_type();
    let slice = |offset, len, sha256| FileSlice { path: file.to_owned(), offset, len, sha256 };
    let mut parts = Vec::new();
    let part_size = objects.part_size();
    if size_bytes <= part_size {
        objects.put(key, content_type, slice(0, size_bytes, sha256)).await?;
    } else {
        let upload = objects.begin(key, content_type).await?;
        let stored = async {
            for (number, offset) in (1..).zip((0..size_bytes).step_by(usize::try_from(part_size).unwrap_or(usize::MAX)))
            {
                let len = part_size.min(size_bytes - offset);
                let path = file.to_owned();
                let sha256 = on_a_thread(move || Ok(digest_of(&path, offset, len)?)).await?;
                let body = slice(offset, len, sha256);
                parts.push(objects.put_part(key, &upload, number, body).await?);
            }
            Ok::<_, Failure>(objects.complete(key, &upload, &parts).await?)
        }
        .await;
        if let Err(failure) = stored {
            // Best effort: the store forgets uploads that nobody completes.
            let _ = objects.abort(key, &upload).await;
            return Err(failure);
        }
    }
    match objects.verify(key, &Expected { size_bytes, sha256, parts }).await? {
        Verdict::Intact => Ok(()),
        found => Err(Failure::ForNow(format!("the stored track is not what was made: {found:?}"))),
    }
}
