//! The deleting side of the store in memory: nothing is ever deleted in it.

use async_trait::async_trait;
use shopaloud::{
    domain::{Arrivals, Deletion, RunId, SessionId, Timestamp, UserId},
    store::{Erase, Erased, MadeTrack, StoreError, TrackJob, TrackRow, Tracks},
};

use crate::store::FakeStore;

#[async_trait]
impl Tracks for FakeStore {
    async fn claim_track(&self, _: Timestamp, _: Timestamp) -> Result<Option<TrackJob>, StoreError> {
        unreachable!()
    }

    async fn finish_track(&self, _: &TrackJob, _: &MadeTrack) -> Result<bool, StoreError> {
        unreachable!()
    }

    async fn give_up_track(&self, _: &TrackJob, _: &str) -> Result<(), StoreError> {
        unreachable!()
    }

    async fn postpone_track(&self, _: &TrackJob, _: &str, _: Timestamp) -> Result<(), StoreError> {
        unreachable!()
    }

    async fn retry_tracks(&self, _: Option<SessionId>, _: Timestamp) -> Result<u64, StoreError> {
        unreachable!()
    }

    async fn audio_tracks(&self, _: &[SessionId]) -> Result<Vec<TrackRow>, StoreError> {
        unreachable!()
    }

    async fn arrivals(&self, _: SessionId) -> Result<Vec<(RunId, Arrivals)>, StoreError> {
        unreachable!()
    }
}

#[async_trait]
impl Erase for FakeStore {
    async fn mark_sessions_deleted(&self, _: &[SessionId], _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn mark_user_deleted(&self, _: &UserId, _: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        Ok(Vec::new())
    }

    async fn is_deleted(&self, _: SessionId, _: &UserId, _: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn user_deleted_at(&self, _: &UserId) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    async fn erase_session(&self, _: SessionId, _: &[RunId]) -> Result<Erased, StoreError> {
        Ok(Erased { events: 0, is_all: true })
    }

    async fn erase_user(&self, _: &UserId, _: Timestamp) -> Result<Erased, StoreError> {
        Ok(Erased { events: 0, is_all: true })
    }

    async fn unfinished_deletions(&self, _: Timestamp, _: u32) -> Result<Vec<Deletion>, StoreError> {
        Ok(Vec::new())
    }

    async fn recent_deletions(&self, _: Timestamp, _: u32) -> Result<Vec<Deletion>, StoreError> {
        Ok(Vec::new())
    }

    async fn finish_deletion(&self, _: &Deletion, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn old_sessions(&self, _: Timestamp, _: u32) -> Result<Vec<SessionId>, StoreError> {
        Ok(Vec::new())
    }

    async fn erase_old(&self, _: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn forget_deletions(&self, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}
