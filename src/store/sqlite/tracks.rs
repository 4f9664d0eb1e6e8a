//! Tracks on SQLite.

use async_trait::async_trait;
use sqlx::types::Uuid;

use super::{SqliteStore, read};
use crate::{
    domain::{Arrivals, RunId, SessionId, Timestamp},
    store::{
        MadeTrack, StoreError, TrackJob, TrackRow, Tracks,
        sql::{self, claim_track, track_columns},
    },
};

#[async_trait]
impl Tracks for SqliteStore {
    async fn claim_track(&self, now: Timestamp, until: Timestamp) -> Result<Option<TrackJob>, StoreError> {
        const CLAIM: &str = claim_track!("");
        let claim = sqlx::query_as(CLAIM).bind(now.as_unix_ms()).bind(until.as_unix_ms());
        Ok(self.fetch_of(&self.writing, "claim a track", claim).await?.pop())
    }

    async fn finish_track(&self, job: &TrackJob, made: &MadeTrack) -> Result<bool, StoreError> {
        let signed = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        let finish = sqlx::query_as(sql::FINISH_TRACK)
            .bind(job.session.as_uuid())
            .bind(job.generation)
            .bind(made.object_key.as_str())
            .bind(signed(made.size_bytes))
            .bind(made.sha256.0.as_slice())
            .bind(made.origin.as_unix_ms())
            .bind(signed(made.duration_ms))
            .bind(made.layout.as_str());
        let finished: Vec<(Uuid,)> = self.fetch_of(&self.writing, "finish a track", finish).await?;
        Ok(!finished.is_empty())
    }

    async fn give_up_track(&self, job: &TrackJob, problem: &str) -> Result<(), StoreError> {
        let give_up = sqlx::query_as(sql::GIVE_UP_TRACK).bind(job.session.as_uuid()).bind(job.generation).bind(problem);
        let _: Vec<(Uuid,)> = self.fetch_of(&self.writing, "give up a track", give_up).await?;
        Ok(())
    }

    async fn postpone_track(&self, job: &TrackJob, problem: &str, until: Timestamp) -> Result<(), StoreError> {
        let postpone = sqlx::query_as(sql::POSTPONE_TRACK)
            .bind(job.session.as_uuid())
            .bind(job.generation)
            .bind(problem)
            .bind(until.as_unix_ms());
        let _: Vec<(Uuid,)> = self.fetch_of(&self.writing, "postpone a track", postpone).await?;
        Ok(())
    }

    async fn retry_tracks(&self, session: Option<SessionId>, now: Timestamp) -> Result<u64, StoreError> {
        let retry = match session {
            Some(session) => sqlx::query_as(sql::RETRY_TRACK).bind(now.as_unix_ms()).bind(session.as_uuid()),
            None => sqlx::query_as(sql::RETRY_FAILED_TRACKS).bind(now.as_unix_ms()),
        };
        let due: Vec<(Uuid,)> = self.fetch_of(&self.writing, "make tracks due", retry).await?;
        Ok(due.len() as u64)
    }

    async fn audio_tracks(&self, sessions: &[SessionId]) -> Result<Vec<TrackRow>, StoreError> {
        const READ: &str = concat!(
            "SELECT ",
            track_columns!(),
            " FROM audio_tracks WHERE session_id IN (SELECT unhex(value) FROM json_each($1))"
        );
        let read = sqlx::query_as(READ).bind(read::hex_list(sessions));
        self.fetch("read tracks", read).await
    }

    async fn arrivals(&self, session: SessionId) -> Result<Vec<(RunId, Arrivals)>, StoreError> {
        let read = sqlx::query_as(sql::ARRIVALS).bind(session.as_uuid());
        let rows: Vec<(Uuid, Vec<u8>)> = self.fetch("read arrivals", read).await?;
        let known = |(run, bytes): (Uuid, Vec<u8>)| Some((RunId::from_uuid(run), Arrivals::from_bytes(&bytes).ok()?));
        Ok(rows.into_iter().filter_map(known).collect())
    }
}
