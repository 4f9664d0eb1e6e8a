//! A database that does as it is told.

use std::time::Duration;

use shopaloud::{
    domain::{Presence, Record, Timestamp, UserId},
    journal::{Entry, Position},
    persist::PersistOptions,
    runtime::{Budget, Permit},
};

use crate::{
    node::{Node, assert_complete, attached_audio, options},
    store::{Behaviour, FakeStore},
};

#[actix::test]
async fn an_ack_comes_after_the_commit() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 2);
    let mut client = node.connect().await;
    for _ in 0..20 {
        let ticket = client.say();
        assert!(client.stored(ticket).await.is_empty());
    }
    assert_complete(&node.store, &[client]);
    assert!(node.stop(Duration::from_secs(5)).await);
}

#[actix::test]
async fn while_one_batch_is_written_the_next_fills() {
    let directory = tempfile::tempdir().unwrap();
    let options = PersistOptions { spill_after: Duration::from_mins(1), ..options() };
    let node = Node::start(directory.path(), &FakeStore::new(), options, 1);
    let (mut client, mut other) = (node.connect().await, node.connect().await);
    let ticket = client.say();
    client.stored(ticket).await;
    let (attempts, received) = (node.store.lock().attempts, node.stats.snapshot().received);
    node.store.behave(Behaviour::Hangs);
    client.say();
    node.store.until(|contents| contents.attempts > attempts).await;
    for _ in 0..50 {
        client.say();
        other.say();
    }
    node.until(|node| node.stats.snapshot().received == received + 101).await;
    node.store.behave(Behaviour::Well);
    client.stored(client.ticket - 50).await;
    client.stored(client.ticket).await;
    assert_eq!(node.store.lock().commits.last(), Some(&100), "all that came meanwhile goes together");
    assert!(client.heard_nothing(), "one answer for all of them");
    assert!(node.stop(Duration::from_secs(5)).await);
}

#[actix::test]
async fn without_an_ack_wanted_records_go_after_lingering() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 1);
    let mut client = node.connect().await;
    let event = client.event();
    let ticket = client.append(vec![event], false, Permit::none());
    client.stored(ticket).await;
    assert_eq!(node.store.lock().commits, [2]);
    assert!(node.stop(Duration::from_secs(5)).await);
}

#[actix::test]
async fn a_ticket_without_records_waits_for_those_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let options = PersistOptions { spill_after: Duration::from_mins(1), ..options() };
    let node = Node::start(directory.path(), &FakeStore::new(), options, 1);
    let mut client = node.connect().await;
    node.store.behave(Behaviour::Hangs);
    client.say();
    let empty = client.append(Vec::new(), true, Permit::none());
    node.store.until(|contents| contents.attempts >= 1).await;
    assert!(client.heard_nothing());
    node.store.behave(Behaviour::Well);
    client.stored(empty).await;
    let empty = client.append(Vec::new(), true, Permit::none());
    client.stored(empty).await;
    assert!(node.stop(Duration::from_secs(5)).await);
}

#[actix::test]
async fn permits_come_back_with_the_commit() {
    let directory = tempfile::tempdir().unwrap();
    let options = PersistOptions { spill_after: Duration::from_mins(1), ..options() };
    let node = Node::start(directory.path(), &FakeStore::new(), options, 1);
    let mut client = node.connect().await;
    let budget = Budget::new(1 << 20, 1 << 20);
    node.store.behave(Behaviour::Hangs);
    let event = client.event();
    let ticket = client.append(vec![event], true, budget.connection().take(1000).await);
    node.store.until(|contents| contents.attempts >= 1).await;
    assert!(budget.used_bytes() >= 1000);
    node.store.behave(Behaviour::Well);
    client.stored(ticket).await;
    assert_eq!(budget.used_bytes(), 0);
    assert!(node.stop(Duration::from_secs(5)).await);
}

#[actix::test]
async fn only_the_guilty_are_rejected() {
    let directory = tempfile::tempdir().unwrap();
    let options = PersistOptions { linger: Duration::from_mins(1), ..options() };
    let node = Node::start(directory.path(), &FakeStore::new(), options, 1);
    let (mut good, mut bad) = (node.connect().await, node.connect().await);
    node.store.lock().poison.extend([(bad.stream, 3), (bad.stream, 17)]);
    for _ in 0..20 {
        let event = good.event();
        good.append(vec![event], false, Permit::none());
        let event = bad.event();
        bad.append(vec![event], false, Permit::none());
    }
    let (good_ticket, bad_ticket) = (good.say(), bad.say());
    assert!(good.stored(good_ticket).await.is_empty());
    let rejected: Vec<_> = bad.stored(bad_ticket).await.iter().map(|rejected| rejected.seq).collect();
    assert_eq!(rejected, [Some(3), Some(17)]);
    assert_eq!(node.stats.snapshot().rejected, 2);
    assert_eq!(node.store.lock().events.len(), 40);
    assert!(node.stats.is_database_up());
    assert!(node.stop(Duration::from_secs(5)).await);
}

#[actix::test]
async fn single_records_are_answered_and_attached_audio_is_not_journaled() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 1);
    let before = node.journal.end();
    assert_eq!(node.store_record(attached_audio()).await.unwrap(), Ok(()));
    assert_eq!(node.journal.end(), before);
    let presence = Presence { user: UserId::parse("anna").unwrap(), connected: true, at: Timestamp::now() };
    assert_eq!(node.store_record(Record::Presence(presence.clone())).await.unwrap(), Ok(()));
    assert!(node.journal.end() > before);
    assert_eq!(node.store.lock().log.last(), Some(&Record::Presence(presence)));
    assert!(node.stop(Duration::from_secs(5)).await);
}

#[actix::test]
async fn the_journal_is_trimmed_also_by_shards_that_are_idle() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 3);
    let mut client = node.connect().await;
    for _ in 0..30 {
        let event = client.event_of(10_000);
        client.append(vec![event], true, Permit::none());
    }
    client.stored(client.ticket).await;
    node.until(|node| node.journal.begin() > Position(200_000)).await;
    assert!(node.stop(Duration::from_secs(5)).await);
}

#[actix::test]
async fn where_an_ack_means_journaled_the_database_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let options = PersistOptions { acknowledge_when_journaled: true, ..options() };
    let node = Node::start(directory.path(), &FakeStore::new(), options, 1);
    let mut client = node.connect().await;
    let first = client.say();
    client.stored(first).await;
    node.store.behave(Behaviour::Away);
    for _ in 0..50 {
        let ticket = client.say();
        client.stored(ticket).await;
        assert!(node.journal.synced() <= node.journal.end());
    }
    node.until(|node| node.stats.snapshot().backlog_actors == 1).await;
    let ticket = client.say();
    client.stored(ticket).await;
    node.store.behave(Behaviour::Well);
    node.caught_up().await;
    assert!(client.heard_nothing(), "a ticket is told once");
    assert!(node.stats.is_database_up());
    assert_complete(&node.store, &[client]);
    assert!(node.stop(Duration::from_secs(5)).await);
}

#[actix::test]
async fn what_can_be_foreseen_is_rejected_with_the_answer_and_not_after_it() {
    for acknowledge_when_journaled in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let options = PersistOptions { acknowledge_when_journaled, ..options() };
        let node = Node::start(directory.path(), &FakeStore::new(), options, 1);
        let mut client = node.connect().await;
        client.seq = -1;
        let (impossible, possible) = (client.event(), client.event());
        let ticket = client.append(vec![impossible, possible], true, Permit::none());
        let rejected: Vec<_> = client.stored(ticket).await.iter().map(|rejected| rejected.seq).collect();
        assert_eq!(rejected, [Some(0)]);
        node.journal.synced_at(node.journal.end()).await.unwrap();
        assert_eq!(node.journal.reader(Position(0)).next_batch(1 << 20).unwrap().len(), 2, "it is not even journaled");
        assert_eq!(node.stats.snapshot().rejected, 1);
        node.store.until(|contents| contents.events.len() == 1).await;
        node.caught_up().await;
        assert!(client.heard_nothing(), "told once");
        assert!(node.stop(Duration::from_secs(5)).await);
    }
}

#[actix::test]
async fn what_the_database_refuses_after_the_journals_ack_is_told_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let options = PersistOptions { acknowledge_when_journaled: true, ..options() };
    let node = Node::start(directory.path(), &FakeStore::new(), options, 1);
    let mut client = node.connect().await;
    node.store.lock().poison.insert((client.stream, 2));
    node.store.behave(Behaviour::HoldsWrites);
    for _ in 0..3 {
        let ticket = client.say();
        assert!(client.stored(ticket).await.is_empty(), "the journal has it");
    }
    node.store.behave(Behaviour::Well);
    let late: Vec<_> = client.stored(client.ticket).await.iter().map(|rejected| rejected.seq).collect();
    assert_eq!(late, [Some(2)]);
    // The third may be in a batch of its own.
    node.store.until(|contents| contents.events.len() == 2).await;
    assert_eq!((node.stats.snapshot().rejected, node.store.lock().events.len()), (1, 2));
    assert!(client.heard_nothing(), "told once");
    assert!(node.stop(Duration::from_secs(5)).await);
}

#[actix::test]
async fn what_the_journal_can_never_take_is_rejected_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let journal = crate::node::open_journal(directory.path(), 1 << 20);
    let node = Node::start_on(journal, &FakeStore::new(), options(), 1);
    let mut client = node.connect().await;
    let event = client.event_of(500_000);
    let ticket = client.append(vec![event], true, Permit::none());
    let rejected = client.stored(ticket).await;
    assert_eq!(rejected[0].seq, Some(1));
    assert!(rejected[0].reason.contains("too large"));
    let ticket = client.say();
    assert!(client.stored(ticket).await.is_empty());
    assert!(node.stop(Duration::from_secs(5)).await);
}

#[actix::test]
async fn what_is_journaled_says_whose_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 4);
    let mut client = node.connect().await;
    let ticket = client.say();
    client.stored(ticket).await;
    let slot = shopaloud::runtime::ActorPool::<shopaloud::persist::PersistActor>::slot_of(&client.stream, 4);
    node.journal.synced_at(node.journal.end()).await.unwrap();
    let entries = node.journal.reader(Position(0)).next_batch(1 << 20).unwrap();
    assert_eq!(entries.len(), 2);
    for (_, entry) in entries {
        let Entry::Record(owned) = entry else { panic!("not a record: {entry:?}") };
        assert_eq!(usize::from(owned.shard), slot);
    }
    assert!(node.stop(Duration::from_secs(5)).await);
}
