//! Deletions: of a session, of a user, of what is too old.
//!
//! Owns: the order in which things go. First the mark in the database: nothing that it covers is stored any more, by any
//! node, whatever their journals still hold. Then what nodes have in hand, then objects, then rows.
//! Promises: what was begun ends, also after a crash or an outage; doing it again is harmless. The answer says whether
//! all of it is gone already.
//! Refuses: to hurry a database: rows go in small steps.

mod keeper;
mod removed;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;

pub use keeper::KeeperActor;
pub use removed::Removed;

use crate::{
    domain::{Deletion, Doomed, RunId, SessionId, UserId},
    objects::{InvalidKey, ObjectError, ObjectKey, Objects},
    session::{Now, Registry},
    store::{Erased, Store, StoreError},
    upload::DroppedAudio,
};

/// Longest time that somebody is kept waiting. What is left then goes in the background.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why something is not gone yet.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Objects(#[from] ObjectError),
    #[error("a stored part has a bad key: {0}")]
    Key(#[from] InvalidKey),
}

/// Makes this node drop the audio that it has not stored yet.
pub type DropAudioOf = Arc<dyn Fn(Deletion) -> BoxFuture<'static, DroppedAudio> + Send + Sync>;

/// Deletes. Clones share what they know.
#[derive(Clone)]
pub struct Erasure {
    store: Arc<dyn Store>,
    objects: Objects,
    registry: Arc<Registry>,
    drop_audio: DropAudioOf,
    /// Deletions that this node has let go of what it had in hand for.
    let_go: Arc<Mutex<HashSet<Deletion>>>,
}

impl Erasure {
    #[must_use]
    pub fn new(store: Arc<dyn Store>, objects: Objects, registry: Arc<Registry>, drop_audio: DropAudioOf) -> Self {
        Self { store, objects, registry, drop_audio, let_go: Arc::default() }
    }

    /// Deletes a session, also while it records. `None` when there is no such session and never was.
    ///
    /// # Errors
    /// The database did not take the mark: nothing was deleted.
    pub async fn delete_session(&self, session: SessionId) -> Result<Option<Removed>, StoreError> {
        let now = Now::read();
        let anybody = UserId::anonymous();
        let is_known = self.registry.knows_session(session)
            || self.store.session(session).await?.is_some()
            || self.store.is_deleted(session, &anybody, now.wall).await?;
        if !is_known {
            return Ok(None);
        }
        self.store.mark_sessions_deleted(&[session], now.wall).await?;
        let deletion = Deletion { what: Doomed::Session(session), at: now.wall };
        Ok(Some(self.erase_in_time(&deletion, &[session]).await))
    }

    /// Deletes all that is known of a user up to now. `None` when there is no such user and never was.
    ///
    /// # Errors
    /// As [`Self::delete_session`].
    pub async fn delete_user(&self, user: &UserId) -> Result<Option<Removed>, StoreError> {
        let now = Now::read().wall;
        let is_known = self.store.user(user, now).await?.is_some() || self.store.user_deleted_at(user).await?.is_some();
        if !is_known {
            return Ok(None);
        }
        let sessions = self.store.mark_user_deleted(user, now).await?;
        let deletion = Deletion { what: Doomed::User(user.clone()), at: now };
        Ok(Some(self.erase_in_time(&deletion, &sessions).await))
    }

    /// What is not gone in time, or cannot go now, is gone on with by the [`KeeperActor`].
    async fn erase_in_time(&self, deletion: &Deletion, sessions: &[SessionId]) -> Removed {
        let mut removed = Removed::default();
        self.let_go(deletion, &mut removed).await;
        match self.erase(deletion, sessions, Instant::now() + PATIENCE, &mut removed).await {
            Ok(is_complete) => removed.complete = is_complete,
            Err(error) => tracing::warn!(%error, "a deletion is not complete, and will be gone on with"),
        }
        removed
    }

    /// Lets go of what this node has in hand, once for each deletion.
    async fn let_go(&self, deletion: &Deletion, removed: &mut Removed) {
        if !self.let_go.lock().unwrap_or_else(PoisonError::into_inner).insert(deletion.clone()) {
            return;
        }
        self.registry.delete(deletion, Now::read());
        let dropped = (self.drop_audio)(deletion.clone()).await;
        removed.staged_runs += dropped.runs;
        removed.staged_bytes += dropped.bytes;
    }

    /// Removes objects and rows. `false` when the time was over before all of them were gone.
    async fn erase(
        &self,
        deletion: &Deletion,
        sessions: &[SessionId],
        deadline: Instant,
        removed: &mut Removed,
    ) -> Result<bool, ErasureError> {
        for session in sessions {
            removed.sessions += u64::from(self.store.session(*session).await?.is_some());
            if !self.erase_session(*session, deadline, removed).await? {
                return Ok(false);
            }
        }
        let Doomed::User(user) = &deletion.what else { return Ok(true) };
        removed.users +=
            u64::from(self.store.user(user, deletion.at).await?.is_some_and(|row| row.created_at <= deletion.at));
        loop {
            let Erased { events, is_all } = self.store.erase_user(user, deletion.at).await?;
            removed.events += events;
            if is_all {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }

    async fn erase_session(
        &self,
        session: SessionId,
        deadline: Instant,
        removed: &mut Removed,
    ) -> Result<bool, ErasureError> {
        loop {
            let parts = self.store.audio_parts(&[session]).await?;
            // Also where nothing says that there is one: it may be on its way.
            self.objects.delete(&ObjectKey::for_track(session)).await?;
            for part in &parts {
                self.objects.delete(&ObjectKey::parse(&part.object_key)?).await?;
            }
            let runs: Vec<RunId> = parts.iter().map(|part| part.run).collect();
            let Erased { events, is_all } = self.store.erase_session(session, &runs).await?;
            removed.events += events;
            if is_all {
                removed.audio_parts += parts.len() as u64;
                removed.audio_bytes += parts.iter().map(|part| part.size_bytes).sum::<u64>();
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }
}
