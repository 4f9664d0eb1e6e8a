//! Deletions: what is marked is not stored, whoever brings it; rows go in steps; age deletes too.

use super::*;

on_every_store!(
    a_deleted_session_is_gone_and_stays_gone,
    others_are_not_touched,
    a_session_may_be_deleted_before_it_is_heard_of,
    events_go_in_steps,
    rows_of_parts_go_only_with_their_objects,
    a_deleted_user_is_gone_and_may_come_back,
    what_was_received_before_a_users_deletion_is_not_stored_after_it,
    deletions_are_found_until_they_are_finished,
    a_later_mark_on_a_user_is_not_finished_by_the_earlier_ones_end,
    old_sessions_are_those_that_are_over,
    what_belongs_to_no_session_grows_old_too,
    finished_deletions_are_forgotten,
);

fn outside(stream: StreamId, name: &str, seq: i64) -> Record {
    Record::Event(Event { user: user(name), ..event(stream, seq) })
}

/// One session of Anna's with everything that a session can have.
fn session_with_everything(session: SessionId, stream: StreamId, ms: i64) -> Vec<Record> {
    vec![
        stream_opened(stream, "anna", ms),
        session_opened(session, "anna", ms),
        event_in(session, stream, ms + 1),
        event_in(session, stream, ms + 2),
        touched(session, ms + 3),
        Record::AudioAttached(AudioPart {
            started_at: at(ms + 1),
            ended_at: at(ms + 2),
            ..part(session, stream, ms.unsigned_abs() * 1_000, 10)
        }),
        closed(session, SessionStatus::Ended, ms + 4),
    ]
}

async fn erase(fixture: &Fixture, session: SessionId) -> u64 {
    let parts: Vec<_> = fixture.store.audio_parts(&[session]).await.unwrap().iter().map(|part| part.run).collect();
    let mut events = 0;
    loop {
        let erased = fixture.store.erase_session(session, &parts).await.unwrap();
        events += erased.events;
        if erased.is_all {
            return events;
        }
    }
}

async fn a_deleted_session_is_gone_and_stays_gone(fixture: Fixture) {
    let (session, stream) = (SessionId::new(), StreamId::new());
    let records = session_with_everything(session, stream, 10);
    fixture.write(&records).await;
    assert!(!fixture.store.is_deleted(session, &user("anna"), at(11)).await.unwrap());

    fixture.store.mark_sessions_deleted(&[session], at(100)).await.unwrap();
    assert_eq!(erase(&fixture, session).await, 2);
    let outcome = fixture.write(&records).await;
    fixture.write(&[touched(session, 500)]).await;
    fixture.write(&[event_in(session, stream, 600)]).await;

    assert_eq!(outcome.events_stored, 0);
    assert_eq!(fixture.store.session(session).await.unwrap(), None);
    assert_eq!(fixture.session_events(session, 10).await, []);
    assert_eq!(fixture.store.audio_parts(&[session]).await.unwrap(), []);
    assert!(fixture.store.is_deleted(session, &user("anna"), at(700)).await.unwrap());
    assert!(fixture.store.user(&user("anna"), at(0)).await.unwrap().is_some(), "its user is another matter");
    assert_eq!(erase(&fixture, session).await, 0, "and again");
}

async fn others_are_not_touched(fixture: Fixture) {
    let (doomed, kept, stream) = (SessionId::new(), SessionId::new(), StreamId::new());
    fixture.write(&session_with_everything(kept, stream, 50)).await;
    fixture.write(&[stream_opened(StreamId::new(), "anna", 1), outside(stream, "anna", 40)]).await;
    let before = fixture.everything().await;
    fixture.store.mark_sessions_deleted(&[doomed], at(100)).await.unwrap();
    fixture.write(&session_with_everything(doomed, stream, 10)).await;
    erase(&fixture, doomed).await;
    let after = fixture.everything().await;
    assert_eq!(after, before);
}

async fn a_session_may_be_deleted_before_it_is_heard_of(fixture: Fixture) {
    let (session, stream) = (SessionId::new(), StreamId::new());
    fixture.store.mark_sessions_deleted(&[session, session], at(1)).await.unwrap();
    fixture.store.mark_sessions_deleted(&[session], at(2)).await.unwrap();
    fixture.write(&session_with_everything(session, stream, 10)).await;
    assert_eq!(fixture.store.session(session).await.unwrap(), None);
    assert_eq!(fixture.store.audio_parts(&[session]).await.unwrap(), []);
}

async fn events_go_in_steps(fixture: Fixture) {
    let (session, stream) = (SessionId::new(), StreamId::new());
    let events = i64::from(ROWS_A_STEP) + 10;
    fixture.write(&(1..=events).map(|seq| event_in(session, stream, seq)).collect::<Vec<_>>()).await;
    fixture.store.mark_sessions_deleted(&[session], at(1)).await.unwrap();

    let first = fixture.store.erase_session(session, &[]).await.unwrap();
    assert_eq!((first.events, first.is_all), (u64::from(ROWS_A_STEP), false));
    let second = fixture.store.erase_session(session, &[]).await.unwrap();
    assert_eq!((second.events, second.is_all), (10, true));
}

async fn rows_of_parts_go_only_with_their_objects(fixture: Fixture) {
    let (session, stream) = (SessionId::new(), StreamId::new());
    let [first, second] = [part(session, stream, 0, 10), part(session, stream, 10, 10)];
    fixture.write(&[&first, &second].map(|part| Record::AudioAttached(part.clone()))).await;
    fixture.store.mark_sessions_deleted(&[session], at(1)).await.unwrap();
    assert!(!fixture.store.erase_session(session, &[first.run]).await.unwrap().is_all);
    assert_eq!(fixture.store.audio_parts(&[session]).await.unwrap(), std::slice::from_ref(&second));
    assert!(fixture.store.erase_session(session, &[second.run]).await.unwrap().is_all);
}

async fn a_deleted_user_is_gone_and_may_come_back(fixture: Fixture) {
    let (session, stream, of_ben) = (SessionId::new(), StreamId::new(), StreamId::new());
    let anna = user("anna");
    let mut records = session_with_everything(session, stream, 10);
    records.extend([outside(stream, "anna", 30), presence("anna", true, 5), outside(of_ben, "ben", 30)]);
    records.push(stream_opened(of_ben, "ben", 1));
    fixture.write(&records).await;

    assert_eq!(fixture.store.user_deleted_at(&anna).await.unwrap(), None);
    let sessions = fixture.store.mark_user_deleted(&anna, at(100)).await.unwrap();
    assert_eq!(sessions, [session]);
    assert_eq!(erase(&fixture, session).await, 2);
    let erased = fixture.store.erase_user(&anna, at(100)).await.unwrap();
    assert_eq!((erased.events, erased.is_all), (1, true));

    assert_eq!(fixture.store.user(&anna, at(0)).await.unwrap(), None);
    assert_eq!(fixture.store.stream_state(stream).await.unwrap(), None);
    assert_eq!(fixture.store.user_deleted_at(&anna).await.unwrap(), Some(at(100)));
    assert_eq!(fixture.store.user(&user("ben"), at(0)).await.unwrap().unwrap().num_events, 1);

    fixture.write(&records).await;
    assert_eq!(fixture.store.user(&anna, at(0)).await.unwrap(), None, "what a journal still had");
    fixture.write(&[stream_opened(StreamId::new(), "anna", 200), outside(StreamId::new(), "anna", 210)]).await;
    let back = fixture.store.user(&anna, at(0)).await.unwrap().unwrap();
    assert_eq!((back.created_at, back.num_events, back.num_sessions), (at(200), 1, 0));
}

async fn what_was_received_before_a_users_deletion_is_not_stored_after_it(fixture: Fixture) {
    let anna = user("anna");
    fixture.store.mark_user_deleted(&anna, at(100)).await.unwrap();
    let (early, late) = (SessionId::new(), SessionId::new());
    fixture.write(&session_with_everything(early, StreamId::new(), 50)).await;
    fixture.write(&session_with_everything(late, StreamId::new(), 150)).await;

    assert_eq!(fixture.store.session(early).await.unwrap(), None);
    assert_eq!(fixture.session_events(early, 10).await, []);
    assert_eq!(fixture.store.audio_parts(&[early, late]).await.unwrap().len(), 1);
    assert_eq!(fixture.store.session(late).await.unwrap().unwrap().num_events, 2);
    assert!(fixture.store.is_deleted(early, &anna, at(100)).await.unwrap());
    assert!(!fixture.store.is_deleted(late, &anna, at(101)).await.unwrap());
}

async fn deletions_are_found_until_they_are_finished(fixture: Fixture) {
    let (session, anna) = (SessionId::new(), user("anna"));
    fixture.store.mark_sessions_deleted(&[session], at(20)).await.unwrap();
    fixture.store.mark_user_deleted(&anna, at(10)).await.unwrap();
    let of_user = Deletion { what: Doomed::User(anna), at: at(10) };
    let of_session = Deletion { what: Doomed::Session(session), at: at(20) };

    let both = [of_user.clone(), of_session.clone()];
    assert_eq!(fixture.store.unfinished_deletions(at(21), 10).await.unwrap(), both);
    assert_eq!(fixture.store.unfinished_deletions(at(20), 10).await.unwrap(), std::slice::from_ref(&of_user));
    assert_eq!(fixture.store.unfinished_deletions(at(21), 1).await.unwrap(), std::slice::from_ref(&of_user));
    assert_eq!(fixture.store.recent_deletions(at(10), 10).await.unwrap(), both);
    assert_eq!(fixture.store.recent_deletions(at(11), 10).await.unwrap(), std::slice::from_ref(&of_session));

    for deletion in &both {
        fixture.store.finish_deletion(deletion, at(30)).await.unwrap();
    }
    assert_eq!(fixture.store.unfinished_deletions(at(21), 10).await.unwrap(), []);
    assert_eq!(fixture.store.recent_deletions(at(0), 10).await.unwrap(), both);
}

async fn a_later_mark_on_a_user_is_not_finished_by_the_earlier_ones_end(fixture: Fixture) {
    let anna = user("anna");
    fixture.store.mark_user_deleted(&anna, at(10)).await.unwrap();
    fixture.store.mark_user_deleted(&anna, at(20)).await.unwrap();
    let [first, second] = [10, 20].map(|ms| Deletion { what: Doomed::User(anna.clone()), at: at(ms) });
    fixture.store.finish_deletion(&first, at(30)).await.unwrap();
    assert_eq!(fixture.store.unfinished_deletions(at(21), 10).await.unwrap(), [second]);
}

async fn old_sessions_are_those_that_are_over(fixture: Fixture) {
    let [oldest, old, recording, recent] = [(); 4].map(|()| SessionId::new());
    for (session, ms) in [(oldest, 10), (old, 20), (recording, 30), (recent, 100)] {
        fixture.write(&[session_opened(session, "anna", ms)]).await;
    }
    for session in [oldest, old, recent] {
        fixture.write(&[closed(session, SessionStatus::Ended, 200)]).await;
    }
    assert_eq!(fixture.store.old_sessions(at(100), 10).await.unwrap(), [oldest, old]);
    assert_eq!(fixture.store.old_sessions(at(100), 1).await.unwrap(), [oldest]);
}

async fn what_belongs_to_no_session_grows_old_too(fixture: Fixture) {
    let [gone, of_active, of_session, of_connected] = [(); 4].map(|()| StreamId::new());
    let session = SessionId::new();
    fixture
        .write(&[
            stream_opened(gone, "gone", 1),
            outside(gone, "gone", 2),
            outside(gone, "gone", 3),
            stream_opened(of_active, "active", 1),
            outside(of_active, "active", 2),
            outside(of_active, "active", 500),
            stream_opened(of_session, "anna", 1),
            session_opened(session, "anna", 2),
            event_in(session, of_session, 3),
            stream_opened(of_connected, "connected", 1),
            presence("connected", true, 2),
        ])
        .await;
    let mut rows = 0;
    loop {
        match fixture.store.erase_old(at(100)).await.unwrap() {
            0 => break,
            more => rows += more,
        }
    }
    assert!(rows >= 4, "{rows}");
    let users = fixture.store.users(&UserQuery::page(None, 10), at(0)).await.unwrap();
    let mut left: Vec<_> = users.iter().map(|row| (row.user.as_str(), row.num_events)).collect();
    left.sort_unstable();
    assert_eq!(left, [("active", 1), ("anna", 0), ("connected", 0)]);
    assert_eq!(fixture.session_events(session, 10).await.len(), 1);
    assert_eq!(fixture.store.stream_state(gone).await.unwrap(), None);
    assert!(fixture.store.stream_state(of_active).await.unwrap().is_some());
}

async fn finished_deletions_are_forgotten(fixture: Fixture) {
    let [session, unfinished] = [(); 2].map(|()| SessionId::new());
    fixture.store.mark_sessions_deleted(&[session, unfinished], at(10)).await.unwrap();
    let finished = Deletion { what: Doomed::Session(session), at: at(10) };
    fixture.store.finish_deletion(&finished, at(20)).await.unwrap();
    fixture.store.forget_deletions(at(20)).await.unwrap();
    assert_eq!(fixture.store.recent_deletions(at(0), 10).await.unwrap().len(), 2);
    fixture.store.forget_deletions(at(21)).await.unwrap();
    let kept = Deletion { what: Doomed::Session(unfinished), at: at(10) };
    assert_eq!(fixture.store.recent_deletions(at(0), 10).await.unwrap(), [kept]);
}
