//! Far more than the database takes.

use std::time::Duration;

use serde_json::json;
use sqlx::Executor;

use crate::{
    scene::Scene,
    support::shopper::habits::{Habits, Kind},
};

const SMALL_BUDGET: u64 = 32 << 20;

/// Writes take a tenth of a second for ten rows: about two hundred events a second.
const SETTINGS: &str = "\
[server]
heartbeat_interval_ms = 500
heartbeat_timeout_ms = 1000
[memory]
budget_bytes = 33554432
connection_bytes = 25165824
[audio]
reconnect_grace_ms = 700
[database]
batch_rows = 10
";

const SLOW_INSERTS: &str = "
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION slow();";

/// What a node of the test build has in memory without anything to do, with room for allocators' habits.
const BASE_BYTES: u64 = 96 << 20;

#[tokio::test]
async fn ten_times_more_than_the_database_takes() {
    let habits = Habits {
        kinds: vec![Kind::Plain, Kind::SocketIo],
        events_per_second: 400.0,
        chunks_per_second: 0.5,
        page: Duration::from_mins(10),
        max_unacknowledged: 400_000,
        max_event_bytes: 200_000,
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
            offered > 8_000 && offered > 10 * (totals.acknowledged_events - before.acknowledged_events)
        })
        .await;
    assert_eq!(scene.nodes[0].json("/readyz").await, json!({"status": "ready"}));
    operator.execute("DROP TRIGGER slow ON events").await.unwrap();
    let ending = scene.end().await;
    ending.nobody_lost_a_connection();
    assert!(ending.peak_memory_bytes < BASE_BYTES + SMALL_BUDGET, "{} bytes", ending.peak_memory_bytes);
}
