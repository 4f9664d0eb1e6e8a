//! Faults at random, for a while: nothing is lost, nothing is acknowledged too early or twice.

use std::time::Duration;

use shopaloud::{persist::PersistOptions, runtime::Budget};

use crate::{
    node::{Client, Node, assert_complete, options},
    store::{Behaviour, FakeStore},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Appends with pauses, while the store changes its mind every few milliseconds.
async fn storm(node: &Node, clients: &mut [Client], rounds: usize) {
    let budget = Budget::new(256 << 10, 256 << 10);
    let connection = budget.connection();
    for round in 0..rounds {
        for client in clients.iter_mut() {
            for _ in 0..fastrand::usize(0..4) {
                let records: Vec<_> =
                    (0..fastrand::usize(0..5)).map(|_| client.event_of(fastrand::usize(0..300))).collect();
                let permit = connection.take(records.len() * 300).await;
                client.append(records, fastrand::bool(), permit);
            }
        }
        if round % 10 == 0 {
            node.store.behave(match fastrand::u8(0..8) {
                0 | 1 => Behaviour::Away,
                2 => Behaviour::Hangs,
                3 | 4 => Behaviour::Flaky(0.5),
                5 => Behaviour::Flaky(0.05),
                _ => Behaviour::Well,
            });
        }
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..3_000))).await;
    }
}

async fn weather(options: PersistOptions, shards: usize) {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options, shards);
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(node.connect().await);
    }
    storm(&node, &mut clients, 600).await;
    node.store.behave(Behaviour::Well);
    for client in &mut clients {
        let ticket = client.say();
        client.stored(ticket).await;
    }
    assert_complete(&node.store, &clients);
    node.caught_up().await;
    assert!(node.stats.snapshot().replayed > 0, "the backlog was never used");
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn nothing_is_lost_and_no_ack_is_early_in_any_weather() {
    for _ in 0..3 {
        weather(PersistOptions { spill_after: Duration::from_millis(15), max_rows: 50, ..options() }, 2).await;
    }
}

#[actix::test]
async fn the_same_where_an_ack_means_journaled() {
    let options = PersistOptions {
        spill_after: Duration::from_millis(15),
        max_rows: 50,
        acknowledge_when_journaled: true,
        ..options()
    };
    weather_with_restart(options).await;
}

/// Acknowledged in any weather, then stopped while the database is away: the next process stores all of it.
async fn weather_with_restart(options: PersistOptions) {
    let directory = tempfile::tempdir().unwrap();
    let store = FakeStore::new();
    let node = Node::start(directory.path(), &store, options.clone(), 2);
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(node.connect().await);
    }
    storm(&node, &mut clients, 300).await;
    store.behave(Behaviour::Away);
    for client in &mut clients {
        let ticket = client.say();
        client.stored(ticket).await;
    }
    assert!(!node.stop(PATIENCE).await);
    store.behave(Behaviour::Well);
    let node = Node::start(directory.path(), &store, options, 2);
    node.caught_up().await;
    assert_complete(&store, &clients);
    assert!(node.stop(PATIENCE).await);
}
