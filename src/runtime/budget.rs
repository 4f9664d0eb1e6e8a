//! The byte budget: who holds the bytes holds the permit.
//!
//! Owns: two counters, one for the process and one for each connection.
//! Promises: the bytes of all live permits never exceed the budget; permits are given in the order asked for, so a
//! large message is not starved by small ones. A permit gives its bytes back when it is dropped, wherever that is.
//! Refuses: to bound by message counts (a mailbox of capacity 16 takes 1,000 messages from 1,000 address clones).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a queued message costs besides its payload: the structs and queue slots around it.
const OVERHEAD_BYTES: usize = 256;

/// The process' budget for bytes that were received and are not yet safe elsewhere.
#[derive(Clone)]
pub struct Budget {
    global: Arc<Semaphore>,
    total_bytes: usize,
    connection_bytes: usize,
}

impl Budget {
    /// `connection_bytes` bounds each connection, `total_bytes` all of them. Both should exceed the largest message.
    #[must_use]
    pub fn new(total_bytes: u32, connection_bytes: u32) -> Self {
        let (total_bytes, connection_bytes) = (total_bytes as usize, connection_bytes.min(total_bytes) as usize);
        Self { global: Arc::new(Semaphore::new(total_bytes)), total_bytes, connection_bytes }
    }

    /// A share for one connection.
    #[must_use]
    pub fn connection(&self) -> ConnectionBudget {
        ConnectionBudget { budget: self.clone(), own: Arc::new(Semaphore::new(self.connection_bytes)) }
    }

    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.total_bytes.saturating_sub(self.global.available_permits())
    }

    #[must_use]
    pub const fn total_bytes(&self) -> usize {
        self.total_bytes
    }
}

/// One connection's share of the budget.
#[derive(Clone)]
pub struct ConnectionBudget {
    budget: Budget,
    own: Arc<Semaphore>,
}

impl ConnectionBudget {
    /// Waits until a message of `payload_bytes` may be held. A message larger than the whole share waits for all of
    /// it, so that it is slow rather than stuck.
    ///
    pub async fn take(&self, payload_bytes: usize) -> Permit {
        self.acquire(payload_bytes.saturating_add(OVERHEAD_BYTES)).await
    }

    /// Waits until a message that is held already may grow by `payload_bytes`. Costs no overhead again: a thousand
    /// tiny fragments of one message must not use up the share that their own message waits for.
    pub async fn grow(&self, permit: &mut Permit, payload_bytes: usize) {
        let room = self.budget.connection_bytes.saturating_sub(permit.bytes());
        permit.merge(self.acquire(payload_bytes.min(room)).await);
    }

    async fn acquire(&self, bytes: usize) -> Permit {
        let wanted = u32::try_from(bytes.min(self.budget.connection_bytes)).unwrap_or(u32::MAX);
        // The connection's own share first: a greedy connection waits here, not at the head of everybody's queue.
        let own = Arc::clone(&self.own).acquire_many_owned(wanted).await;
        let global = Arc::clone(&self.budget.global).acquire_many_owned(wanted).await;
        Permit { held: own.ok().zip(global.ok()) }
    }
}

/// The right to hold some bytes in memory. Dropping it gives the bytes back.
#[derive(Default)]
#[must_use = "dropping a permit at once gives its bytes back while they are still held"]
pub struct Permit {
    held: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Permit {
    /// For messages that this service makes itself, bounded by other means.
    pub const fn none() -> Self {
        Self { held: None }
    }

    /// Takes over the bytes of another permit of the same connection (fragments that were joined).
    pub fn merge(&mut self, other: Self) {
        match (&mut self.held, other.held) {
            (Some((own, global)), Some((other_own, other_global))) => {
                own.merge(other_own);
                global.merge(other_global);
            }
            (held @ None, other) => *held = other,
            (Some(_), None) => {}
        }
    }

    /// Splits off a part, when one frame becomes several messages: `bytes`, or all there is if that is less.
    pub fn split(&mut self, bytes: usize) -> Self {
        let Some((own, global)) = &mut self.held else { return Self::none() };
        let bytes = bytes.min(global.num_permits());
        Self { held: own.split(bytes).zip(global.split(bytes)) }
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.held.as_ref().map_or(0, |(_, global)| global.num_permits())
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Permit({} bytes)", self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn permits_come_back_when_dropped() {
        let budget = Budget::new(10_000, 10_000);
        let permit = budget.connection().take(1_000).await;
        assert_eq!(budget.used_bytes(), 1_000 + OVERHEAD_BYTES);
        drop(permit);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_full_budget_makes_others_wait() {
        let budget = Budget::new(2_000, 2_000);
        let first = budget.connection().take(1_500).await;
        let other = budget.connection();
        assert!(other.take(1_500).now_or_never().is_none());
        drop(first);
        assert!(other.take(1_500).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_greedy_connection_does_not_block_the_others() {
        let budget = Budget::new(10_000, 2_000);
        let greedy = budget.connection();
        let _held = greedy.take(1_500).await;
        assert!(greedy.take(1_500).now_or_never().is_none());
        assert!(budget.connection().take(1_500).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_message_above_the_share_takes_all_of_it() {
        let budget = Budget::new(10_000, 2_000);
        assert_eq!(budget.connection().take(1 << 30).await.bytes(), 2_000);
    }

    #[tokio::test]
    async fn a_message_in_many_fragments_never_waits_for_itself() {
        let connection = Budget::new(10_000, 2_000).connection();
        let mut permit = connection.take(1).await;
        for _ in 0..5_000 {
            // Unconstrained: the runtime makes a busy task pause, which is not waiting.
            let growing = tokio::task::unconstrained(connection.grow(&mut permit, 1));
            growing.now_or_never().expect("nobody else holds anything");
        }
        assert_eq!(permit.bytes(), 2_000);
    }

    #[tokio::test]
    async fn merged_and_split_permits_keep_the_sum() {
        let budget = Budget::new(10_000, 10_000);
        let connection = budget.connection();
        let mut permit = connection.take(1_000).await;
        permit.merge(connection.take(500).await);
        let part = permit.split(300);
        assert_eq!((permit.bytes(), part.bytes()), (1_500 + 2 * OVERHEAD_BYTES - 300, 300));
        drop(permit);
        assert_eq!(budget.used_bytes(), 300);
        drop(part);
        assert_eq!(budget.used_bytes(), 0);
    }
}
