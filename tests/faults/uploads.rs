//! Audio survives what happens to stores, processes and disks.

use std::{
    fs,
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use shopaloud::{
    domain::{Arrivals, AudioFormat, AudioPart, RunId, Sha256},
    objects::{FolderStore, ObjectKey, Objects, S3Options, S3Store, S3Timeouts, Sha256Hasher},
    upload::FinishReason,
};

use crate::{
    support::s3::TestS3,
    upload_node::{Client, Node, NodeOptions, until},
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A store that gives up soon, so that outages end soon.
fn store_on(server: &TestS3) -> Objects {
    let timeouts = S3Timeouts { operation: Duration::from_secs(5), ..S3Timeouts::default() };
    Arc::new(S3Store::new(&S3Options { timeouts, ..server.options() }).unwrap())
}

fn digest(bytes: &[u8]) -> Sha256 {
    let mut hasher = Sha256Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// The object, the row and the news are what the client recorded, and nothing of it lies around any more.
async fn assert_stored(node: &mut Node, server: &TestS3, client: &Client) {
    let told = node.told_of_stored().await;
    assert_eq!((told.run, told.session), (client.begin.run, client.begin.session));
    assert!(fs::read(server.file_of(&client.key())).unwrap() == client.bytes);
    let part = node.database.only_part();
    assert_eq!((part.size_bytes, part.sha256), (client.bytes.len() as u64, digest(&client.bytes)));
    assert_eq!(part.object_key, client.key().as_str());
    until("an empty staging directory", || node.staged_files() == 0).await;
}

#[actix::test]
async fn a_small_run_reaches_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FolderStore::open(folder.path()).unwrap());
    let mut node = Node::start(store, &NodeOptions::default());
    let mut client = Client::new(100 * KIB);
    client.record(&node, 5 * KIB).await;

    assert_eq!(node.told_of_stored().await.run, client.begin.run);
    assert!(fs::read(folder.path().join(client.key().as_str())).unwrap() == client.bytes);
    assert_eq!(node.database.only_part().sha256, digest(&client.bytes));
    until("an empty staging directory", || node.staged_files() == 0).await;
    assert_eq!(node.runs_of(client.begin.stream).await, []);
}

#[actix::test]
async fn a_large_run_is_uploaded_while_it_grows() {
    let server = TestS3::start();
    let mut node = Node::start(store_on(&server), &NodeOptions::default());
    let mut client = Client::new(12 * MIB);
    client.begin(&node);
    client.send(&node, 11 * MIB, 100 * KIB);
    until("two parts in the store", || server.parts_received() == 2).await;
    client.send(&node, 12 * MIB, 100 * KIB);
    client.end(&node);
    assert_stored(&mut node, &server, &client).await;
    assert_eq!(server.parts_received(), 3);
    assert_eq!(node.stats.retries.load(Ordering::SeqCst), 0);
}

#[actix::test]
async fn many_runs_at_once_are_all_stored() {
    let server = TestS3::start();
    let mut node = Node::start(store_on(&server), &NodeOptions::default());
    let mut clients: Vec<_> = (0..60).map(|index| Client::new(KIB + index)).collect();
    for client in &mut clients {
        client.record(&node, 100).await;
    }
    for _ in &clients {
        node.told_of_stored().await;
    }
    for client in &clients {
        assert!(fs::read(server.file_of(&client.key())).unwrap() == client.bytes);
    }
    assert_eq!(node.stats.runs_stored.load(Ordering::SeqCst), 60);
}

#[actix::test]
async fn audio_is_acknowledged_while_the_store_is_away_and_stored_when_it_is_back() {
    let mut server = TestS3::start();
    let mut node = Node::start(store_on(&server), &NodeOptions::default());
    server.stop();
    let mut small = Client::new(50 * KIB);
    small.record(&node, 5 * KIB).await;
    until("some failures", || node.stats.retries.load(Ordering::SeqCst) >= 3).await;
    assert!(node.was_told_nothing());
    server.restart();
    assert_stored(&mut node, &server, &small).await;
}

#[actix::test]
async fn an_upload_in_parts_survives_an_outage_between_them() {
    let mut server = TestS3::start();
    let mut node = Node::start(store_on(&server), &NodeOptions::default());
    let mut client = Client::new(11 * MIB);
    client.begin(&node);
    client.send(&node, 6 * MIB, MIB);
    until("a part in the store", || server.parts_received() == 1).await;
    server.stop();
    client.send(&node, 11 * MIB, MIB);
    client.acknowledged().await;
    client.end(&node);
    until("a failure", || node.stats.retries.load(Ordering::SeqCst) >= 1).await;
    server.restart();
    assert_stored(&mut node, &server, &client).await;
}

#[actix::test]
async fn a_client_goes_on_after_its_node_was_killed() {
    let server = TestS3::start();
    for sync_interval in [Duration::from_millis(100), Duration::from_hours(1)] {
        let options = NodeOptions { sync_interval, ..NodeOptions::default() };
        let node = Node::start(store_on(&server), &NodeOptions { actors: 1, ..options });
        // Several segments of the journal, so that it could let go of some too early.
        let mut client = Client::new(4 * MIB);
        client.begin(&node);
        // No faster than segments are made: a full journal would have everything synced.
        for end in (1..=12).map(|quarter| quarter * 256 * KIB) {
            client.send(&node, end, 70 * KIB);
            client.acknowledged().await;
        }
        if sync_interval < Duration::from_secs(1) {
            until("a trimmed journal", || node.journal.stats().kept_bytes < 2 * MIB as u64).await;
        } else {
            // The journal lets go of another run, and of nothing that this one still needs.
            let mut other = Client::new(KIB);
            other.record(&node, KIB).await;
            let stage = node.staging().join(format!("{}.part", other.begin.run));
            until("the other run to leave", || !stage.exists()).await;
            node.database.parts.lock().unwrap().clear();
        }

        let mut node = node.killed_and_started_again(&options);
        let runs = node.runs_of(client.begin.stream).await;
        assert_eq!(runs.len(), 1);
        assert_eq!((runs[0].run, runs[0].len, runs[0].open), (client.begin.run, 3 * MIB as u64, true));
        client.send(&node, 4 * MIB, 70 * KIB);
        client.end(&node);
        assert_stored(&mut node, &server, &client).await;
    }
}

#[actix::test]
async fn a_killed_node_stores_what_nobody_comes_back_for() {
    let mut server = TestS3::start();
    let node = Node::start(store_on(&server), &NodeOptions::default());
    server.stop();
    let mut client = Client::new(80 * KIB);
    client.begin(&node);
    client.send(&node, 80 * KIB, 9 * KIB);
    client.acknowledged().await;
    server.restart();
    let options = NodeOptions { reconnect_grace: Duration::from_millis(50), actors: 3, ..NodeOptions::default() };
    let mut node = node.killed_and_started_again(&options);
    assert_stored(&mut node, &server, &client).await;
}

#[actix::test]
async fn a_stored_run_is_not_stored_again_after_a_kill() {
    let server = TestS3::start();
    let options = NodeOptions::default();
    let mut node = Node::start(store_on(&server), &options);
    let mut client = Client::new(80 * KIB);
    client.record(&node, 9 * KIB).await;
    assert_stored(&mut node, &server, &client).await;

    let mut node = node.killed_and_started_again(&options);
    assert_eq!(node.runs_of(client.begin.stream).await, []);
    assert!(node.was_told_nothing());
    assert_eq!(node.database.only_part().run, client.begin.run);
}

#[actix::test]
async fn an_acknowledged_chunk_is_on_the_disk() {
    let server = TestS3::start();
    let node = Node::start(store_on(&server), &NodeOptions::default());
    let mut client = Client::new(100 * KIB);
    client.begin(&node);
    for sent in 1..=100 {
        client.send(&node, sent * KIB, KIB);
        client.acknowledged().await;
        assert_eq!(node.journal.synced(), node.journal.end());
    }
}

#[actix::test]
async fn a_killed_node_goes_on_with_its_upload_in_parts() {
    let mut server = TestS3::start();
    let options = NodeOptions { sync_interval: Duration::from_millis(100), ..NodeOptions::default() };
    let node = Node::start(store_on(&server), &options);
    let mut client = Client::new(12 * MIB);
    client.begin(&node);
    client.send(&node, 11 * MIB, MIB);
    client.acknowledged().await;
    until("two parts in the store", || server.parts_received() == 2).await;
    // The parts are known to the sidecar once it was written again.
    let sidecar = node.staging().join(format!("{}.json", client.begin.run));
    until("a sidecar with two parts", || {
        fs::read_to_string(&sidecar).is_ok_and(|text| text.matches("\"etag\"").count() == 2)
    })
    .await;
    server.stop();
    let mut node = node.killed_and_started_again(&options);
    server.restart();
    client.send(&node, 12 * MIB, MIB);
    client.end(&node);
    assert_stored(&mut node, &server, &client).await;
    assert_eq!(server.parts_received(), 3, "parts that were stored are not sent again");
}

#[actix::test]
async fn a_completion_whose_answer_was_lost_is_recognised() {
    let server = TestS3::start();
    let mut node = Node::start(store_on(&server), &NodeOptions::default());
    let mut client = Client::new(6 * MIB);
    server.lose_answer_of_next_complete();
    client.record(&node, MIB).await;
    assert_stored(&mut node, &server, &client).await;
    assert_eq!(node.stats.verify_failures.load(Ordering::SeqCst), 0);
    assert_eq!(server.parts_received(), 2);
}

#[actix::test]
async fn a_damaged_object_is_uploaded_again() {
    let server = TestS3::start();
    let mut node = Node::start(store_on(&server), &NodeOptions::default());
    let mut client = Client::new(6 * MIB);
    server.damage_next_completed_object();
    client.record(&node, MIB).await;
    assert_stored(&mut node, &server, &client).await;
    assert_eq!(node.stats.verify_failures.load(Ordering::SeqCst), 1);
}

#[actix::test]
async fn a_run_waits_for_the_database() {
    let server = TestS3::start();
    let mut node = Node::start(store_on(&server), &NodeOptions::default());
    node.database.away.store(true, Ordering::SeqCst);
    let mut client = Client::new(KIB);
    client.record(&node, KIB).await;
    until("some failures", || node.stats.retries.load(Ordering::SeqCst) >= 2).await;
    assert!(node.was_told_nothing() && node.staged_files() > 0);
    node.database.away.store(false, Ordering::SeqCst);
    assert_stored(&mut node, &server, &client).await;
}

#[actix::test]
async fn an_actor_that_died_is_followed_by_one_that_knows_its_runs() {
    let server = TestS3::start();
    let mut node = Node::start(store_on(&server), &NodeOptions::default());
    let mut client = Client::new(KIB);
    node.database.panics_once.store(true, Ordering::SeqCst);
    client.record(&node, 100).await;
    assert_stored(&mut node, &server, &client).await;
}

#[actix::test]
async fn a_full_journal_makes_chunks_wait_and_loses_none() {
    let server = TestS3::start();
    // Never synced for its age: only because the journal is full.
    let options = NodeOptions {
        journal_limit_bytes: MIB as u64,
        sync_interval: Duration::from_hours(1),
        ..NodeOptions::default()
    };
    let mut node = Node::start(store_on(&server), &options);
    let mut client = Client::new(4 * MIB);
    client.begin(&node);
    // Small ones would fit where large ones did not, and must not overtake them.
    for end in (0..=40).map(|chunk| chunk * 100 * KIB) {
        client.send(&node, end, 100 * KIB);
        client.send(&node, end + 100, 100);
    }
    client.send(&node, 4 * MIB, 50 * KIB);
    client.acknowledged().await;
    client.end(&node);
    assert_eq!(node.told_of_stored().await.run, client.begin.run);
    assert!(fs::read(server.file_of(&client.key())).unwrap() == client.bytes);
    assert!(node.stats.pauses.load(Ordering::SeqCst) > 0);
}

#[actix::test]
async fn a_chunk_larger_than_the_journal_takes_is_split() {
    let server = TestS3::start();
    let options = NodeOptions { journal_limit_bytes: MIB as u64, ..NodeOptions::default() };
    let mut node = Node::start(store_on(&server), &options);
    let mut client = Client::new(2 * MIB);
    client.record(&node, 2 * MIB).await;
    assert_stored(&mut node, &server, &client).await;
}

#[actix::test]
async fn the_journal_lets_go_of_what_is_stored_or_synced() {
    let server = TestS3::start();
    let mut node = Node::start(store_on(&server), &NodeOptions::default());
    let mut open = Client::new(3 * MIB);
    open.begin(&node);
    open.send(&node, 3 * MIB, 100 * KIB);
    open.acknowledged().await;
    let mut ended = Client::new(3 * MIB + 1);
    ended.record(&node, 100 * KIB).await;
    assert_eq!(node.told_of_stored().await.run, ended.begin.run);
    until("an empty journal", || node.journal.stats().kept_bytes <= 1 << 20).await;
}

#[actix::test]
async fn a_drained_node_leaves_open_runs_to_the_next() {
    let mut server = TestS3::start();
    let options = NodeOptions { sync_interval: Duration::from_hours(1), ..NodeOptions::default() };
    let node = Node::start(store_on(&server), &options);
    let mut ended = Client::new(10 * KIB);
    ended.begin(&node);
    ended.send(&node, 10 * KIB, KIB);
    ended.finish(&node, Duration::from_hours(1), FinishReason::Ended);
    let mut open = Client::new(20 * KIB);
    open.begin(&node);
    open.send(&node, 15 * KIB, KIB);
    open.finish(&node, Duration::from_hours(1), FinishReason::ConnectionLost);
    let database = Arc::clone(&node.database);

    let mut node = node.drained_and_started_again(&options).await;
    // What had ended was stored by the drain, without waiting for its grace.
    assert_eq!(database.only_part().run, ended.begin.run);
    database.parts.lock().unwrap().clear();
    server.restart();
    assert_eq!(node.runs_of(ended.begin.stream).await, []);
    open.send(&node, 20 * KIB, KIB);
    open.end(&node);
    assert_stored(&mut node, &server, &open).await;
}

#[actix::test]
async fn a_drain_waits_for_what_is_under_way_and_finishes_nothing_that_is_open() {
    let server = TestS3::start();
    let node = Node::start(store_on(&server), &NodeOptions { actors: 1, ..NodeOptions::default() });
    node.database.hangs.store(true, Ordering::SeqCst);
    let mut busy = Client::new(KIB);
    busy.record(&node, KIB).await;
    until("an object", || server.file_of(&busy.key()).exists()).await;
    let mut open = Client::new(KIB);
    open.begin(&node);
    open.send(&node, KIB, KIB);
    open.finish(&node, Duration::from_millis(100), FinishReason::ConnectionLost);

    let begun = std::time::Instant::now();
    node.drain(Duration::from_secs(1)).await;
    assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(!server.file_of(&open.key()).exists());
}

#[actix::test]
async fn a_drain_does_not_wait_for_a_store_that_is_away() {
    let mut server = TestS3::start();
    let options = NodeOptions::default();
    let node = Node::start(store_on(&server), &options);
    server.stop();
    let mut client = Client::new(10 * KIB);
    client.record(&node, KIB).await;
    until("a failure", || node.stats.retries.load(Ordering::SeqCst) >= 1).await;
    let begun = std::time::Instant::now();
    node.drain(Duration::from_secs(10)).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[actix::test]
async fn chunks_of_finished_and_unknown_runs_are_refused() {
    let server = TestS3::start();
    let mut node = Node::start(store_on(&server), &NodeOptions::default());
    let mut unknown = Client::new(100);
    unknown.send(&node, 100, 100);
    let mut client = Client::new(2_000);
    client.begin(&node);
    client.send(&node, 1_000, 100);
    client.acknowledged().await;
    client.end(&node);
    assert_eq!(node.told_of_stored().await.run, client.begin.run);
    client.send(&node, 2_000, 1_000);
    until("refused bytes", || node.stats.bytes_refused.load(Ordering::SeqCst) == 1_100).await;
    assert!(client.heard_nothing() && unknown.heard_nothing());
    client.refused().await;
    unknown.refused().await;
    assert_eq!(node.database.only_part().size_bytes, 1_000);
}

#[actix::test]
async fn a_run_without_bytes_leaves_nothing() {
    let server = TestS3::start();
    let mut node = Node::start(store_on(&server), &NodeOptions::default());
    let client = Client::new(0);
    client.begin(&node);
    client.end(&node);
    assert_eq!(node.runs_of(client.begin.stream).await, []);
    assert!(node.was_told_nothing());
    assert_eq!(node.staged_files(), 0);
}

#[actix::test]
async fn a_silent_run_is_stored_after_a_while() {
    let server = TestS3::start();
    let options = NodeOptions { idle_timeout: Duration::from_millis(200), ..NodeOptions::default() };
    let mut node = Node::start(store_on(&server), &options);
    let mut client = Client::new(1_000);
    client.begin(&node);
    client.send(&node, 1_000, 100);
    assert_stored(&mut node, &server, &client).await;
}

/// What another node stored of the client's stream: these bytes.
fn stored_elsewhere(client: &Client, range: Range<usize>) -> AudioPart {
    AudioPart {
        run: RunId::new(),
        session: client.begin.session,
        user: client.begin.user.clone(),
        stream: client.begin.stream,
        stream_offset: range.start as u64,
        started_at: client.begin.at,
        ended_at: client.begin.at,
        object_key: "another node's".into(),
        format: AudioFormat::WebM,
        size_bytes: range.len() as u64,
        sha256: digest(&client.bytes[range]),
        arrivals: Arrivals::default(),
    }
}

/// Every byte of the stream has one part, and the objects of this node's parts are what the client recorded.
async fn assert_stored_once(node: &mut Node, server: &TestS3, client: &Client) {
    node.told_of_stored().await;
    until("an empty staging directory", || node.staged_files() == 0).await;
    let mut end = 0;
    for part in node.database.parts_of(client.begin.stream) {
        assert_eq!(part.stream_offset, end);
        end += part.size_bytes;
        let bytes = &client.bytes[usize::try_from(part.stream_offset).unwrap()..usize::try_from(end).unwrap()];
        assert_eq!(part.sha256, digest(bytes));
        if let Ok(key) = ObjectKey::parse(&part.object_key) {
            assert!(fs::read(server.file_of(&key)).unwrap() == bytes, "{key:?}");
        }
    }
    assert_eq!(end, client.bytes.len() as u64);
}

#[actix::test]
async fn what_another_node_stored_of_a_stream_is_not_stored_again() {
    let stored: [&[Range<usize>]; 4] = [
        &[0..7_000, 7_000..9_000],
        &[90_000..95_000, 95_000..100_000],
        &[40_000..50_000, 50_000..50_001],
        &[10..20, 30..99_999],
    ];
    for ranges in stored {
        let server = TestS3::start();
        let mut node = Node::start(store_on(&server), &NodeOptions::default());
        let mut client = Client::new(100_000);
        for range in ranges {
            let part = stored_elsewhere(&client, range.clone());
            node.database.parts.lock().unwrap().push(part);
        }
        client.record(&node, 5 * KIB).await;
        assert_stored_once(&mut node, &server, &client).await;
        assert!(!server.file_of(&client.key()).exists(), "the object that was not taken is gone");
    }
}

#[actix::test]
async fn a_run_that_another_node_stored_entirely_leaves_nothing_behind() {
    let server = TestS3::start();
    let mut node = Node::start(store_on(&server), &NodeOptions::default());
    let mut client = Client::new(11 * MIB);
    let part = stored_elsewhere(&client, 0..11 * MIB);
    node.database.parts.lock().unwrap().push(part);
    client.record(&node, MIB).await;
    assert_stored_once(&mut node, &server, &client).await;
    assert_eq!(node.database.parts_of(client.begin.stream).len(), 1);
    assert!(!server.file_of(&client.key()).exists());
}

#[actix::test]
async fn a_run_in_pieces_survives_a_crash_between_them() {
    let mut server = TestS3::start();
    let options = NodeOptions::default();
    let node = Node::start(store_on(&server), &options);
    let mut client = Client::new(100_000);
    let part = stored_elsewhere(&client, 40_000..50_000);
    node.database.parts.lock().unwrap().push(part);
    node.database.away.store(true, Ordering::SeqCst);
    client.record(&node, 5 * KIB).await;
    until("an object that waits for its row", || server.file_of(&client.key()).exists()).await;
    // Before the second piece, which would come too soon to stop in between.
    node.database.takes_one.store(true, Ordering::SeqCst);
    node.database.away.store(false, Ordering::SeqCst);
    until("the first piece's row", || node.database.parts_of(client.begin.stream).len() == 2).await;
    server.stop();
    node.database.away.store(false, Ordering::SeqCst);
    let mut node = node.killed_and_started_again(&options);
    server.restart();
    assert_stored_once(&mut node, &server, &client).await;
    assert!(!server.file_of(&client.key()).exists());
}

/// As from a client whose connection was lost while its chunk waited for room.
#[actix::test]
async fn bytes_that_come_again_are_taken_once() {
    let server = TestS3::start();
    let mut node = Node::start(store_on(&server), &NodeOptions::default());
    let mut client = Client::new(100_000);
    client.begin(&node);
    client.send(&node, 60_000, 20_000);
    client.go_back(30_000);
    client.send(&node, 50_000, 20_000);
    client.go_back(45_000);
    client.send(&node, 100_000, 55_000);
    client.acknowledged().await;
    client.end(&node);
    assert_stored_once(&mut node, &server, &client).await;
}
