//! The deleting side of the store in memory: nothing is ever deleted in it.

use async_trait::async_trait;
use shopaloud::{
    domain::{Deletion, RunId, SessionId, Timestamp, UserId},
    store::{Erase, Erased, StoreError},
};

use crate::store::FakeStore;

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
