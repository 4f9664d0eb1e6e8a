//! The stage of a fault: a database, a bucket, nodes, and shoppers who are at it all the while.
//!
//! Promises: what a scene starts ends with it. [`Scene::end`] is the audit, and fails with what it found.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection};
use tokio::sync::watch;

use crate::support::{
    accounts::Accounts,
    postgres::{Listen, TestPostgres},
    proxy::TcpProxy,
    s3::TestS3,
    server::{Backend, TestServer},
    shopper::{
        habits::Habits,
        inspect::inspect,
        ledger::{ShopperLedger, Totals},
        load::Load,
        row::{HEADING, Row},
    },
};

/// Longest wait for a state: never reached in a test that passes, also on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Shorter than what is for people: lost runs end soon, a database that is away is noticed soon.
pub(crate) const HASTY: &str = "\
[audio]
reconnect_grace_ms = 700
end_grace_ms = 1000
[database]
connect_timeout_ms = 500
statement_timeout_ms = 1500
spill_after_ms = 300
";

pub(crate) struct Scene {
    pub(crate) fault: &'static str,
    began: Instant,
    /// Between the nodes and the database.
    pub(crate) line: TcpProxy,
    pub(crate) postgres: TestPostgres,
    pub(crate) s3: Arc<Mutex<TestS3>>,
    pub(crate) nodes: Vec<TestServer>,
    addresses: watch::Sender<Vec<SocketAddr>>,
    pub(crate) load: Load,
    was_restarted: bool,
    /// Events that others than the load have stored.
    pub(crate) stored_besides: u64,
}

impl Scene {
    /// One node over a Postgres and a bucket of its own, and twelve shoppers.
    pub(crate) async fn begin(fault: &'static str, settings: &'static str) -> Self {
        Self::begin_with(fault, settings, 1, 12, &Habits::default()).await
    }

    pub(crate) async fn begin_with(
        fault: &'static str,
        settings: &'static str,
        nodes: usize,
        shoppers: u32,
        habits: &Habits,
    ) -> Self {
        Self::begin_on(fault, settings, nodes, shoppers, habits, |_| {}).await
    }

    /// `prepare` sees each node before it starts.
    pub(crate) async fn begin_on(
        fault: &'static str,
        settings: &'static str,
        nodes: usize,
        shoppers: u32,
        habits: &Habits,
        prepare: impl Fn(&TestServer),
    ) -> Self {
        let postgres = TestPostgres::start_private(Listen::Tcp);
        let line = TcpProxy::before(postgres.tcp_port());
        postgres.create_database().await;
        let database_url = format!("postgres://shopaloud@{}/{DATABASE}?sslmode=disable", line.address());
        let s3 = Arc::new(Mutex::new(TestS3::start()));
        let backend = Backend::Production { database_url, s3: Arc::clone(&s3) };
        let start = |_| {
            let mut node = TestServer::new(backend.clone(), settings);
            prepare(&node);
            node.restart();
            node
        };
        let nodes: Vec<_> = (0..nodes).map(start).collect();
        let addresses = watch::Sender::new(nodes.iter().map(TestServer::address).collect());
        let load = Load::start(shoppers, habits, fastrand::u64(..), 1, &addresses.subscribe()).unwrap();
        Self {
            fault,
            began: Instant::now(),
            line,
            postgres,
            s3,
            nodes,
            addresses,
            load,
            was_restarted: false,
            stored_besides: 0,
        }
    }

    /// A connection to the nodes' database that no fault of the line concerns.
    pub(crate) async fn operator(&self) -> PgConnection {
        PgConnection::connect(&self.postgres.url(DATABASE)).await.unwrap()
    }

    /// Tells shoppers where servers are now.
    pub(crate) fn announce(&self, nodes: impl IntoIterator<Item = SocketAddr>) {
        self.addresses.send_replace(nodes.into_iter().collect());
    }

    /// Ends a node as a crash would, and starts it again.
    pub(crate) fn kill_and_restart(&mut self, node: usize) {
        self.nodes[node].kill();
        self.restart(node);
    }

    /// Starts a node that ended.
    pub(crate) fn restart(&mut self, node: usize) {
        self.nodes[node].restart();
        self.restarted();
    }

    /// Tells everybody where the nodes are now.
    pub(crate) fn restarted(&mut self) {
        self.was_restarted = true;
        self.announce(self.nodes.iter().map(TestServer::address));
    }

    /// Returns once the load has got this much further.
    pub(crate) async fn until_acknowledged(&self, more_events: u64) {
        let wanted = self.load.totals().acknowledged_events + more_events;
        self.until("events are acknowledged", |totals| totals.acknowledged_events >= wanted).await;
    }

    /// Returns once shoppers have said this much more, whatever became of it.
    pub(crate) async fn until_sent(&self, more_events: u64) {
        let wanted = self.load.totals().sent_events + more_events;
        self.until("events are sent", |totals| totals.sent_events >= wanted).await;
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn(Totals) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self.load.totals()) {
            assert!(Instant::now() < deadline, "{what}: never, {:?}", self.load.totals());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everybody finishes. Nothing acknowledged may be missing, nothing be there twice, and everybody must have got
    /// every acknowledgement in the end.
    pub(crate) async fn end(self) -> Ending {
        let Self { fault, began, mut nodes, load, was_restarted, stored_besides, .. } = self;
        let (content, description) = (load.content, load.description().to_owned());
        let shoppers = load.finish(PATIENCE);
        let is_quiet = || nodes.iter().all(TestServer::has_stored_all_audio);
        let findings = inspect(&nodes[0].url(""), content, &shoppers, PATIENCE, is_quiet).await.unwrap();
        let peak_memory_bytes = nodes.iter_mut().map(TestServer::peak_memory_bytes).max().unwrap_or_default();
        let (mut stored, mut duplicate, mut failures) = ([0, 0], 0, 0);
        let mut shared = 0;
        for node in &nodes {
            let accounts = Accounts::at_rest(node).await;
            stored[0] += accounts.of("events_ended_total{as=\"stored\"}");
            duplicate += accounts.of("events_ended_total{as=\"duplicate\"}");
            failures += accounts.of("batch_failures_total");
            shared += accounts.of("audio_bytes_ended_total{as=\"shared\"}");
            stored[1] += accounts.of("audio_bytes_ended_total{as=\"stored\"}");
        }
        if !was_restarted {
            // A process that ended took its counts with it.
            let there = findings.events.stored + stored_besides;
            // Where the answer to a commit is lost, the same events are stored and, once more, duplicates.
            let most = stored[0] + if failures > 0 { duplicate } else { 0 };
            assert!(
                (stored[0]..=most).contains(&there),
                "{fault}: {there} events, {stored:?} by the nodes' own accounts"
            );
            // Of a shared run a part is stored by another, who may be the same node at another time.
            let (there, most) = (findings.audio_bytes.stored, stored[1] + shared);
            assert!(
                (stored[1]..=most).contains(&there),
                "{fault}: {there} bytes, {stored:?} by the nodes' own accounts"
            );
        }
        let duration = began.elapsed();
        let row = Row { fault, duration, load: &description, findings: &findings, peak_memory_bytes };
        println!("{HEADING}\n{row}");
        assert!(findings.is_clean() && findings.unfinished_shoppers == 0, "{fault}:\n{findings}");
        assert!(findings.events.acknowledged > 0 && findings.audio_bytes.acknowledged > 0, "{fault}: nothing happened");
        Ending { shoppers, peak_memory_bytes }
    }
}

/// The first database that a server of one's own makes.
const DATABASE: &str = "test_0";

/// How a scene ended.
pub(crate) struct Ending {
    pub(crate) shoppers: Vec<ShopperLedger>,
    pub(crate) peak_memory_bytes: u64,
}

impl Ending {
    /// Nobody was sent away, or cut off.
    pub(crate) fn nobody_lost_a_connection(&self) {
        for shopper in &self.shoppers {
            assert!(shopper.closed_for.is_empty() && shopper.cut == 0, "{:?}, cut {}", shopper.closed_for, shopper.cut);
        }
    }
}
