//! One attempt to write a batch.
//!
//! Promises: what it hands back after a failure can be tried again as it is; a connection that failed is gone.
//! Refuses: to wait and try again.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::batch::Batch;
use crate::{
    domain::NodeId,
    store::{Store, StoreError, StoreErrorKind, StoreWriter},
};

pub(super) struct Attempt {
    pub(super) batch: Batch,
    pub(super) writer: Option<Box<dyn StoreWriter>>,
    /// Why the rest of the batch's plan is to be tried again.
    pub(super) failure: Option<StoreError>,
    pub(super) took: Duration,
}

pub(super) async fn attempt(
    store: Arc<dyn Store>,
    node: NodeId,
    is_prepared: bool,
    mut writer: Option<Box<dyn StoreWriter>>,
    mut batch: Batch,
) -> Attempt {
    let began = Instant::now();
    let failure = loop {
        let Some(range) = batch.plan.next() else { break None };
        let connected = match &mut writer {
            Some(connected) => connected,
            // Whatever keeps a connection from being made, it is not the data.
            None if !is_prepared => break Some(unprepared()),
            unconnected => match store.writer().await {
                Ok(connected) => unconnected.insert(connected),
                Err(error) => break Some(error),
            },
        };
        match connected.write(node, &batch.records[range]).await {
            Ok(outcome) => batch.plan.committed(outcome),
            Err(error) => {
                writer = None;
                match error.kind() {
                    StoreErrorKind::Retryable | StoreErrorKind::Denied => break Some(error),
                    StoreErrorKind::Permanent => batch.plan.refused(|| error.to_string()),
                }
            }
        }
    };
    Attempt { batch, writer, failure, took: began.elapsed() }
}

/// Whatever was written before could be written into an old schema, or be taken for what an earlier process left.
fn unprepared() -> StoreError {
    StoreError::new(StoreErrorKind::Retryable, "write a batch", "the database is not prepared yet")
}
