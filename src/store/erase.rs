//! What it takes to delete: marks that keep it deleted, and the removal of rows in small steps.
//!
//! Promises: nothing that a mark covers is stored by a write that begins after it, whoever has it still. A write that was
//! under way may, so that rows are removed twice: at once, and when no such write can be left.
//! Refuses: to know of objects. Rows of audio parts go once their objects are gone.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::{Deletion, RunId, SessionId, Timestamp, UserId};

/// Rows that one step removes: its locks are held for milliseconds.
pub const ROWS_A_STEP: u32 = 2_000;

/// What one step removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Erased {
    pub events: u64,
    /// Nothing of it is left.
    pub is_all: bool,
}

/// The deleting side of a [`super::Store`].
#[async_trait]
pub trait Erase {
    /// Nothing of these sessions is stored from now on. Harmless to say again: the first mark stays.
    async fn mark_sessions_deleted(&self, sessions: &[SessionId], at: Timestamp) -> Result<(), StoreError>;

    /// Nothing that was received of the user up to `at` is stored from now on. The user's sessions, which are to be
    /// erased too, are marked and returned.
    async fn mark_user_deleted(&self, user: &UserId, at: Timestamp) -> Result<Vec<SessionId>, StoreError>;

    /// Whether a mark covers what was received at `at` for this session of this user.
    async fn is_deleted(&self, session: SessionId, user: &UserId, at: Timestamp) -> Result<bool, StoreError>;

    /// The mark on a user.
    async fn user_deleted_at(&self, user: &UserId) -> Result<Option<Timestamp>, StoreError>;

    /// One step: events first, [`ROWS_A_STEP`] of them; then the rows of `parts`, whose objects are gone; then the session.
    async fn erase_session(&self, session: SessionId, parts: &[RunId]) -> Result<Erased, StoreError>;

    /// One step for what was received up to `at` and belongs to no session: events, streams, presence, the user.
    async fn erase_user(&self, user: &UserId, at: Timestamp) -> Result<Erased, StoreError>;

    /// Marks made before `marked_before` that [`Self::finish_deletion`] was not said of, the oldest first.
    async fn unfinished_deletions(&self, marked_before: Timestamp, limit: u32) -> Result<Vec<Deletion>, StoreError>;

    /// Marks made at or after `marked_since`, the oldest first.
    async fn recent_deletions(&self, marked_since: Timestamp, limit: u32) -> Result<Vec<Deletion>, StoreError>;

    /// All of it is gone.
    async fn finish_deletion(&self, deletion: &Deletion, at: Timestamp) -> Result<(), StoreError>;

    /// Sessions that are over and were opened before `opened_before`, the oldest first.
    async fn old_sessions(&self, opened_before: Timestamp, limit: u32) -> Result<Vec<SessionId>, StoreError>;

    /// One step for what is older than `before` and belongs to no session: events, then users of whom nothing is left.
    /// How many rows it removed; 0 when there are no more.
    async fn erase_old(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Marks of deletions that were finished before `before` are not needed any more.
    async fn forget_deletions(&self, before: Timestamp) -> Result<(), StoreError>;
}
