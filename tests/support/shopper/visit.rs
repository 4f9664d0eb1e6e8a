//! What every shopper does, whatever its page: come, be cut off, come again.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    content::Content,
    door::{Connection, Door, Introduction},
    habits::Pace,
    ledger::ShopperLedger,
};

/// A server that takes a connection and then says nothing is left again.
pub(crate) const WELCOME_PATIENCE: Duration = Duration::from_secs(15);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const FIRST_DELAY: Duration = Duration::from_millis(20);
const LONGEST_DELAY: Duration = Duration::from_millis(400);
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// What shoppers are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Shop,
    /// Say nothing new, wait for every acknowledgement, leave.
    Finish,
    /// Leave at once.
    GiveUp,
}

/// What a shopper is made of.
pub(crate) struct Shopper {
    pub(crate) number: u32,
    pub(crate) content: Content,
    pub(crate) pace: Pace,
    pub(crate) max_unacknowledged: usize,
    pub(crate) nodes: watch::Receiver<Vec<SocketAddr>>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) ledger: SharedLedger,
}

/// A ledger that can be looked at while its shopper writes it.
#[derive(Clone, Default)]
pub(crate) struct SharedLedger(Arc<Mutex<ShopperLedger>>);

impl SharedLedger {
    pub(crate) fn lock(&self) -> MutexGuard<'_, ShopperLedger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a visit ended.
#[derive(Debug)]
pub(crate) enum Left {
    /// Everything is said and acknowledged.
    Finished,
    /// For the next page. Whether the page says goodbye.
    Navigated {
        in_order: bool,
    },
    /// The server ended it, with its last error's code, or without one.
    Closed {
        code: Option<String>,
        in_order: bool,
    },
    /// Nobody greeted.
    Ignored,
    GivenUp,
}

impl Shopper {
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Connects to some node, as soon as there is one. `None` when it is time to give up.
    pub(crate) async fn come(
        &mut self,
        door: Door,
        who: &Introduction<'_>,
        delay: &mut Duration,
    ) -> Option<Connection> {
        loop {
            if self.phase() == Phase::GiveUp {
                return None;
            }
            let nodes = self.nodes.borrow_and_update().clone();
            if let Some(address) = nodes.get(self.pace.choose(nodes.len()))
                && let Ok(Some(connection)) = timeout(CONNECT_PATIENCE, Connection::open(*address, door, who)).await
            {
                self.ledger.lock().connections += 1;
                return Some(connection);
            }
            self.wait(delay).await;
        }
    }

    /// A little longer each time.
    pub(crate) async fn wait(&mut self, delay: &mut Duration) {
        *delay = (*delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY);
        sleep(self.pace.jitter(*delay)).await;
    }

    /// Notes how it ended. Whether another visit follows.
    pub(crate) async fn left(&mut self, left: Left, connection: Connection, delay: &mut Duration) -> bool {
        match left {
            Left::Finished => {
                // It is all durable; how the goodbye goes does not matter.
                let _ = timeout(CLOSE_PATIENCE, connection.close()).await;
                self.ledger.lock().is_finished = true;
                return false;
            }
            Left::GivenUp => return false,
            Left::Navigated { in_order: true } => {
                let _ = timeout(CLOSE_PATIENCE, connection.close()).await;
            }
            Left::Navigated { in_order: false } => drop(connection),
            Left::Closed { code: Some(code), .. } => {
                *self.ledger.lock().closed_for.entry(code).or_default() += 1;
                self.wait(delay).await;
            }
            Left::Closed { code: None, in_order: true } => {
                *self.ledger.lock().closed_for.entry("no reason".to_owned()).or_default() += 1;
                self.wait(delay).await;
            }
            Left::Closed { code: None, in_order: false } => {
                self.ledger.lock().cut += 1;
                self.wait(delay).await;
            }
            Left::Ignored => {
                *self.ledger.lock().closed_for.entry("not greeted".to_owned()).or_default() += 1;
            }
        }
        true
    }

    pub(crate) fn complain(&self, complaint: String) {
        let mut ledger = self.ledger.lock();
        // The first ones tell most.
        if ledger.complaints.len() < 10 {
            ledger.complaints.push(complaint);
        }
    }
}
