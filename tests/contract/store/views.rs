//! Views: many queries, one moment; and no reader keeps others out.

use super::*;

on_every_store!(
    a_view_shows_one_moment,
    a_view_that_ended_reads_on,
    views_leave_room_for_other_reads,
    a_view_that_is_dropped_gives_its_place_back,
);

async fn a_view_shows_one_moment(fixture: Fixture) {
    let (session, later, stream) = (SessionId::new(), SessionId::new(), StreamId::new());
    fixture.write(&[session_opened(session, "anna", 0), event_in(session, stream, 1)]).await;
    let view = fixture.store.view().await.unwrap();
    assert_eq!(view.sessions(&SessionQuery::page(None, 10)).await.unwrap()[0].num_events, 1);

    fixture
        .write(&[
            event_in(session, stream, 2),
            Record::AudioAttached(part(session, stream, 0, 10)),
            session_opened(later, "berta", 5),
            Record::Event(event(stream, 3)),
        ])
        .await;

    assert_eq!(view.session_events(&[session], &EventQuery::page(None, 10)).await.unwrap().len(), 1);
    assert_eq!(view.audio_parts(&[session]).await.unwrap(), []);
    assert_eq!(view.sessions(&SessionQuery::page(None, 10)).await.unwrap().len(), 1);
    assert_eq!(view.users(&UserQuery::page(None, 10), at(0)).await.unwrap().len(), 1);
    assert_eq!(view.user_events(&[user("anna")], &EventQuery::page(None, 10)).await.unwrap(), []);
    view.end().await;
    assert_eq!(fixture.session_events(session, 10).await.len(), 2);
}

async fn a_view_that_ended_reads_on(fixture: Fixture) {
    let session = SessionId::new();
    let view = fixture.store.view().await.unwrap();
    assert_eq!(view.sessions(&SessionQuery::page(None, 10)).await.unwrap(), []);
    view.end().await;
    fixture.write(&[session_opened(session, "anna", 0)]).await;
    assert_eq!(view.sessions(&SessionQuery::page(None, 10)).await.unwrap().len(), 1);
    view.end().await;
}

async fn views_leave_room_for_other_reads(fixture: Fixture) {
    let store = open(&StoreOptions {
        readers: 2,
        connect_timeout: Duration::from_millis(300),
        ..options(fixture.options.url.clone())
    })
    .await
    .unwrap();
    let view = store.view().await.unwrap();
    view.sessions(&SessionQuery::page(None, 1)).await.unwrap();
    let refused = store.view().await.err().unwrap();
    assert!(refused.is_retryable(), "{refused}");
    for _ in 0..5 {
        store.ping().await.unwrap();
        store.session(SessionId::new()).await.unwrap();
    }
    view.end().await;
    store.view().await.unwrap().end().await;
    store.close().await;
}

async fn a_view_that_is_dropped_gives_its_place_back(fixture: Fixture) {
    for _ in 0..12 {
        let view = fixture.store.view().await.unwrap();
        view.sessions(&SessionQuery::page(None, 1)).await.unwrap();
    }
    fixture.write(&[session_opened(SessionId::new(), "anna", 0)]).await;
    assert_eq!(fixture.store.sessions(&SessionQuery::page(None, 10)).await.unwrap().len(), 1);
}
