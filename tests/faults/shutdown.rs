//! SIGTERM in the middle of everything.

use std::time::Duration;

use crate::scene::{HASTY, Scene};

#[tokio::test]
async fn sigterm_under_load() {
    let mut scene = Scene::begin("SIGTERM under load, three times", HASTY).await;
    for _ in 0..3 {
        scene.until_acknowledged(fastrand::u64(50..150)).await;
        let status = scene.nodes[0].terminate();
        assert_eq!(status.code(), Some(0), "{}", scene.nodes[0].log());
        scene.restart(0);
    }
    scene.until_acknowledged(50).await;
    scene.end().await;
}

/// What received data there is in no case leaves the journal before it is stored; the exit code says that some is there.
#[tokio::test]
async fn sigterm_while_the_database_is_away() {
    let mut scene = Scene::begin("SIGTERM while Postgres is away", HASTY).await;
    scene.until_acknowledged(50).await;
    scene.postgres.stop();
    scene.nodes[0].until("/readyz", |answer| answer["status"] == 503).await;
    scene.until_sent(200).await;
    let status = scene.nodes[0].terminate();
    assert_eq!(status.code(), Some(1));
    let log = scene.nodes[0].log();
    assert!(log.contains("not drained in time, waiting in the journal: records"), "{log}");
    scene.postgres.start();
    scene.restart(0);
    scene.until_acknowledged(50).await;
    scene.end().await;
}

#[tokio::test]
async fn a_second_sigterm_ends_it_at_once() {
    const PATIENT: &str = "\
[server]
shutdown_timeout_ms = 600000
[audio]
reconnect_grace_ms = 700
[database]
statement_timeout_ms = 600000
spill_after_ms = 600000
";
    let mut scene = Scene::begin("SIGTERM twice while Postgres hangs", PATIENT).await;
    scene.until_acknowledged(50).await;
    // It waits for an answer, and would for long.
    scene.line.freeze();
    scene.until_sent(200).await;
    scene.announce([]);
    scene.nodes[0].ask_to_end();
    // It says so, and soon says nothing any more.
    while let Ok(answer) = reqwest::get(scene.nodes[0].url("/readyz")).await
        && answer.status() != 503
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    scene.nodes[0].ask_to_end();
    let status = scene.nodes[0].ended();
    assert_eq!(status.code(), Some(1));
    let log = scene.nodes[0].log();
    assert!(log.contains("told to end at once"), "{log}");
    scene.line.thaw();
    scene.restart(0);
    scene.until_acknowledged(50).await;
    scene.end().await;
}

#[tokio::test]
async fn a_rolling_restart_of_two_nodes() {
    let mut scene = Scene::begin_with(
        "rolling restart of two nodes, twice",
        HASTY,
        2,
        12,
        &crate::support::shopper::habits::Habits::default(),
    )
    .await;
    for node in [0, 1, 0, 1] {
        scene.until_acknowledged(100).await;
        let other = scene.nodes[1 - node].address();
        scene.announce([other]);
        let status = scene.nodes[node].terminate();
        assert_eq!(status.code(), Some(0), "{}", scene.nodes[node].log());
        // Everybody is with the other one for a while.
        scene.until_acknowledged(100).await;
        scene.restart(node);
    }
    scene.end().await;
}
