//! Batches that the database refuses: nothing of them is there afterwards, and the error says whether to try again.

use shopaloud::store::{StoreErrorKind, refusal};

use super::*;

on_every_store!(
    one_bad_row_fails_its_whole_batch,
    one_bad_event_fails_its_whole_batch,
    two_parts_cannot_be_the_same_object,
    sizes_beyond_what_sql_counts_are_refused,
    a_write_that_is_given_up_is_done_or_not_done,
);

/// No stream has a position 0, so no database takes one.
fn bad_event() -> Record {
    Record::Event(event(StreamId::new(), 0))
}

async fn refused(fixture: &Fixture, records: &[Record]) {
    let error = fixture.writer().await.write(fixture.node, records).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Permanent, "{error}");
}

/// The same for a batch whose guilt can be told without a database, as it is in all but one case here.
async fn refused_as_foreseen(fixture: &Fixture, records: &[Record]) {
    assert_eq!(records.iter().filter(|record| refusal(record).is_some()).count(), 1);
    refused(fixture, records).await;
}

async fn one_bad_row_fails_its_whole_batch(fixture: Fixture) {
    let (session, stream) = (SessionId::new(), StreamId::new());
    let mut batch = vec![
        stream_opened(stream, "anna", 0),
        presence("anna", true, 1),
        session_opened(session, "anna", 2),
        event_in(session, stream, 1),
        bad_event(),
        Record::AudioAttached(part(session, stream, 0, 10)),
    ];
    let before = fixture.everything().await;

    refused_as_foreseen(&fixture, &batch).await;

    assert_eq!(fixture.everything().await, before);
    assert_eq!(fixture.store.stream_state(stream).await.unwrap(), None);

    batch.retain(|record| record.seq() != Some(0));
    assert_eq!(fixture.write(&batch).await.events_stored, 1);
}

async fn one_bad_event_fails_its_whole_batch(fixture: Fixture) {
    let (session, stream) = (SessionId::new(), StreamId::new());
    let mut batch: Vec<_> = (1..=200).map(|seq| event_in(session, stream, seq)).collect();
    batch.push(bad_event());

    refused_as_foreseen(&fixture, &batch).await;
    assert_eq!(fixture.session_events(session, 10).await, []);

    batch.pop();
    assert_eq!(fixture.write(&batch).await.events_stored, 200);
}

async fn two_parts_cannot_be_the_same_object(fixture: Fixture) {
    let (session, stream) = (SessionId::new(), StreamId::new());
    let original = part(session, stream, 0, 10);
    let copy = AudioPart { object_key: original.object_key.clone(), ..part(session, stream, 10, 10) };
    fixture.write(&[Record::AudioAttached(original.clone())]).await;

    refused(&fixture, &[Record::AudioAttached(copy)]).await;

    assert_eq!(fixture.store.audio_parts(&[session]).await.unwrap(), [original]);
}

async fn sizes_beyond_what_sql_counts_are_refused(fixture: Fixture) {
    let (session, stream) = (SessionId::new(), StreamId::new());
    for part in [part(session, stream, 0, u64::MAX), part(session, stream, u64::MAX, 1)] {
        let batch = [stream_opened(stream, "anna", 0), Record::AudioAttached(part)];

        refused_as_foreseen(&fixture, &batch).await;

        assert_eq!(fixture.store.stream_state(stream).await.unwrap(), None);
    }
}

/// The caller's own time limit, or its end, may drop a write at any point.
async fn a_write_that_is_given_up_is_done_or_not_done(fixture: Fixture) {
    for patience_ms in [0, 1, 2, 4, 8, 16, 32] {
        let (session, stream) = (SessionId::new(), StreamId::new());
        let mut batch: Vec<_> = (1..=1_000).map(|seq| event_in(session, stream, seq)).collect();
        batch.push(stream_opened(stream, "anna", 0));
        let mut writer = fixture.writer().await;
        let patience = Duration::from_millis(patience_ms);
        let _ = tokio::time::timeout(patience, writer.write(fixture.node, &batch)).await;
        drop(writer);

        let outcome = fixture.write(&batch).await;

        assert!([0, 1_000].contains(&outcome.events_stored), "{patience_ms} ms: {outcome:?}");
        assert_eq!(fixture.session_events(session, 2_000).await.len(), 1_000);
    }
}

/// Postgres takes no NUL in a text. None can come through [`JsonText::parse`].
#[tokio::test]
async fn a_nul_is_refused_by_postgres() {
    let fixture = Fixture::postgres().await;
    let data = JsonText::from_stored("\"\0\"");
    refused_as_foreseen(&fixture, &[Record::Event(Event { data, ..event(StreamId::new(), 1) })]).await;
    let mut opened = session_opened(SessionId::new(), "anna", 0);
    let Record::SessionOpened(SessionOpened { page, .. }) = &mut opened else { unreachable!() };
    *page = Some("\0".into());
    refused_as_foreseen(&fixture, &[opened]).await;
}
