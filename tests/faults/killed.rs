//! `kill -9`, at any moment.

use serde_json::json;

use crate::{
    scene::{HASTY, Scene},
    support::{
        client::PlainClient,
        server::{Backend, TestServer},
        shopper::habits::{Habits, Kind},
    },
};

#[tokio::test]
async fn kill_9_again_and_again() {
    let mut scene = Scene::begin("kill -9, five times", HASTY).await;
    for _ in 0..5 {
        scene.until_acknowledged(fastrand::u64(20..250)).await;
        scene.kill_and_restart(0);
    }
    scene.until_acknowledged(100).await;
    scene.end().await;
}

/// What is stored of pages that ask for nothing is a beginning of what they said, without a hole.
#[tokio::test]
async fn kill_9_and_pages_that_ask_for_nothing() {
    let habits = Habits { kinds: vec![Kind::Widget], ..Habits::default() };
    let mut scene = Scene::begin_with("kill -9, widgets only", HASTY, 1, 10, &habits).await;
    for _ in 0..3 {
        scene.until_sent(fastrand::u64(50..250)).await;
        scene.kill_and_restart(0);
    }
    scene.until_sent(100).await;
    scene.end().await;
}

#[tokio::test]
async fn kill_9_where_an_ack_means_journaled() {
    const SETTINGS: &str = "\
[audio]
reconnect_grace_ms = 700
[database]
ack = \"journaled\"
";
    let mut scene = Scene::begin("kill -9, ack = journaled", SETTINGS).await;
    for _ in 0..3 {
        scene.until_acknowledged(fastrand::u64(20..250)).await;
        scene.kill_and_restart(0);
    }
    scene.end().await;
}

/// One sync covers everything before it: the one message that asks speaks for the many that did not.
#[tokio::test]
async fn what_a_sync_covered_survives_although_nobody_asked() {
    const SETTINGS: &str = "[database]\nack = \"journaled\"\nlinger_ms = 60000\nbatch_rows = 100000\n";
    let mut server = TestServer::start_with(Backend::Embedded, SETTINGS);
    let (mut client, _) = PlainClient::hello(server.address(), "anna").await;
    let session = client.start_recording().await;
    for n in 1..=300 {
        client.say(json!({"event": "silent", "data": n})).await;
    }
    client.say(json!({"event": "asks", "seq": 301})).await;
    client.acked(301).await;
    // Nothing of it is in the database yet.
    let path = format!("/sessions/{session}");
    assert_eq!(server.get(&path).await.status(), 404);
    server.kill();
    server.restart();
    let shown = server.until(&path, |answer| answer["session"]["numEvents"] == 301).await;
    let said: Vec<i64> =
        shown["session"]["events"].as_array().unwrap().iter().filter_map(|event| event["data"].as_i64()).collect();
    assert_eq!(said, (1..=300).collect::<Vec<_>>());
}

/// Its shoppers go on with the other node, which does not know what the killed one has in its journal, and come back.
#[tokio::test]
async fn one_of_two_nodes_is_killed_in_turn() {
    let mut scene =
        Scene::begin_with("kill -9 of one of two nodes, four times", HASTY, 2, 12, &Habits::default()).await;
    for node in [0, 1, 0, 1] {
        scene.until_acknowledged(fastrand::u64(50..150)).await;
        scene.nodes[node].kill();
        let other = scene.nodes[1 - node].address();
        scene.announce([other]);
        scene.until_acknowledged(100).await;
        scene.restart(node);
    }
    scene.until_acknowledged(50).await;
    scene.end().await;
}
