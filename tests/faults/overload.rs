//! Far more than the database takes.

use std::time::Duration;

use serde_json::json;
use sqlx::Executor;

use crate::{
    scene::Scene,
    support::shopper::{
        content::EventSizes,
        habits::{Habits, Kind},
    },
};

const SMALL_BUDGET: u64 = 8 << 20;

/// Little memory, small batches.
const SETTINGS: &str = "\
[server]
heartbeat_interval_ms = 500
heartbeat_timeout_ms = 1000
max_message_bytes = 1048576
[memory]
budget_bytes = 8388608
connection_bytes = 2097152
[audio]
reconnect_grace_ms = 700
[database]
batch_rows = 10
";

/// Half a second for ten rows: with two writers, forty events a second.
const SLOW_INSERTS: &str = "
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION slow();";

/// What a node of the test build has in memory without anything to do, with room for allocators' habits.
const BASE_BYTES: u64 = 80 << 20;

#[tokio::test]
async fn ten_times_more_than_the_database_takes() {
    let habits = Habits {
        kinds: vec![Kind::Plain, Kind::SocketIo],
        events_per_second: 100.0,
        chunks_per_second: 0.5,
        page: Duration::from_mins(10),
        max_unacknowledged: usize::MAX,
        event_sizes: EventSizes { large_every: 4, max_bytes: 100_000 },
        ..Habits::default()
    };
    let scene = Scene::begin_with("ten times more events than Postgres takes", SETTINGS, 1, 10, &habits).await;
    scene.until_acknowledged(50).await;
    let mut operator = scene.operator().await;
    operator.execute(SLOW_INSERTS).await.unwrap();
    // Ten times more is offered, and nobody is sent away for it.
    let before = scene.load.totals();
    scene
        .until("ten times more is offered", |totals| {
            let offered = totals.sent_events - before.sent_events;
            offered > 5_000 && offered > 10 * (totals.acknowledged_events - before.acknowledged_events)
        })
        .await;
    assert_eq!(scene.nodes[0].json("/readyz").await, json!({"status": "ready"}));
    operator.execute("DROP TRIGGER slow ON events").await.unwrap();
    let ending = scene.end().await;
    ending.nobody_lost_a_connection();
    assert!(ending.peak_memory_bytes < BASE_BYTES + SMALL_BUDGET, "{} bytes", ending.peak_memory_bytes);
}
