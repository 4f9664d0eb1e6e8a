//! The line to Postgres: slow, cut, silent, and losing the very answer that tells of the commit.

use std::time::Duration;

use crate::scene::{HASTY, Scene};

#[tokio::test]
async fn a_line_that_swallows_everything() {
    let scene = Scene::begin("line to Postgres frozen, twice", HASTY).await;
    for _ in 0..2 {
        scene.until_acknowledged(50).await;
        scene.line.freeze();
        scene.nodes[0].until("/readyz", |answer| answer["status"] == 503).await;
        scene.until_sent(200).await;
        // What was under way is delivered late, after it was given up and sent again.
        scene.line.thaw();
        scene.nodes[0].until("/readyz", |answer| answer["status"] == "ready").await;
    }
    scene.until_acknowledged(50).await;
    scene.end().await.nobody_lost_a_connection();
}

#[tokio::test]
async fn a_line_that_is_slow() {
    // A transaction is a dozen packets there and back: patience as it is for production.
    let scene = Scene::begin("line to Postgres slow, 40 ms a packet", "[audio]\nreconnect_grace_ms = 700\n").await;
    scene.line.delay(Duration::from_millis(40));
    scene.until_acknowledged(600).await;
    scene.line.delay(Duration::ZERO);
    scene.end().await.nobody_lost_a_connection();
}

#[tokio::test]
async fn a_line_that_is_cut_anywhere() {
    let scene = Scene::begin("line to Postgres cut at random bytes", HASTY).await;
    scene.until_acknowledged(50).await;
    scene.line.cut_after(Some(2_000..60_000));
    scene.line.cut();
    scene.until_sent(600).await;
    scene.line.cut_after(None);
    scene.line.cut();
    scene.until_acknowledged(50).await;
    scene.end().await.nobody_lost_a_connection();
}

#[tokio::test]
async fn the_answer_to_a_commit_is_lost() {
    let scene = Scene::begin("twelve answers to commits lost", HASTY).await;
    for lost in 1..=12 {
        scene.until_acknowledged(20).await;
        scene.line.lose_commit_answers(1);
        scene.until("an answer is lost", |_| scene.line.lost_commit_answers() == lost).await;
    }
    scene.until_acknowledged(20).await;
    scene.end().await.nobody_lost_a_connection();
}
