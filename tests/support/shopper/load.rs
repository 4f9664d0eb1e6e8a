//! Many shoppers at once, on threads of their own, until they are told to finish.
//!
//! Promises: whoever started the load may block; the ledgers are complete once [`Load::finish`] returned.
//! Refuses: to know why connections break. Shoppers come back as long as there is a node to come back to.

use std::{
    net::SocketAddr,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::{
    content::Content,
    habits::{Habits, Kind, Pace},
    ledger::{ShopperLedger, Totals},
    numbered::Numbered,
    visit::{Phase, SharedLedger, Shopper},
    widget::Widget,
};

/// A load that is going on.
pub(crate) struct Load {
    pub(crate) content: Content,
    description: String,
    ledgers: Vec<SharedLedger>,
    phase: watch::Sender<Phase>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// `nodes`: where servers listen now; an empty list means that there is none at the moment.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(
        shoppers: u32,
        habits: &Habits,
        seed: u64,
        threads: usize,
        nodes: &watch::Receiver<Vec<SocketAddr>>,
    ) -> std::io::Result<Self> {
        let content = Content::new(seed, habits.event_sizes);
        let (phase, phases) = watch::channel(Phase::Shop);
        let ledgers: Vec<SharedLedger> = (0..shoppers).map(|_| SharedLedger::default()).collect();
        let mut groups: Vec<Vec<(Kind, Shopper)>> = (0..threads.max(1)).map(|_| Vec::new()).collect();
        for (number, ledger) in (0..).zip(&ledgers) {
            let at = usize::try_from(number).unwrap_or_default();
            let kind = habits.kinds.get(at % habits.kinds.len().max(1)).copied().unwrap_or(Kind::Plain);
            let shopper = Shopper {
                number,
                content,
                pace: Pace::new(habits, seed.wrapping_add(u64::from(number))),
                max_unacknowledged: habits.max_unacknowledged,
                nodes: nodes.clone(),
                phase: phases.clone(),
                ledger: ledger.clone(),
            };
            let group = at % groups.len();
            groups[group].push((kind, shopper));
        }
        let threads = groups.into_iter().map(shop).collect::<Result<_, _>>()?;
        let Habits { events_per_second, chunks_per_second, .. } = habits;
        let description = format!(
            "{shoppers} shoppers, each {events_per_second} events/s, {} kB/s",
            (chunks_per_second * f64::from(habits.chunk_bytes) / 1_000.0).round()
        );
        Ok(Self { content, description, ledgers, phase, threads })
    }

    pub(crate) fn description(&self) -> &str {
        &self.description
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for ledger in &self.ledgers {
            totals.add(&ledger.lock());
        }
        totals
    }

    /// Has everybody finish, and waits until they did; after `patience` they leave as they are. Their ledgers.
    pub(crate) fn finish(self, patience: Duration) -> Vec<ShopperLedger> {
        self.phase.send_replace(Phase::Finish);
        let deadline = Instant::now() + patience;
        for thread in self.threads {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::park_timeout(Duration::from_millis(10));
            }
            self.phase.send_if_modified(|phase| {
                let is_late = !thread.is_finished();
                if is_late {
                    *phase = Phase::GiveUp;
                }
                is_late
            });
            // One that panicked has unfinished shoppers.
            let _ = thread.join();
        }
        self.ledgers.iter().map(|ledger| ledger.lock().clone()).collect()
    }
}

fn shop(shoppers: Vec<(Kind, Shopper)>) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("shoppers".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let shopping = shoppers.into_iter().map(|(kind, shopper)| {
                tokio::spawn(async move {
                    match kind {
                        Kind::Plain | Kind::SocketIo => Numbered::new(shopper, kind).shop().await,
                        Kind::Widget => Widget::new(shopper).shop().await,
                    }
                })
            });
            join_all(shopping).await;
        });
    })
}
