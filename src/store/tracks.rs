//! Tracks: what is to be made of a session's parts, what came of it, and who does it now.
//!
//! Promises: a part that is stored makes its session's track due in the same transaction; a track counts only for the
//! parts that it was made of; whoever takes one on and dies is succeeded when its time is over.
//! Refuses: to hand out tracks of sessions that are still recording.

use std::{str::FromStr, time::Duration};

use async_trait::async_trait;

use super::StoreError;
use crate::domain::{Arrivals, AudioPart, RunId, SessionId, Sha256, Timestamp};

/// A session's last parts are stored within this after each other, as a rule.
const SETTLING: Duration = Duration::from_secs(4);

/// When the track of a part that is stored now may be made.
pub(super) fn track_due(part: &AudioPart) -> Timestamp {
    part.ended_at.plus(SETTLING)
}

/// A track that is to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackJob {
    pub session: SessionId,
    pub opened_at: Timestamp,
    /// Counts the parts that were stored.
    pub generation: i64,
    /// With this one, since the last part.
    pub attempts: u64,
}

/// Where a track is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrackState {
    /// To be made, or made again.
    Waiting,
    Ready,
    /// Nobody tries any more; the row says why.
    Failed,
}

impl TrackState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// A text that is no state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown state of a track")]
pub struct UnknownTrackState;

impl FromStr for TrackState {
    type Err = UnknownTrackState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Waiting, Self::Ready, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(UnknownTrackState)
    }
}

/// A stored track.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MadeTrack {
    pub object_key: String,
    pub size_bytes: u64,
    pub sha256: Sha256,
    /// When it begins.
    pub origin: Timestamp,
    pub duration_ms: u64,
    /// What is in it, and where: JSON that this module does not look into.
    pub layout: String,
}

/// What is known of a session's track.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackRow {
    pub session: SessionId,
    pub state: TrackState,
    /// What went wrong last.
    pub problem: Option<String>,
    /// The last one that was made; also while another is waited for.
    pub made: Option<MadeTrack>,
}

/// The tracks of a [`super::Store`].
#[async_trait]
pub trait Tracks {
    /// A track that is due, if any. It is not handed out again before `until`.
    async fn claim_track(&self, now: Timestamp, until: Timestamp) -> Result<Option<TrackJob>, StoreError>;

    /// It is stored. `false` when it is not what is wanted any more: the session got another part, or is gone.
    async fn finish_track(&self, job: &TrackJob, made: &MadeTrack) -> Result<bool, StoreError>;

    /// It cannot be made of these parts.
    async fn give_up_track(&self, job: &TrackJob, problem: &str) -> Result<(), StoreError>;

    /// It could not be made now. The attempt does not count.
    async fn postpone_track(&self, job: &TrackJob, problem: &str, until: Timestamp) -> Result<(), StoreError>;

    /// Makes a session's track due, or those of all sessions where it failed. How many.
    async fn retry_tracks(&self, session: Option<SessionId>, now: Timestamp) -> Result<u64, StoreError>;

    /// The tracks of the sessions given.
    async fn audio_tracks(&self, sessions: &[SessionId]) -> Result<Vec<TrackRow>, StoreError>;

    /// When the bytes of a session's parts arrived, where it is known.
    async fn arrivals(&self, session: SessionId) -> Result<Vec<(RunId, Arrivals)>, StoreError>;
}

/// Makes [`Tracks`] for `$store`, which takes on tracks by `$claim`. `$time` is how its database has times, `$change` its
/// method that answers the rows of a change.
macro_rules! keep_tracks {
    ($store:ty, $claim:expr, $time:path, $change:ident) => {
        use sqlx::types::Uuid;

        use $crate::{
            domain::{Arrivals, RunId, SessionId, Timestamp},
            store::{MadeTrack, StoreError, TrackJob, TrackRow, sql},
        };

        #[async_trait::async_trait]
        impl $crate::store::Tracks for $store {
            async fn claim_track(&self, now: Timestamp, until: Timestamp) -> Result<Option<TrackJob>, StoreError> {
                let claim = sqlx::query_as($claim).bind($time(now)).bind($time(until));
                Ok(self.$change("claim a track", claim).await?.pop())
            }

            async fn finish_track(&self, job: &TrackJob, made: &MadeTrack) -> Result<bool, StoreError> {
                let signed = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
                let finish = sqlx::query_as(sql::FINISH_TRACK)
                    .bind(job.session.as_uuid())
                    .bind(job.generation)
                    .bind(made.object_key.as_str())
                    .bind(signed(made.size_bytes))
                    .bind(made.sha256.0.as_slice())
                    .bind($time(made.origin))
                    .bind(signed(made.duration_ms))
                    .bind(made.layout.as_str());
                let finished: Vec<(Uuid,)> = self.$change("finish a track", finish).await?;
                Ok(!finished.is_empty())
            }

            async fn give_up_track(&self, job: &TrackJob, problem: &str) -> Result<(), StoreError> {
                let give_up =
                    sqlx::query_as(sql::GIVE_UP_TRACK).bind(job.session.as_uuid()).bind(job.generation).bind(problem);
                let _: Vec<(Uuid,)> = self.$change("give up a track", give_up).await?;
                Ok(())
            }

            async fn postpone_track(&self, job: &TrackJob, problem: &str, until: Timestamp) -> Result<(), StoreError> {
                let postpone = sqlx::query_as(sql::POSTPONE_TRACK)
                    .bind(job.session.as_uuid())
                    .bind(job.generation)
                    .bind(problem)
                    .bind($time(until));
                let _: Vec<(Uuid,)> = self.$change("postpone a track", postpone).await?;
                Ok(())
            }

            async fn retry_tracks(&self, session: Option<SessionId>, now: Timestamp) -> Result<u64, StoreError> {
                let retry = match session {
                    Some(session) => sqlx::query_as(sql::RETRY_TRACK).bind($time(now)).bind(session.as_uuid()),
                    None => sqlx::query_as(sql::RETRY_FAILED_TRACKS).bind($time(now)),
                };
                let due: Vec<(Uuid,)> = self.$change("make tracks due", retry).await?;
                Ok(due.len() as u64)
            }

            async fn audio_tracks(&self, sessions: &[SessionId]) -> Result<Vec<TrackRow>, StoreError> {
                self.fetch("read tracks", read::audio_tracks(sessions)).await
            }

            async fn arrivals(&self, session: SessionId) -> Result<Vec<(RunId, Arrivals)>, StoreError> {
                let read = sqlx::query_as(sql::ARRIVALS).bind(session.as_uuid());
                let rows: Vec<(Uuid, Vec<u8>)> = self.fetch("read arrivals", read).await?;
                let known =
                    |(run, bytes): (Uuid, Vec<u8>)| Some((RunId::from_uuid(run), Arrivals::from_bytes(&bytes).ok()?));
                Ok(rows.into_iter().filter_map(known).collect())
            }
        }
    };
}
pub(super) use keep_tracks;
