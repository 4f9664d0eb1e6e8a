//! A database that is away: into the backlog, and back without a gap.

use std::time::Duration;

use shopaloud::{
    domain::{Presence, Record, SessionId, SessionTouched, Timestamp, UserId},
    persist::{FenceReason, PersistOptions},
    runtime::{Budget, Permit},
};

use crate::{
    node::{Node, assert_complete, attached_audio, open_journal, options},
    store::{Behaviour, FakeStore},
};

const PATIENCE: Duration = Duration::from_secs(20);

#[actix::test]
async fn recording_goes_on_while_the_database_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 2);
    let mut client = node.connect().await;
    let ticket = client.say();
    client.stored(ticket).await;
    node.store.behave(Behaviour::Away);
    // Far more than the budget holds at once: only the journal can have it.
    let budget = Budget::new(64 << 10, 64 << 10);
    let connection = budget.connection();
    for _ in 0..200 {
        let permit = connection.take(2_000).await;
        let event = client.event_of(1_900);
        client.append(vec![event], true, permit);
    }
    node.until(|_| budget.used_bytes() == 0).await;
    assert!(client.heard_nothing(), "nothing is acknowledged that is not stored");
    assert!(!node.stats.is_database_up());
    node.until(|node| node.stats.snapshot().backlog_bytes > 300_000).await;
    node.store.behave(Behaviour::Well);
    client.stored(client.ticket).await;
    assert!(node.stats.is_database_up());
    node.caught_up().await;
    let ticket = client.say();
    client.stored(ticket).await;
    assert_complete(&node.store, &[client]);
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn the_way_back_is_found_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let options = PersistOptions { max_rows: 10_000, ..options() };
    let node = Node::start(directory.path(), &FakeStore::new(), options, 1);
    let mut client = node.connect().await;
    node.store.behave(Behaviour::Away);
    client.say();
    node.until(|node| node.stats.snapshot().backlog_actors == 1).await;
    node.store.behave(Behaviour::Slow);
    // Each sync lets go of some that came while the last batch was written: the reader alone would never catch up.
    let loading = async {
        while node.stats.snapshot().backlog_actors == 1 {
            client.say();
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, loading).await.expect("the backlog ends while records come");
    client.stored(client.ticket).await;
    assert_complete(&node.store, &[client]);
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn a_short_failure_is_ridden_out_with_the_same_records() {
    let directory = tempfile::tempdir().unwrap();
    let options = PersistOptions { spill_after: Duration::from_mins(1), ..options() };
    let node = Node::start(directory.path(), &FakeStore::new(), options, 1);
    let mut client = node.connect().await;
    node.store.behave(Behaviour::Away);
    let ticket = client.say();
    node.until(|node| node.stats.snapshot().failures >= 3).await;
    node.store.behave(Behaviour::Well);
    client.stored(ticket).await;
    assert_eq!(node.stats.snapshot().replayed, 0);
    assert_complete(&node.store, &[client]);
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn a_database_that_never_answers_counts_as_away() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 1);
    let mut client = node.connect().await;
    node.store.behave(Behaviour::Hangs);
    let budget = Budget::new(1 << 20, 1 << 20);
    let connection = budget.connection();
    client.say();
    node.store.until(|contents| contents.attempts >= 1).await;
    for _ in 0..50 {
        let event = client.event();
        client.append(vec![event], true, connection.take(1_000).await);
    }
    node.until(|node| !node.stats.is_database_up() && budget.used_bytes() == 0).await;
    // The write that hung succeeds after all: its records are not read again.
    node.store.behave(Behaviour::Well);
    client.stored(client.ticket).await;
    node.caught_up().await;
    assert_eq!(node.stats.snapshot().events_duplicate, 0);
    assert_complete(&node.store, &[client]);
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn a_write_that_hung_and_failed_is_stored_from_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 1);
    let mut client = node.connect().await;
    node.store.behave(Behaviour::Hangs);
    client.say();
    node.store.until(|contents| contents.attempts >= 1).await;
    for _ in 0..5 {
        client.say();
    }
    let answer = node.store_record(attached_audio());
    node.until(|node| node.stats.snapshot().backlog_actors == 1).await;
    node.store.behave(Behaviour::Away);
    node.until(|node| node.stats.snapshot().failures >= 2).await;
    node.store.behave(Behaviour::Well);
    client.stored(client.ticket).await;
    assert_eq!(answer.await.unwrap(), Ok(()));
    assert_complete(&node.store, &[client]);
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn single_records_are_answered_out_of_the_backlog() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 1);
    let mut client = node.connect().await;
    node.store.behave(Behaviour::Away);
    client.say();
    node.until(|node| node.stats.snapshot().backlog_actors == 1).await;
    let user = || UserId::parse("anna").unwrap();
    let touched =
        |_| Record::SessionTouched(SessionTouched { session: SessionId::new(), user: user(), at: Timestamp::now() });
    let journaled: Vec<_> = (0..10).map(touched).map(|record| node.store_record(record)).collect();
    let unjournaled: Vec<_> = (0..10).map(|_| node.store_record(attached_audio())).collect();
    node.until(|node| node.journal.synced() == node.journal.end()).await;
    node.store.behave(Behaviour::Well);
    for answer in journaled.into_iter().chain(unjournaled) {
        assert_eq!(answer.await.unwrap(), Ok(()));
    }
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn a_rejected_record_is_told_out_of_the_backlog_too() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 1);
    let mut client = node.connect().await;
    node.store.lock().poison.insert((client.stream, 5));
    node.store.behave(Behaviour::Away);
    client.say();
    node.until(|node| node.stats.snapshot().backlog_actors == 1).await;
    for _ in 0..10 {
        client.say();
    }
    node.store.behave(Behaviour::Well);
    let rejected = client.stored(client.ticket).await;
    assert_eq!(rejected.iter().map(|rejected| rejected.seq).collect::<Vec<_>>(), [Some(5)]);
    assert_eq!(node.store.lock().events.len(), 10);
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn what_was_journaled_is_stored_by_the_next_process_whatever_its_number_of_actors() {
    let directory = tempfile::tempdir().unwrap();
    let store = FakeStore::new();
    let node = Node::start(directory.path(), &store, options(), 3);
    store.behave(Behaviour::Away);
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(node.connect().await);
    }
    for _ in 0..40 {
        for client in &mut clients {
            client.say();
        }
    }
    let presence = |connected| Presence { user: UserId::parse("anna").unwrap(), connected, at: Timestamp::now() };
    let _unanswered = node.store_record(Record::Presence(presence(true)));
    let user = UserId::parse("anna").unwrap();
    let touch = Record::SessionTouched(SessionTouched { session: SessionId::new(), user, at: Timestamp::now() });
    let _unanswered_too = node.store_record(touch.clone());
    let [presence, others] = [1, 12 * 41 + 1];
    node.until(|node| node.stats.snapshot().received == presence + others).await;
    assert!(!node.stop(PATIENCE).await, "with the database away not everything is stored");
    assert_eq!(store.lock().events.len(), 0);

    store.behave(Behaviour::Well);
    let node = Node::start(directory.path(), &store, options(), 2);
    node.caught_up().await;
    assert_complete(&store, &clients);
    {
        let contents = store.lock();
        assert!(contents.log.contains(&touch), "records without a stream are replayed too");
        assert!(!contents.log.iter().any(|record| matches!(record, Record::Presence(_))), "presence is not");
        let is_journaled = |record: &&Record| !matches!(record, Record::AudioAttached(_));
        assert_eq!(contents.log.iter().filter(is_journaled).count() as u64, others, "each by one actor only");
    }
    assert!(node.stop(PATIENCE).await);

    let node = Node::start(directory.path(), &store, options(), 2);
    node.caught_up().await;
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn an_actor_that_panics_loses_nothing_journaled() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path(), &FakeStore::new(), options(), 1);
    let mut client = node.connect().await;
    let ticket = client.say();
    client.stored(ticket).await;
    let presence = Presence { user: UserId::parse("anna").unwrap(), connected: true, at: Timestamp::now() };
    node.store.behave(Behaviour::Panics);
    let unanswered = node.store_record(Record::Presence(presence.clone()));
    assert_eq!(client.fenced().await.reason, FenceReason::Aborted);
    assert!(unanswered.await.is_err());
    // Its successor stores what the journal has, this process' presence included.
    node.store.until(|contents| contents.log.contains(&Record::Presence(presence.clone()))).await;
    let mut again = node.open(client.stream, "anna", true);
    again.seq = client.seq;
    again.ready().await;
    let ticket = again.say();
    again.stored(ticket).await;
    assert_complete(&node.store, &[again]);
    node.caught_up().await;
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn a_full_journal_makes_senders_wait_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start_on(open_journal(directory.path(), 512 << 10), &FakeStore::new(), options(), 1);
    let mut client = node.connect().await;
    let ticket = client.say();
    client.stored(ticket).await;
    node.store.behave(Behaviour::Away);
    client.say();
    node.until(|node| node.stats.snapshot().backlog_actors == 1).await;
    let budget = Budget::new(16 << 20, 16 << 20);
    let connection = budget.connection();
    for _ in 0..200 {
        let event = client.event_of(10_000);
        client.append(vec![event], true, connection.take(10_000).await);
    }
    // Some have their place in the journal; the others hold on to their permits.
    node.until(|node| node.journal.stats().full && node.stats.snapshot().received >= 203).await;
    node.until(|node| node.journal.synced() == node.journal.end()).await;
    assert!(budget.used_bytes() > 1_000_000);
    node.store.behave(Behaviour::Well);
    client.stored(client.ticket).await;
    node.until(|_| budget.used_bytes() == 0).await;
    assert_complete(&node.store, &[client]);
    assert!(!node.journal.stats().full);
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn nothing_is_written_before_the_schema_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let store = FakeStore::new();
    store.prepare(false);
    let node = Node::start(directory.path(), &store, options(), 2);
    let mut client = node.connect().await;
    let ticket = client.say();
    node.until(|node| !node.stats.is_database_up() && node.stats.snapshot().failures >= 3).await;
    assert!(client.heard_nothing());
    assert_eq!(store.lock().attempts, 0);
    store.prepare(true);
    client.stored(ticket).await;
    assert!(node.stats.is_database_up());
    assert_complete(&store, &[client]);
    assert!(node.stop(PATIENCE).await);
}

#[actix::test]
async fn a_drain_waits_for_what_lingers() {
    let directory = tempfile::tempdir().unwrap();
    let options = PersistOptions { linger: Duration::from_mins(1), ..options() };
    let node = Node::start(directory.path(), &FakeStore::new(), options, 2);
    let mut client = node.connect().await;
    for _ in 0..10 {
        let event = client.event();
        client.append(vec![event], false, Permit::none());
    }
    let store = node.store.clone();
    assert!(node.stop(PATIENCE).await);
    assert_complete(&store, &[client]);
}

#[actix::test]
async fn a_drain_ends_by_its_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let options = PersistOptions { spill_after: Duration::from_mins(1), ..options() };
    let node = Node::start(directory.path(), &FakeStore::new(), options, 1);
    let mut client = node.connect().await;
    node.store.behave(Behaviour::Hangs);
    client.say();
    node.store.until(|contents| contents.attempts >= 1).await;
    assert!(!node.stop(Duration::from_millis(100)).await);
}
