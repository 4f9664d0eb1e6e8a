//! A fixed number of actors of one kind, each on a thread of its own, sharded by key.
//!
//! Owns: the threads and the current address of each slot.
//! Promises: the same key always goes to the same slot; an actor that panicked is made again by the factory.
//! Refuses: to respawn for ever: after [`MAX_RESPAWNS`] in a minute the owner is told and ends the process in order.
//! (`actix::Supervisor` is no help here: after a panic its actor stays dead and `restarting` is never called.)

use std::{
    collections::VecDeque,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    time::{Duration, Instant},
};

use actix::prelude::*;

/// Panics within [`RESPAWN_WINDOW`] that a pool mends by itself; more are a bug that needs a person.
const MAX_RESPAWNS: usize = 5;
const RESPAWN_WINDOW: Duration = Duration::from_mins(1);

/// Told once when a pool gives up.
pub type Exhausted = Box<dyn Fn(&'static str) + Send + Sync>;

type Factory<A> = Box<dyn Fn(usize, Lifeline<A>) -> A + Send + Sync>;

/// A handle to the pool; clones share it.
pub struct ActorPool<A: Actor<Context = Context<A>>> {
    shared: Arc<Shared<A>>,
}

impl<A: Actor<Context = Context<A>>> Clone for ActorPool<A> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<A: Actor<Context = Context<A>>> {
    name: &'static str,
    factory: Factory<A>,
    exhausted: Exhausted,
    slots: Vec<Slot<A>>,
    deaths: Mutex<VecDeque<Instant>>,
}

struct Slot<A: Actor> {
    arbiter: ArbiterHandle,
    address: RwLock<Option<Addr<A>>>,
}

impl<A: Actor<Context = Context<A>>> ActorPool<A> {
    /// Starts `count` actors, each on its own thread. `factory` gets the slot's number and a [`Lifeline`] that the
    /// actor keeps as long as it lives. Must be called inside an actix system.
    pub fn start(
        name: &'static str,
        count: usize,
        factory: impl Fn(usize, Lifeline<A>) -> A + Send + Sync + 'static,
        exhausted: Exhausted,
    ) -> Self {
        let slots =
            (0..count.max(1)).map(|_| Slot { arbiter: Arbiter::new().handle(), address: RwLock::new(None) }).collect();
        let shared = Arc::new(Shared {
            name,
            factory: Box::new(factory),
            exhausted,
            slots,
            deaths: Mutex::new(VecDeque::new()),
        });
        for slot in 0..shared.slots.len() {
            shared.spawn(slot);
        }
        Self { shared }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.slots.len()
    }

    /// Never: a pool has at least one actor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.slots.is_empty()
    }

    /// The slot that `key` belongs to among `count`; the same in every process.
    #[must_use]
    pub fn slot_of(key: &impl Hash, count: usize) -> usize {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        usize::try_from(hash % count.max(1) as u64).unwrap_or(0)
    }

    /// The actor that `key` belongs to.
    ///
    /// # Panics
    /// Never: every slot is filled by [`Self::start`].
    #[must_use]
    pub fn of(&self, key: &impl Hash) -> Addr<A> {
        self.address(Self::slot_of(key, self.len()))
    }

    /// Every actor of the pool.
    #[must_use]
    pub fn all(&self) -> Vec<Addr<A>> {
        (0..self.len()).map(|slot| self.address(slot)).collect()
    }

    #[expect(clippy::expect_used, reason = "slots are filled before the pool is handed out, and never emptied")]
    fn address(&self, slot: usize) -> Addr<A> {
        let address = self.shared.slots[slot].address.read().unwrap_or_else(PoisonError::into_inner);
        address.clone().expect("every slot has an address")
    }

    /// Ends the threads. Actors should have been drained and stopped before.
    pub fn stop(&self) {
        for slot in &self.shared.slots {
            slot.arbiter.stop();
        }
    }
}

impl<A: Actor<Context = Context<A>>> Shared<A> {
    fn spawn(self: &Arc<Self>, slot: usize) {
        let lifeline = Lifeline { pool: Arc::downgrade(self), slot, ended_in_order: false };
        let shared = Arc::clone(self);
        let address = A::start_in_arbiter(&self.slots[slot].arbiter, move |_| (shared.factory)(slot, lifeline));
        *self.slots[slot].address.write().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    fn actor_died(self: &Arc<Self>, slot: usize) {
        let now = Instant::now();
        let deaths = {
            let mut deaths = self.deaths.lock().unwrap_or_else(PoisonError::into_inner);
            deaths.push_back(now);
            while deaths.front().is_some_and(|at| now.duration_since(*at) > RESPAWN_WINDOW) {
                deaths.pop_front();
            }
            deaths.len()
        };
        if deaths > MAX_RESPAWNS {
            tracing::error!(pool = self.name, slot, deaths, "pool gives up: its actors keep dying");
            (self.exhausted)(self.name);
        } else {
            tracing::error!(pool = self.name, slot, deaths, "actor died and is made again");
            self.spawn(slot);
        }
    }
}

/// Held by each actor of a pool: when it is dropped without [`Lifeline::end`], the actor died of a panic.
pub struct Lifeline<A: Actor<Context = Context<A>>> {
    pool: Weak<Shared<A>>,
    slot: usize,
    ended_in_order: bool,
}

impl<A: Actor<Context = Context<A>>> Lifeline<A> {
    /// The actor stops because it was told to.
    pub const fn end(&mut self) {
        self.ended_in_order = true;
    }
}

impl<A: Actor<Context = Context<A>>> Drop for Lifeline<A> {
    fn drop(&mut self) {
        if !self.ended_in_order
            && std::thread::panicking()
            && let Some(pool) = self.pool.upgrade()
        {
            pool.actor_died(self.slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Fragile {
        slot: usize,
        _lifeline: Lifeline<Self>,
    }

    impl Actor for Fragile {
        type Context = Context<Self>;
    }

    #[derive(Message)]
    #[rtype(result = "usize")]
    struct AskSlot;

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Panic;

    impl Handler<AskSlot> for Fragile {
        type Result = usize;
        fn handle(&mut self, _: AskSlot, _: &mut Context<Self>) -> usize {
            self.slot
        }
    }

    impl Handler<Panic> for Fragile {
        type Result = ();
        fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
            panic!("asked to")
        }
    }

    fn pool(gave_up: &Arc<AtomicUsize>) -> ActorPool<Fragile> {
        let gave_up = Arc::clone(gave_up);
        ActorPool::start(
            "fragile",
            2,
            |slot, lifeline| Fragile { slot, _lifeline: lifeline },
            Box::new(move |_| {
                gave_up.fetch_add(1, Ordering::SeqCst);
            }),
        )
    }

    #[actix::test]
    async fn an_actor_that_panicked_is_made_again() {
        let gave_up = Arc::new(AtomicUsize::new(0));
        let pool = pool(&gave_up);
        let old = pool.address(1);
        assert!(old.send(Panic).await.is_err());
        while !pool.address(1).connected() || pool.address(1) == old {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.address(1).send(AskSlot).await.unwrap(), 1);
        assert_eq!(pool.address(0).send(AskSlot).await.unwrap(), 0);
        assert_eq!(gave_up.load(Ordering::SeqCst), 0);
    }

    #[actix::test]
    async fn a_pool_that_keeps_dying_gives_up() {
        let gave_up = Arc::new(AtomicUsize::new(0));
        let pool = pool(&gave_up);
        while gave_up.load(Ordering::SeqCst) == 0 {
            let _ = pool.address(0).send(Panic).await;
        }
        assert_eq!(gave_up.load(Ordering::SeqCst), 1);
    }

    #[actix::test]
    async fn the_same_key_goes_to_the_same_slot() {
        let pool = pool(&Arc::default());
        for key in 0..100_u32 {
            assert_eq!(pool.of(&key), pool.of(&key));
        }
    }
}
