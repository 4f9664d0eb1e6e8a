//! Streams that are opened, taken back, taken over and closed.

use std::time::Duration;

use shopaloud::{
    domain::{SessionId, StreamId, Timestamp, UserId},
    persist::{FenceReason, PersistOptions, StreamLookup},
    store::OpenSession,
};

use crate::{
    node::{Client, Node, assert_complete, options},
    store::{Behaviour, FakeStore},
};

const PATIENCE: Duration = Duration::from_secs(20);

async fn stored_stream(node: &Node, events: usize) -> Client {
    let mut client = node.connect().await;
    for _ in 0..events {
        client.say();
    }
    if events > 0 {
        client.stored(client.ticket).await;
    }
    client
}

#[actix::test]
async fn a_stream_is_told_how_far_it_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 1);
    let client = stored_stream(&node, 7).await;
    client.close();
    let known = node.open(client.stream, "anna", true).ready().await;
    assert_eq!(known.state, StreamLookup::Known { last_seq: 7, audio_end: 0 });
    let foreign = node.open(client.stream, "eve", true).ready().await;
    assert_eq!(foreign.state, StreamLookup::Foreign);
    let unheard_of = node.open(StreamId::new(), "anna", true).ready().await;
    assert_eq!(unheard_of.state, StreamLookup::New);
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn only_what_is_committed_counts_as_stored() {
    let directory = tempfile::tempdir().unwrap();
    let options = PersistOptions { spill_after: Duration::from_mins(1), ..options() };
    let node = Node::start(directory.path(), &FakeStore::new(), options, 1);
    let mut client = stored_stream(&node, 2).await;
    node.store.behave(Behaviour::Away);
    client.say();
    node.store.until(|contents| contents.attempts > 0).await;
    node.store.behave(Behaviour::Well);
    let ready = node.open(client.stream, "anna", true).ready().await;
    assert!(matches!(ready.state, StreamLookup::Known { last_seq: 2 | 3, .. } | StreamLookup::Unknown), "{ready:?}");
    assert_eq!(client.fenced().await.reason, FenceReason::Replaced);
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn the_users_open_session_comes_with_a_new_stream() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 1);
    node.caught_up().await;
    let at = Timestamp::now();
    let open = OpenSession { session: SessionId::new(), opened_at: at, alive_at: at };
    node.store.lock().open_sessions.insert(UserId::parse("anna").unwrap(), open.clone());
    let ready = node.open(StreamId::new(), "anna", false).ready().await;
    assert_eq!((ready.state, ready.open_session), (StreamLookup::New, Some(open)));
    assert_eq!(node.store.lock().lookups, 1, "a stream just made is not looked up");
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn while_the_database_is_away_nobody_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 1);
    let mut client = stored_stream(&node, 3).await;
    node.store.behave(Behaviour::Away);
    client.say();
    node.until(|node| !node.stats.is_database_up()).await;
    let lookups = node.store.lock().lookups;
    let ready = node.open(client.stream, "anna", true).ready().await;
    assert_eq!((ready.state, ready.open_session), (StreamLookup::Unknown, None));
    let ready = node.open(StreamId::new(), "anna", false).ready().await;
    assert_eq!(ready.state, StreamLookup::New);
    // What this node knows by itself it still says.
    let ready = node.open(client.stream, "eve", true).ready().await;
    assert_eq!(ready.state, StreamLookup::Foreign);
    assert_eq!(node.store.lock().lookups, lookups);
    node.store.behave(Behaviour::Well);
    node.until(|node| node.stats.is_database_up()).await;
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn a_look_up_that_hangs_ends_by_its_limit() {
    let directory = tempfile::tempdir().unwrap();
    let options = PersistOptions { lookup_timeout: Duration::from_millis(50), ..options() };
    let node = Node::start(directory.path(), &FakeStore::new(), options, 1);
    node.caught_up().await;
    node.store.behave(Behaviour::Hangs);
    let ready = node.open(StreamId::new(), "anna", true).ready().await;
    assert_eq!((ready.state, ready.open_session), (StreamLookup::Unknown, None));
    node.store.behave(Behaviour::Well);
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn an_older_connection_is_fenced_and_its_records_are_stored_unanswered() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 1);
    let mut older = stored_stream(&node, 2).await;
    let mut newer = node.open(older.stream, "anna", true);
    assert_eq!(older.fenced().await.reason, FenceReason::Replaced);
    newer.ready().await;
    // Still under way when it was fenced.
    for _ in 0..30 {
        older.say();
    }
    older.close();
    newer.seq = older.seq;
    let ticket = newer.say();
    newer.stored(ticket).await;
    node.store.until(|contents| contents.events.len() == 33).await;
    assert!(older.heard_nothing() && newer.heard_nothing());
    assert_complete(&node.store, &[newer]);
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn after_a_restart_an_opening_waits_for_the_replay() {
    let directory = tempfile::tempdir().unwrap();
    let store = FakeStore::new();
    let node = Node::start(directory.path(), &store, options(), 1);
    let mut client = stored_stream(&node, 1).await;
    store.behave(Behaviour::Away);
    for _ in 0..9 {
        client.say();
    }
    node.until(|node| node.stats.snapshot().received >= 11).await;
    assert!(!node.stop(PATIENCE).await);

    store.behave(Behaviour::HoldsWrites);
    let attempts = store.lock().attempts;
    let options = PersistOptions { spill_after: Duration::from_mins(1), ..options() };
    let node = Node::start(directory.path(), &store, options, 1);
    store.until(|contents| contents.attempts > attempts).await;
    let mut again = node.open(client.stream, "anna", true);
    store.behave(Behaviour::Well);
    // Without the wait it would be told 1, and give numbers out again that the journal has.
    assert_eq!(again.ready().await.state, StreamLookup::Known { last_seq: 10, audio_end: 0 });
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn a_replay_that_takes_long_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let store = FakeStore::new();
    let node = Node::start(directory.path(), &store, options(), 1);
    let mut client = stored_stream(&node, 1).await;
    store.behave(Behaviour::Away);
    client.say();
    node.until(|node| node.stats.snapshot().received >= 3).await;
    assert!(!node.stop(PATIENCE).await);

    store.behave(Behaviour::HoldsWrites);
    let lookup_timeout = Duration::from_millis(50);
    let options = PersistOptions { spill_after: Duration::from_mins(1), lookup_timeout, ..options() };
    let node = Node::start(directory.path(), &store, options, 1);
    let ready = node.open(client.stream, "anna", true).ready().await;
    assert_eq!(ready.state, StreamLookup::Unknown);
    store.behave(Behaviour::Well);
    assert!(node.stop(PATIENCE).await);
}
