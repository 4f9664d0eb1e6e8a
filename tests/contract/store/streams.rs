//! Streams: whose they are, and how far they are stored. Audio parts, which are counted along their stream.

use super::*;

on_every_store!(
    a_stream_never_heard_of_has_no_state,
    a_stream_belongs_to_the_first_who_opened_it,
    the_last_position_counts_events_and_messages_about_sessions,
    audio_is_stored_up_to_the_end_of_the_last_part,
    parts_come_by_session_then_by_start,
    no_byte_of_a_stream_gets_two_parts,
    nodes_that_store_the_same_bytes_at_once_store_them_once,
    a_part_that_comes_again_changes_nothing,
);

async fn a_stream_never_heard_of_has_no_state(fixture: Fixture) {
    assert_eq!(fixture.store.stream_state(StreamId::new()).await.unwrap(), None);
}

async fn a_stream_belongs_to_the_first_who_opened_it(fixture: Fixture) {
    let [across, within] = [StreamId::new(), StreamId::new()];
    fixture.write(&[stream_opened(across, "anna", 0)]).await;
    fixture.write(&[stream_opened(across, "mallory", 1)]).await;
    fixture.write(&[stream_opened(within, "anna", 2), stream_opened(within, "mallory", 3)]).await;

    for stream in [across, within] {
        let state = fixture.store.stream_state(stream).await.unwrap().unwrap();
        assert_eq!((state.user, state.last_seq, state.audio_end), (user("anna"), 0, 0));
    }
    assert!(fixture.store.user(&user("mallory"), at(0)).await.unwrap().is_some());
}

async fn the_last_position_counts_events_and_messages_about_sessions(fixture: Fixture) {
    let (stream, session) = (StreamId::new(), SessionId::new());
    let opened = |seq| {
        let user = user("anna");
        Record::SessionOpened(SessionOpened { session, user, stream, seq, page: None, at: at(1) })
    };
    let closed = |seq| {
        let (user, status) = (user("anna"), SessionStatus::Ended);
        Record::SessionClosed(SessionClosed { session, user, stream, seq, status, at: at(2) })
    };
    let last_seq = async || fixture.store.stream_state(stream).await.unwrap().unwrap().last_seq;

    fixture.write(&[opened(Some(1)), stream_opened(stream, "anna", 0)]).await;
    assert_eq!(last_seq().await, 1);
    fixture.write(&[Record::Event(event(stream, 7)), Record::Event(event(stream, 3))]).await;
    assert_eq!(last_seq().await, 7);
    fixture.write(&[closed(Some(9))]).await;
    assert_eq!(last_seq().await, 9);
    fixture.write(&[opened(Some(1)), closed(Some(8)), opened(None), closed(None)]).await;
    assert_eq!(last_seq().await, 9);
    fixture.write(&[Record::Event(event(StreamId::new(), 100))]).await;
    assert_eq!(last_seq().await, 9);
}

async fn audio_is_stored_up_to_the_end_of_the_last_part(fixture: Fixture) {
    let (stream, session) = (StreamId::new(), SessionId::new());
    let (early, late) = (part(session, stream, 0, 1_000), part(session, stream, 5_000, 70_000));
    fixture.write(&[stream_opened(stream, "anna", 0), Record::AudioAttached(late.clone())]).await;
    fixture.write(&[Record::AudioAttached(early.clone()), Record::AudioAttached(early.clone())]).await;

    assert_eq!(fixture.store.stream_state(stream).await.unwrap().unwrap().audio_end, 75_000);
    assert_eq!(fixture.store.audio_part(late.run).await.unwrap(), Some(late));
    assert_eq!(fixture.store.audio_part(early.run).await.unwrap(), Some(early));
    assert_eq!(fixture.store.audio_part(RunId::new()).await.unwrap(), None);
}

async fn parts_come_by_session_then_by_start(fixture: Fixture) {
    let (first, second, stream) = (SessionId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]), StreamId::new());
    let starting = |session, ms| AudioPart { started_at: at(ms), ..part(session, stream, ms.unsigned_abs(), 1) };
    let mut parts = [starting(SessionId::new(), 1), starting(second, 5), starting(first, 20), starting(first, 10)];
    fixture.write(&parts.clone().map(Record::AudioAttached)).await;
    parts.reverse();

    assert_eq!(fixture.store.audio_parts(&[second, first]).await.unwrap(), parts[..3]);
    assert_eq!(fixture.store.audio_parts(&[second]).await.unwrap(), parts[2..3]);
    assert_eq!(fixture.store.audio_parts(&[]).await.unwrap(), []);
}

async fn no_byte_of_a_stream_gets_two_parts(fixture: Fixture) {
    let (stream, session) = (StreamId::new(), SessionId::new());
    let here = |offset, size| part(session, stream, offset, size);
    let (first, behind, elsewhere) = (here(100, 50), here(150, 10), part(session, StreamId::new(), 100, 50));
    let overlapping = [here(90, 11), here(149, 1), here(0, 500), here(100, 50), here(120, 5)];

    fixture.write(&[&first, &elsewhere].map(|part| Record::AudioAttached(part.clone()))).await;
    fixture.write(&overlapping.map(Record::AudioAttached)).await;
    fixture.write(&[Record::AudioAttached(behind.clone())]).await;

    assert_eq!(fixture.store.stream_parts(stream).await.unwrap(), [first, behind]);
    assert_eq!(fixture.store.stream_parts(elsewhere.stream).await.unwrap(), [elsewhere]);
    assert_eq!(fixture.store.stream_parts(StreamId::new()).await.unwrap(), []);

    // In one batch the one with the lower id comes first, as if they had come one after the other.
    let stream = StreamId::new();
    let [low, high] = [part(session, stream, 0, 10), part(session, stream, 5, 10)];
    assert!(low.run < high.run);
    fixture.write(&[&high, &low].map(|part| Record::AudioAttached(part.clone()))).await;
    assert_eq!(fixture.store.stream_parts(stream).await.unwrap(), [low]);
}

async fn nodes_that_store_the_same_bytes_at_once_store_them_once(fixture: Fixture) {
    let session = SessionId::new();
    let streams: Vec<_> = (0..8).map(|_| StreamId::new()).collect();
    let mut writers = Vec::new();
    for _ in 0..6 {
        writers.push((fixture.writer().await, NodeId::new()));
    }
    for _ in 0..10 {
        let offset = 1_000 * fastrand::u64(..1_000_000);
        let at_once = writers.iter_mut().map(|(writer, node)| {
            let mut parts: Vec<_> = streams.iter().map(|stream| part(session, *stream, offset, 10)).collect();
            fastrand::shuffle(&mut parts);
            let records: Vec<_> = parts.into_iter().map(Record::AudioAttached).collect();
            async move { writer.write(*node, &records).await.unwrap() }
        });
        futures_util::future::join_all(at_once).await;
    }
    for stream in streams {
        let mut ends = 0;
        for part in fixture.store.stream_parts(stream).await.unwrap() {
            assert!(part.stream_offset >= ends, "{part:?} overlaps");
            ends = part.stream_offset + part.size_bytes;
        }
    }
}

async fn a_part_that_comes_again_changes_nothing(fixture: Fixture) {
    let (stream, session) = (StreamId::new(), SessionId::new());
    let first = part(session, stream, 0, 10);
    let longer = AudioPart { size_bytes: 20, ..first.clone() };
    for part in [&first, &first, &longer] {
        fixture.write(&[Record::AudioAttached(part.clone())]).await;
    }
    assert_eq!(fixture.store.stream_parts(stream).await.unwrap(), [first]);
}
