//! A bucket that goes away and comes back while recordings go on.

use std::time::Duration;

use crate::{
    scene::{HASTY, Scene},
    support::shopper::habits::Habits,
};

#[tokio::test]
async fn the_bucket_away_and_back() {
    // Short recordings, so that many end while there is nowhere to put them.
    let habits = Habits { recording: Duration::from_millis(700), chunk_bytes: 20_000, ..Habits::default() };
    let scene = Scene::begin_with("bucket away and back, twice", HASTY, 1, 12, &habits).await;
    for _ in 0..2 {
        scene.until_acknowledged(100).await;
        scene.s3.lock().unwrap().stop();
        let audio = scene.load.totals().acknowledged_audio_bytes + 1_500_000;
        scene.until("audio is acknowledged", |totals| totals.acknowledged_audio_bytes >= audio).await;
        scene.s3.lock().unwrap().restart();
    }
    scene.until_acknowledged(100).await;
    scene.end().await.nobody_lost_a_connection();
}

/// Recordings larger than one part of an upload, over an outage and a crash.
#[tokio::test]
async fn the_bucket_away_and_the_node_killed() {
    let habits = Habits {
        recording: Duration::from_mins(1),
        page: Duration::from_secs(20),
        chunk_bytes: 150_000,
        ..Habits::default()
    };
    let mut scene = Scene::begin_with("bucket away, kill -9", HASTY, 1, 3, &habits).await;
    let until_heard = async |scene: &Scene, bytes: u64| {
        let audio = scene.load.totals().acknowledged_audio_bytes + bytes;
        scene.until("audio is acknowledged", |totals| totals.acknowledged_audio_bytes >= audio).await;
    };
    until_heard(&scene, 12_000_000).await;
    scene.s3.lock().unwrap().stop();
    until_heard(&scene, 4_000_000).await;
    scene.kill_and_restart(0);
    until_heard(&scene, 2_000_000).await;
    scene.s3.lock().unwrap().restart();
    until_heard(&scene, 2_000_000).await;
    scene.end().await;
}
