//! A Postgres that stops, restarts, ends connections in the middle of things, has none to give.

use sqlx::{Connection, Executor, PgConnection};

use crate::scene::{HASTY, Scene};

const JOURNALED: &str = "\
[audio]
reconnect_grace_ms = 700
end_grace_ms = 1000
[database]
ack = \"journaled\"
connect_timeout_ms = 500
statement_timeout_ms = 1500
spill_after_ms = 300
";

#[tokio::test]
async fn postgres_stopped_and_started() {
    let scene = Scene::begin("Postgres stopped and started", HASTY).await;
    scene.until_acknowledged(50).await;
    scene.postgres.stop();
    scene.nodes[0].until("/readyz", |answer| answer["status"] == 503).await;
    // Recording goes on: audio is acknowledged, and events are taken.
    let before = scene.load.totals();
    scene.until_sent(400).await;
    let audio = before.acknowledged_audio_bytes + 100_000;
    scene.until("audio is acknowledged", |totals| totals.acknowledged_audio_bytes >= audio).await;
    scene.postgres.start();
    scene.nodes[0].until("/readyz", |answer| answer["status"] == "ready").await;
    scene.until_acknowledged(100).await;
    scene.end().await.nobody_lost_a_connection();
}

#[tokio::test]
async fn postgres_stopped_and_started_where_an_ack_means_journaled() {
    let scene = Scene::begin("Postgres stopped, ack = journaled", JOURNALED).await;
    scene.until_acknowledged(50).await;
    scene.postgres.stop();
    scene.nodes[0].until("/readyz", |answer| answer["status"] == 503).await;
    // Whoever trusts the node's disk is answered all the while.
    scene.until_acknowledged(300).await;
    scene.postgres.start();
    scene.nodes[0].until("/readyz", |answer| answer["status"] == "ready").await;
    scene.end().await.nobody_lost_a_connection();
}

#[tokio::test]
async fn killed_while_postgres_is_away() {
    let mut scene = Scene::begin("kill -9 while Postgres is away, ack = journaled", JOURNALED).await;
    scene.until_acknowledged(50).await;
    scene.postgres.stop();
    scene.nodes[0].until("/readyz", |answer| answer["status"] == 503).await;
    scene.until_acknowledged(200).await;
    scene.nodes[0].kill();
    scene.postgres.start();
    scene.restart(0);
    scene.until_acknowledged(50).await;
    scene.end().await;
}

#[tokio::test]
async fn postgres_restarted_at_once() {
    let scene = Scene::begin("Postgres restarted, four times", HASTY).await;
    for _ in 0..4 {
        scene.until_acknowledged(fastrand::u64(30..120)).await;
        scene.postgres.stop();
        scene.postgres.start();
    }
    scene.until_acknowledged(50).await;
    scene.end().await.nobody_lost_a_connection();
}

#[tokio::test]
async fn connections_ended_in_mid_transaction() {
    let scene = Scene::begin("all connections ended, again and again", HASTY).await;
    let mut operator = scene.operator().await;
    // Transactions last long enough to be met.
    operator.execute(SLOW_INSERTS).await.unwrap();
    let mut ended_in_transaction: i64 = 0;
    while ended_in_transaction < 15 {
        scene.until_sent(10).await;
        ended_in_transaction += sqlx::query_scalar::<_, i64>(END_WRITERS).fetch_one(&mut operator).await.unwrap();
    }
    operator.execute("DROP TRIGGER slow ON events").await.unwrap();
    scene.until_acknowledged(100).await;
    scene.end().await.nobody_lost_a_connection();
}

const SLOW_INSERTS: &str = "
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION slow();";

/// Ends every connection of the nodes; how many of them were in the middle of something.
const END_WRITERS: &str = "
SELECT count(*) FILTER (WHERE ended AND state <> 'idle')
FROM (SELECT state, pg_terminate_backend(pid) AS ended FROM pg_stat_activity WHERE application_name = 'shopaloud') AS nodes";

#[tokio::test]
async fn no_connection_to_be_had() {
    let scene = Scene::begin("Postgres out of connections", HASTY).await;
    let mut operator = scene.operator().await;
    operator.execute("ALTER SYSTEM SET max_connections = 15").await.unwrap();
    scene.until_acknowledged(50).await;
    scene.postgres.stop();
    scene.postgres.start();
    scene.until_acknowledged(50).await;
    // Takes every place, also those that become free.
    let mut operator = scene.operator().await;
    operator
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'shopaloud'")
        .await
        .unwrap();
    let url = scene.postgres.url("postgres");
    let mut greedy = Vec::new();
    while greedy.len() < 14 {
        greedy.extend(PgConnection::connect(&url).await.ok());
    }
    scene.nodes[0].until("/readyz", |answer| answer["status"] == 503).await;
    scene.until_sent(200).await;
    drop(greedy);
    scene.nodes[0].until("/readyz", |answer| answer["status"] == "ready").await;
    scene.until_acknowledged(50).await;
    scene.end().await.nobody_lost_a_connection();
}
