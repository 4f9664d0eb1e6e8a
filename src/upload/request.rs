//! What a run asks the object store for, and the row that its object gets.
//!
//! Owns: how a run, or a piece of it, becomes an object: its key, its bytes, what it must be.
//! Refuses: to decide what is next: that is [`super::run`].

use std::{io, ops::Range, path::PathBuf};

use super::{
    actor::StoredParts,
    keeping::ActiveRun,
    piece::{self, Piece},
    run::{Done, Step},
    staging::{self, Stage},
    stats::Ending,
};
use crate::{
    domain::{AudioPart, RunId, Sha256},
    objects::{Expected, FileSlice, ObjectError, ObjectErrorKind, ObjectKey, Objects, UploadedPart},
};

/// A request to the object store with all it needs.
pub(super) enum Request {
    Begin,
    PutPart {
        upload_id: String,
        number: i32,
        body: FileSlice,
    },
    Put {
        body: FileSlice,
    },
    Complete {
        upload_id: String,
        parts: Vec<UploadedPart>,
    },
    Abort {
        upload_id: String,
    },
    Verify {
        expected: Expected,
    },
    Discard {
        orphan: ObjectKey,
    },
    /// No request to the store, but work on as many bytes as one.
    Cut {
        stage: PathBuf,
        whole: Piece,
        range: Range<u64>,
    },
}

impl Request {
    pub(super) async fn send(
        self,
        objects: Objects,
        key: ObjectKey,
        content_type: &'static str,
    ) -> Result<Done, ObjectError> {
        Ok(match self {
            Self::Begin => Done::Begun(objects.begin(&key, content_type).await?),
            Self::PutPart { upload_id, number, body } => {
                Done::PartStored(objects.put_part(&key, &upload_id, number, body).await?)
            }
            Self::Put { body } => {
                objects.put(&key, content_type, body).await?;
                Done::Stored
            }
            Self::Complete { upload_id, parts } => {
                objects.complete(&key, &upload_id, &parts).await?;
                Done::Stored
            }
            Self::Abort { upload_id } => {
                objects.abort(&key, &upload_id).await?;
                Done::Aborted
            }
            Self::Verify { expected } => Done::Verified(objects.verify(&key, &expected).await?),
            Self::Discard { orphan } => {
                objects.delete(&orphan).await?;
                Done::Discarded
            }
            Self::Cut { stage, whole, range } => Done::Cut(cut(stage, whole, range).await?),
        })
    }
}

impl ActiveRun {
    pub(super) fn key(&self) -> ObjectKey {
        ObjectKey::for_run(self.begin.session, self.part_id(), self.part().format)
    }

    /// The part that it becomes, or a piece of it.
    fn part_id(&self) -> RunId {
        self.run.piece().map_or(self.begin.run, |piece| self.begin.run.piece_at(piece.range.start))
    }

    /// What is stored as one object.
    pub(super) fn part(&self) -> Piece {
        self.run.piece().cloned().unwrap_or_else(|| self.whole())
    }

    fn whole(&self) -> Piece {
        Piece {
            range: 0..self.run.len(),
            sha256: self.stage.as_ref().map_or(Sha256([0; 32]), Stage::digest),
            format: self.begin.format,
        }
    }

    /// `None` for steps that are no request, and for a run without bytes or upload, which asks for no such step.
    pub(super) fn request(&self, step: &Step) -> Option<Request> {
        let (upload, part) = (self.run.upload(), self.part());
        Some(match step {
            Step::Begin => Request::Begin,
            Step::PutPart { number, offset, len } => Request::PutPart {
                upload_id: upload?.id.clone(),
                number: *number,
                body: self.stage.as_ref()?.part(*number, *offset, *len),
            },
            Step::Put => Request::Put { body: self.stage.as_ref()?.slice(part.range, part.sha256) },
            Step::Complete => {
                let upload = upload?;
                Request::Complete { upload_id: upload.id.clone(), parts: upload.parts.clone() }
            }
            Step::Abort { upload_id } => Request::Abort { upload_id: upload_id.clone() },
            Step::Discard => Request::Discard { orphan: self.orphan.clone()? },
            Step::Cut { range } => Request::Cut {
                stage: self.stage.as_ref()?.path().to_owned(),
                whole: self.whole(),
                range: range.clone(),
            },
            Step::Verify => Request::Verify {
                expected: Expected {
                    size_bytes: part.len(),
                    sha256: part.sha256,
                    parts: upload.map_or_else(Vec::new, |upload| upload.parts.clone()),
                },
            },
            Step::Wait { .. } | Step::Finish | Step::Attach | Step::Settle => return None,
        })
    }

    pub(super) fn row(&self) -> AudioPart {
        let part = self.part();
        AudioPart {
            run: self.part_id(),
            session: self.begin.session,
            user: self.begin.user.clone(),
            stream: self.begin.stream,
            stream_offset: self.begin.stream_offset + part.range.start,
            started_at: self.begin.at,
            ended_at: self.last_at,
            object_key: self.key().as_str().to_owned(),
            format: part.format,
            size_bytes: part.len(),
            sha256: part.sha256,
            arrivals: self.arrivals.within(&part.range),
        }
    }
}

impl ActiveRun {
    /// What became of its row, and whether rows of others leave something to store.
    pub(super) fn compare(&mut self, StoredParts { parts, is_deleted }: &StoredParts) -> Done {
        let begin = self.begin.stream_offset;
        let own = begin..begin + self.run.len();
        let rest = piece::first_uncovered(&own, parts).filter(|_| !is_deleted);
        let key = self.key();
        let has_row = parts.iter().any(|row| row.object_key == key.as_str());
        if has_row && rest.is_none() {
            return Done::Attached;
        }
        tracing::info!(run = %self.begin.run, has_row, ?rest, "a run is not stored as it is: another node has its audio, or it was deleted");
        self.orphan = (!has_row).then_some(key);
        self.ending = if *is_deleted { Ending::Deleted } else { Ending::Shared };
        Done::Overlapped { rest, is_discarded: !has_row }
    }
}

/// What a piece is, read back from the stage.
async fn cut(stage: PathBuf, whole: Piece, range: Range<u64>) -> Result<Piece, ObjectError> {
    let cutting = tokio::task::spawn_blocking(move || staging::cut(&stage, &whole, range)).await;
    let failed = |error: io::Error| ObjectError::new(ObjectErrorKind::Retryable, "cut a run", error);
    cutting.map_err(io::Error::other).and_then(|piece| piece).map_err(failed)
}
