//! One consistent view for an answer that takes many queries.
//!
//! Owns: how long a view may keep its connection. A reader that takes longer reads on outside of the view: what it gets
//! then is as new as each of its queries, where an endless view would keep a connection, and old rows, for ever.
//! Promises: as many views at a time as leave a connection for other reads; one more waits.

use std::{
    ops::DerefMut,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::{StoreError, StoreErrorKind};

/// Far above what a million events take over a fast line.
pub(super) const VIEW_LIFETIME: Duration = Duration::from_secs(30);

/// The places for views of one store.
#[derive(Clone)]
pub(super) struct Places {
    places: Arc<Semaphore>,
    patience: Duration,
}

impl Places {
    pub(super) fn new(readers: u32, patience: Duration) -> Self {
        let places = readers.saturating_sub(1).max(1);
        Self { places: Arc::new(Semaphore::new(places as usize)), patience }
    }

    pub(super) async fn take(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let busy = |reason: &str| StoreError::new(StoreErrorKind::Retryable, "begin a view", reason.to_owned());
        let taken = tokio::time::timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await;
        taken.map_err(|_| busy("too many readers at once"))?.map_err(|_| busy("the store is closed"))
    }
}

/// A connection in the transaction of a view, until the view's time is over.
pub(super) struct Held<C> {
    slot: Arc<Mutex<Option<(C, OwnedSemaphorePermit)>>>,
}

impl<C: Send + 'static> Held<C> {
    pub(super) fn new(connection: C, place: OwnedSemaphorePermit, lifetime: Duration) -> Self {
        let slot = Arc::new(Mutex::new(Some((connection, place))));
        let watched = Arc::downgrade(&slot);
        tokio::spawn(async move {
            tokio::time::sleep(lifetime).await;
            if let Some(slot) = Weak::upgrade(&watched) {
                slot.lock().await.take();
            }
        });
        Self { slot }
    }

    /// The connection, if the view still has it; a query that fails is to take it out.
    pub(super) async fn lock(&self) -> impl DerefMut<Target = Option<(C, OwnedSemaphorePermit)>> + use<'_, C> {
        self.slot.lock().await
    }
}
