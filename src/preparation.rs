//! The database at the start: its schema, and a clean slate for this node's presence.
//!
//! Promises: a database that is away keeps nobody from starting, and is prepared when it comes. One that does not let
//! this program in, or whose schema cannot be brought up to date, ends the process, also when it turns out later:
//! waiting would not help.
//! Refuses: to let anybody write before; that is for whoever is given the [`watch::Receiver`] to heed.

use std::{sync::Arc, time::Duration};

use tokio::sync::{oneshot, watch};

use crate::{
    domain::{NodeId, Timestamp},
    runtime::Backoff,
    store::{Store, StoreError, StoreErrorKind},
};

/// Between two attempts.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

type Outcome = Result<(), StoreError>;

/// Begins, and waits no longer than `patience` for how it goes; then it goes on beside everything else. What is returned
/// says `true` once the database is prepared.
///
/// # Errors
/// When the database refuses within `patience`; later, `on_refusal` is told.
pub async fn prepare(
    store: Arc<dyn Store>,
    node: NodeId,
    patience: Duration,
    on_refusal: impl FnOnce(StoreError) + 'static,
) -> Result<watch::Receiver<bool>, StoreError> {
    let is_prepared = watch::Sender::new(false);
    let prepared = is_prepared.subscribe();
    let (first, first_outcome) = oneshot::channel();
    actix::spawn(async move {
        let mut first = Some(first);
        if let Err(refusal) = until_prepared(&*store, node, &is_prepared, &mut first).await {
            let untold = match first.take() {
                Some(first) => first.send(Err(refusal)).err().and_then(Outcome::err),
                None => Some(refusal),
            };
            if let Some(refusal) = untold {
                on_refusal(refusal);
            }
        }
    });
    match tokio::time::timeout(patience, first_outcome).await {
        Ok(Ok(Err(refusal))) => Err(refusal),
        _ => Ok(prepared),
    }
}

/// Tells `first` how the first attempt went, unless it ends everything.
async fn until_prepared(
    store: &dyn Store,
    node: NodeId,
    is_prepared: &watch::Sender<bool>,
    first: &mut Option<oneshot::Sender<Outcome>>,
) -> Outcome {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    let mut told = String::new();
    loop {
        let attempt = async {
            store.migrate().await?;
            store.begin_node(node, Timestamp::now()).await
        };
        let outcome = attempt.await;
        match &outcome {
            Ok(()) => {
                if backoff.attempts() > 0 {
                    tracing::info!("the database is there and prepared");
                }
                is_prepared.send_replace(true);
            }
            Err(error) if error.kind() == StoreErrorKind::Retryable => {
                let reason = error.to_string();
                if told != reason {
                    tracing::warn!(reason, "the database is away: what is recorded waits in the journal");
                    told = reason;
                }
            }
            Err(_) => return outcome,
        }
        if let Some(first) = first.take() {
            // Nobody waits for it any more after a long migration.
            let _ = first.send(Ok(()));
        }
        if outcome.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}
