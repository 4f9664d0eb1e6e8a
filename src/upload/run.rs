//! What a run of audio needs next. Pure: no clock, no I/O.
//!
//! Owns: the life of a run from its first byte to its stored, verified, committed object.
//! Promises: one request at a time for a run; a row is never written for an object that was not verified; whatever
//! fails is tried again, later each time.
//! Refuses: to give a run up.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use super::{messages::FinishReason, piece::Piece};
use crate::{
    objects::{ObjectErrorKind, UploadedPart, Verdict},
    runtime::Backoff,
};

/// The first delay after a failure: a hiccup is over by then.
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// The longest delay: a store that is back is found within this.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// What holds for all runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Every part but the last has this size.
    pub(super) part_size_bytes: u64,
    /// A run without new bytes for that long is finished.
    pub(super) idle_timeout: Duration,
}

/// A multipart upload in progress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Multipart {
    pub(super) id: String,
    /// Stored, in order, without gaps.
    pub(super) parts: Vec<UploadedPart>,
}

/// What to do for a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Nothing before `until`, or before something else happens.
    Wait {
        until: Option<Instant>,
    },
    /// No more bytes will come: call [`Run::finish`].
    Finish,
    Begin,
    PutPart {
        number: i32,
        offset: u64,
        len: u64,
    },
    Put,
    Complete,
    /// Give up parts that are of no use any more.
    Abort {
        upload_id: String,
    },
    Verify,
    /// Have the row committed.
    Attach,
    /// Remove an object that got no row, since others had stored bytes of it.
    Discard,
    /// Prepare to store these bytes of the run alone.
    Cut {
        range: Range<u64>,
    },
    /// Nothing is left to do for it: tell, and let go of its bytes.
    Settle,
}

impl Step {
    /// Whether there may be an object after it, however it ended.
    const fn may_leave_an_object(&self) -> bool {
        matches!(self, Self::Put | Self::Complete)
    }
}

/// How a step ended well.
#[derive(Debug)]
pub(super) enum Done {
    Begun(String),
    PartStored(UploadedPart),
    /// By a put or a completed upload.
    Stored,
    Aborted,
    Verified(Verdict),
    /// All bytes of the run have rows.
    Attached,
    /// Others had stored bytes of the run: `rest` has no row yet, and the object as it is may have got none.
    Overlapped {
        rest: Option<Range<u64>>,
        is_discarded: bool,
    },
    Discarded,
    Cut(Piece),
}

/// What the owner should know about how a step ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// The run goes on.
    Well,
    /// It is tried again, for the `attempts`th time in a row.
    Badly { attempts: u32 },
    /// What the store has is not what was recorded: everything is uploaded again.
    StartedOver { found: Verdict },
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Progress {
    Uploading,
    /// All of it was sent. `in_doubt` when the store did not say that it took it.
    Sent {
        in_doubt: Option<ObjectErrorKind>,
    },
    Verified,
    /// Only these bytes are still to be stored.
    Overlapped {
        rest: Option<Range<u64>>,
    },
    Attached,
}

#[derive(Clone, Copy, Debug)]
struct Finishing {
    at: Instant,
    is_final: bool,
}

/// One run, as far as decisions need to know it.
#[derive(Debug)]
pub(super) struct Run {
    len: u64,
    finished: bool,
    finishing: Option<Finishing>,
    last_bytes_at: Instant,
    /// Chunks that arrived and could not be taken yet.
    held_back: usize,
    upload: Option<Multipart>,
    /// The id of an upload that is of no use any more.
    abandoned: Option<String>,
    /// The part of it that is being stored; `None` for all of it.
    piece: Option<Piece>,
    /// Its object got no row.
    has_orphan: bool,
    /// It was deleted: nothing of it is to be stored.
    given_up: bool,
    progress: Progress,
    current: Option<Step>,
    retries: Backoff,
    /// Apart from `retries`: an upload that succeeds and turns out wrong must not be repeated at once for ever.
    restarts: Backoff,
    retry_at: Option<Instant>,
}

impl Run {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            len: 0,
            finished: false,
            finishing: None,
            last_bytes_at: now,
            held_back: 0,
            upload: None,
            abandoned: None,
            piece: None,
            has_orphan: false,
            given_up: false,
            progress: Progress::Uploading,
            current: None,
            retries: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
            restarts: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
            retry_at: None,
        }
    }

    /// A run that an earlier process left. `upload` is gone on with if its parts are what this process would make.
    pub(super) fn recovered(now: Instant, len: u64, finished: bool, upload: Option<Multipart>, limits: Limits) -> Self {
        let mut run = Self { len, finished, ..Self::new(now) };
        if let Some(upload) = upload {
            // The last part of a finished run is smaller.
            let usable = upload.parts.iter().enumerate().all(|(index, part)| {
                let is_last = finished && upload.sent_bytes() == len && index + 1 == upload.parts.len();
                is_last || part.size_bytes == limits.part_size_bytes
            });
            if usable && upload.sent_bytes() <= len {
                run.upload = Some(upload);
            } else {
                run.abandoned = Some(upload.id);
            }
        }
        run
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) const fn is_finished(&self) -> bool {
        self.finished
    }

    pub(super) const fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// It was deleted. What is under way ends, and what that left is cleared away.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
        self.finished = true;
        self.has_orphan |= match self.progress {
            Progress::Sent { .. } | Progress::Verified => true,
            // With a row, its object goes with the row.
            Progress::Uploading | Progress::Overlapped { .. } | Progress::Attached => false,
        };
        self.abandoned = self.abandoned.take().or_else(|| self.upload.take().map(|upload| upload.id));
    }

    pub(super) const fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    /// It ends whatever arrives.
    pub(super) fn ends_for_sure(&self) -> bool {
        self.finished || self.finishing.is_some_and(|finishing| finishing.is_final)
    }

    /// What is being stored, when it is not the whole run.
    pub(super) const fn piece(&self) -> Option<&Piece> {
        self.piece.as_ref()
    }

    pub(super) const fn upload(&self) -> Option<&Multipart> {
        self.upload.as_ref()
    }

    /// Bytes were taken. Only for a run that is not finished.
    pub(super) const fn appended(&mut self, len: u64, now: Instant) {
        self.len += len;
        self.last_bytes_at = now;
    }

    /// Bytes arrived for it, taken or held back: whoever left came back. Not when they are taken, since what was held back
    /// may have been sent before its client left.
    pub(super) fn heard_of(&mut self) {
        if self.finishing.is_some_and(|finishing| !finishing.is_final) {
            self.finishing = None;
        }
    }

    /// A chunk waits outside. The run is not finished without it.
    pub(super) const fn hold_back(&mut self) {
        self.held_back += 1;
    }

    pub(super) const fn let_in(&mut self) {
        self.held_back = self.held_back.saturating_sub(1);
    }

    /// An end that is final stays, and the earlier one counts.
    pub(super) fn finish_within(&mut self, grace: Duration, reason: FinishReason, now: Instant) {
        let new = Finishing { at: now + grace, is_final: reason.is_final() };
        self.finishing = Some(match self.finishing {
            None => new,
            Some(old) if old.is_final && !new.is_final => old,
            Some(old) => Finishing { at: old.at.min(new.at), is_final: new.is_final },
        });
    }

    pub(super) const fn finish(&mut self) {
        self.finished = true;
    }

    /// Decides.
    pub(super) fn next(&self, now: Instant, limits: Limits) -> Step {
        let finish_at = if self.finished || self.held_back > 0 {
            None
        } else {
            let idle_at = self.last_bytes_at + limits.idle_timeout;
            Some(self.finishing.map_or(idle_at, |finishing| finishing.at.min(idle_at)))
        };
        if finish_at.is_some_and(|at| at <= now) {
            return Step::Finish;
        }
        if self.current.is_some() {
            return Step::Wait { until: finish_at };
        }
        if let Some(retry_at) = self.retry_at.filter(|at| *at > now) {
            return Step::Wait { until: Some(finish_at.map_or(retry_at, |at| at.min(retry_at))) };
        }
        if let Some(upload_id) = &self.abandoned {
            return Step::Abort { upload_id: upload_id.clone() };
        }
        if self.has_orphan {
            return Step::Discard;
        }
        if self.given_up {
            return Step::Settle;
        }
        match &self.progress {
            Progress::Uploading => self.next_upload(limits).unwrap_or(Step::Wait { until: finish_at }),
            Progress::Sent { .. } => Step::Verify,
            Progress::Verified => Step::Attach,
            Progress::Overlapped { rest: Some(rest) } => Step::Cut { range: rest.clone() },
            Progress::Attached | Progress::Overlapped { rest: None } => Step::Settle,
        }
    }

    fn next_upload(&self, limits: Limits) -> Option<Step> {
        let sent = self.upload.as_ref().map_or(0, Multipart::sent_bytes);
        let rest = self.len.saturating_sub(sent);
        if !self.finished && rest < limits.part_size_bytes {
            return None;
        }
        Some(match &self.upload {
            _ if self.piece.is_some() => Step::Put,
            _ if self.len == 0 => Step::Settle,
            None if self.finished && self.len < limits.part_size_bytes => Step::Put,
            None => Step::Begin,
            Some(_) if rest == 0 => Step::Complete,
            Some(upload) => Step::PutPart {
                number: i32::try_from(upload.parts.len()).unwrap_or(i32::MAX).saturating_add(1),
                offset: sent,
                len: rest.min(limits.part_size_bytes),
            },
        })
    }

    /// The step is under way; the next one comes after [`Self::ended`].
    pub(super) fn started(&mut self, step: Step) {
        self.current = Some(step);
    }

    /// What could not be begun is begun later.
    pub(super) fn postpone(&mut self, now: Instant) {
        self.retry_at = Some(now + self.retries.next_delay());
    }

    pub(super) fn ended(&mut self, result: Result<Done, ObjectErrorKind>, now: Instant) -> Ended {
        let step = self.current.take();
        if self.given_up && step.as_ref().is_some_and(Step::may_leave_an_object) {
            self.has_orphan = true;
        }
        let done = match result {
            Ok(done) => done,
            Err(kind) => return self.failed(step.as_ref(), kind, now),
        };
        self.retries.reset();
        self.retry_at = None;
        match done {
            Done::Begun(id) if self.given_up => self.abandoned = Some(id),
            Done::Begun(id) => self.upload = Some(Multipart { id, parts: Vec::new() }),
            Done::PartStored(part) => {
                if let Some(upload) = &mut self.upload {
                    upload.parts.push(part);
                }
            }
            Done::Stored => self.progress = Progress::Sent { in_doubt: None },
            Done::Aborted => self.abandoned = None,
            Done::Verified(Verdict::Intact) => {
                self.restarts.reset();
                self.progress = Progress::Verified;
            }
            Done::Verified(found) => return self.not_as_recorded(found, now),
            Done::Attached => self.progress = Progress::Attached,
            Done::Overlapped { rest, is_discarded } => {
                self.upload = None;
                self.has_orphan = is_discarded;
                self.progress = Progress::Overlapped { rest };
            }
            Done::Discarded => self.has_orphan = false,
            Done::Cut(piece) => {
                self.piece = Some(piece);
                self.progress = Progress::Uploading;
            }
        }
        Ended::Well
    }

    fn failed(&mut self, step: Option<&Step>, kind: ObjectErrorKind, now: Instant) -> Ended {
        self.postpone(now);
        match step {
            // Best effort: the store clears away what nobody completes.
            Some(Step::Abort { .. }) => self.abandoned = None,
            // It may be complete although the answer says otherwise, or never came: look before trying again.
            Some(Step::Complete) => self.progress = Progress::Sent { in_doubt: Some(kind) },
            Some(Step::PutPart { .. }) if kind == ObjectErrorKind::NoSuchUpload => self.upload = None,
            _ => {}
        }
        Ended::Badly { attempts: self.retries.attempts() }
    }

    fn not_as_recorded(&mut self, found: Verdict, now: Instant) -> Ended {
        let in_doubt = match &self.progress {
            Progress::Sent { in_doubt } => *in_doubt,
            _ => None,
        };
        self.progress = Progress::Uploading;
        self.retry_at = Some(now + self.restarts.next_delay());
        if in_doubt == Some(ObjectErrorKind::Retryable) {
            // It was not completed after all, and the parts are still there.
            return Ended::Badly { attempts: self.restarts.attempts() };
        }
        self.abandoned = self.upload.take().map(|upload| upload.id);
        Ended::StartedOver { found }
    }
}

impl Multipart {
    pub(super) fn sent_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.size_bytes).sum()
    }
}

#[cfg(test)]
mod tests;
