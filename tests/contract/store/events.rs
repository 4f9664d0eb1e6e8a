//! Events: each stored once, unchanged, together with its batch or not at all.

use shopaloud::store::refusal;

use super::*;

on_every_store!(
    a_batch_that_comes_again_changes_nothing,
    records_that_come_again_one_by_one_change_nothing,
    the_order_within_a_batch_does_not_matter,
    an_event_may_be_earlier_than_its_session,
    duplicates_are_counted_exactly,
    the_first_of_a_key_stays,
    an_empty_batch_does_nothing,
    data_is_kept_byte_for_byte,
    ten_thousand_events_are_one_batch,
    writers_may_share_keys,
);

/// One batch with every kind of record.
fn full_batch() -> Vec<Record> {
    let (session, stream) = (SessionId::new(), StreamId::new());
    vec![
        Record::StreamOpened(StreamOpened {
            stream,
            user: user("anna"),
            profile: profile(Some("Anna"), Some("anna@example.com")),
            at: at(0),
        }),
        presence("anna", true, 1),
        Record::Event(event(stream, 1)),
        session_opened(session, "anna", 5),
        event_in(session, stream, 2),
        event_in(session, stream, 3),
        touched(session, 7),
        Record::AudioAttached(part(session, stream, 0, 1000)),
        closed(session, SessionStatus::Ended, 9),
    ]
}

async fn a_batch_that_comes_again_changes_nothing(fixture: Fixture) {
    let batch = full_batch();
    assert_eq!(fixture.write(&batch).await, WriteOutcome { events_stored: 3, events_duplicate: 0 });
    assert!(batch.iter().all(|record| refusal(record).is_none()));
    let before = fixture.everything().await;
    assert!(before.contains("mouse:position") && before.contains("webm") && before.contains("Anna"), "{before}");

    assert_eq!(fixture.write(&batch).await, WriteOutcome { events_stored: 0, events_duplicate: 3 });

    assert_eq!(fixture.everything().await, before);
}

async fn records_that_come_again_one_by_one_change_nothing(fixture: Fixture) {
    let batch = full_batch();
    fixture.write(&batch).await;
    let before = fixture.everything().await;

    let mut writer = fixture.writer().await;
    for record in batch.iter().chain(batch.iter().rev()) {
        assert_eq!(writer.write(fixture.node, std::slice::from_ref(record)).await.unwrap().events_stored, 0);
    }

    assert_eq!(fixture.everything().await, before);
}

async fn the_order_within_a_batch_does_not_matter(fixture: Fixture) {
    // The same batch under other ids for each order; what readers see may differ in the ids only.
    for turn in 0..9 {
        let mut batch = full_batch();
        batch.rotate_left(turn);
        if turn % 2 == 1 {
            batch.reverse();
        }
        assert_eq!(fixture.write(&batch).await.events_stored, 3);
    }

    let sessions = fixture.store.sessions(&SessionQuery::page(None, 100)).await.unwrap();
    assert_eq!(sessions.len(), 9);
    for session in sessions {
        assert_eq!((session.status, session.ended_at, session.num_events), (SessionStatus::Ended, Some(at(9)), 2));
        assert_eq!(fixture.store.audio_parts(&[session.session]).await.unwrap().len(), 1);
    }
    let anna = fixture.store.user(&user("anna"), at(0)).await.unwrap().unwrap();
    assert_eq!((anna.name.as_deref(), anna.num_sessions, anna.num_events), (Some("Anna"), 9, 9));
    assert_eq!((anna.created_at, anna.updated_at), (at(0), at(5)));
}

async fn an_event_may_be_earlier_than_its_session(fixture: Fixture) {
    let (session, stream) = (SessionId::new(), StreamId::new());
    fixture.write(&[event_in(session, stream, 1)]).await;
    assert_eq!(fixture.store.session(session).await.unwrap(), None);

    fixture.write(&[session_opened(session, "anna", 0)]).await;

    assert_eq!(fixture.store.session(session).await.unwrap().unwrap().num_events, 1);
}

async fn duplicates_are_counted_exactly(fixture: Fixture) {
    let stream = StreamId::new();
    let batch = |seqs: &[i64]| seqs.iter().map(|seq| Record::Event(event(stream, *seq))).collect::<Vec<_>>();
    let outcome = |events_stored, events_duplicate| WriteOutcome { events_stored, events_duplicate };

    assert_eq!(fixture.write(&batch(&[1, 2, 3])).await, outcome(3, 0));
    assert_eq!(fixture.write(&batch(&[5, 2, 4, 3, 4, 5, 5])).await, outcome(2, 5));

    // The same within a transaction of other records.
    let mut mixed = batch(&[6, 6, 1]);
    mixed.push(presence("anna", true, 0));
    assert_eq!(fixture.write(&mixed).await, outcome(1, 2));
}

async fn the_first_of_a_key_stays(fixture: Fixture) {
    let (session, stream) = (SessionId::new(), StreamId::new());
    let titled = |seq, name: &'static str| {
        let name = EventName::parse(name).unwrap();
        Record::Event(Event { session: Some(session), name, ..event(stream, seq) })
    };

    fixture.write(&[titled(2, "first"), titled(1, "first"), titled(2, "second")]).await;
    fixture.write(&[titled(1, "third"), titled(2, "third")]).await;

    let events = fixture.session_events(session, 10).await;
    let names: Vec<_> = events.iter().map(|event| (event.seq, event.name.as_str())).collect();
    assert_eq!(names, [(1, "first"), (2, "first")]);
}

async fn an_empty_batch_does_nothing(fixture: Fixture) {
    assert_eq!(fixture.write(&[]).await, WriteOutcome::default());
}

async fn data_is_kept_byte_for_byte(fixture: Fixture) {
    let (session, stream) = (SessionId::new(), StreamId::new());
    let large = format!("\"{}\"", "añb😀".repeat(250_000));
    assert!(large.len() > 2_000_000);
    let texts = [
        r#"{ "b" : 1.0,"a":  2, "b": 3 }"#,
        r#""\u0000 and \ud800 alone""#,
        "1e400000",
        "-0.000",
        "123456789012345678901234567890.123456789",
        "\"\u{7f}\u{80}\u{feff}\u{10ffff} 日本語 \\\"quoted\\\" 'single' $1 ? {} NULL\"",
        "null",
        "\n[\t]\r\n",
        &large,
    ];
    let events: Vec<_> = texts
        .into_iter()
        .zip(1..)
        .map(|(text, seq)| {
            let name = EventName::parse(format!("nàme {seq} \"'\\ 😀")).unwrap();
            let data = JsonText::parse(text.to_owned()).unwrap();
            Event { session: Some(session), name, data, client_at: None, ..event(stream, seq) }
        })
        .collect();

    fixture.write(&events.iter().cloned().map(Record::Event).collect::<Vec<_>>()).await;

    let rows = fixture.session_events(session, 100).await;
    assert_eq!(rows.len(), events.len());
    for (row, event) in rows.iter().zip(&events) {
        assert!(row.data == event.data.as_str(), "seq {}", event.seq);
        assert_eq!((&row.name, row.client_at, row.received_at), (&event.name, None, event.received_at));
        assert_eq!((row.owner, row.stream, row.seq), (session, stream, event.seq));
    }
}

async fn ten_thousand_events_are_one_batch(fixture: Fixture) {
    let (session, stream) = (SessionId::new(), StreamId::new());
    let batch: Vec<_> = (1..=10_000).map(|seq| event_in(session, stream, seq)).collect();

    assert_eq!(fixture.write(&batch).await, WriteOutcome { events_stored: 10_000, events_duplicate: 0 });
    assert_eq!(fixture.write(&batch).await, WriteOutcome { events_stored: 0, events_duplicate: 10_000 });

    let seqs: Vec<_> = fixture.session_events(session, 1_999).await.iter().map(|event| event.seq).collect();
    assert!(seqs.into_iter().eq(1..=10_000));
}

/// As after a network partition: two nodes have the same events in their journals.
async fn writers_may_share_keys(fixture: Fixture) {
    let (session, stream, other) = (SessionId::new(), StreamId::new(), StreamId::new());
    let mut records: Vec<_> =
        (1..=1_000).flat_map(|seq| [stream, other].map(|id| event_in(session, id, seq))).collect();
    records.extend((0..50).map(|n| stream_opened(StreamId::from_bytes([n; 16]), &format!("user {n}"), i64::from(n))));
    records.extend((0..50).map(|n| session_opened(SessionId::from_bytes([n; 16]), &format!("user {n}"), i64::from(n))));
    records.extend((0..50).map(|n| touched(SessionId::from_bytes([n; 16]), 100)));

    let write_all = |turn: usize| {
        let (store, node, mut records) = (Arc::clone(&fixture.store), NodeId::new(), records.clone());
        tokio::spawn(async move {
            let length = records.len();
            records.rotate_left(turn * length / 4);
            if turn % 2 == 1 {
                records.reverse();
            }
            let mut writer = store.writer().await.unwrap();
            let mut stored = 0;
            for batch in records.chunks(300 + 70 * turn) {
                stored += writer.write(node, batch).await.unwrap().events_stored;
            }
            stored
        })
    };
    let mut stored = 0;
    for task in [0, 1, 2, 3].map(write_all) {
        stored += task.await.unwrap();
    }

    assert_eq!(stored, 2_000);
    assert_eq!(fixture.session_events(session, 700).await.len(), 2_000);
    assert_eq!(fixture.store.users(&UserQuery::page(None, 100), at(0)).await.unwrap().len(), 50);
}
