//! The life of a session: opened, alive, expired, found alive again, ended.

use SessionStatus::{Ended, Expired, Recording};

use super::*;

on_every_store!(
    an_opened_session_is_recording_and_its_user_exists,
    an_open_session_is_found_within_its_limits,
    the_newest_open_session_is_found,
    idle_and_overlong_sessions_expire_at_their_last_sign_of_life,
    at_most_five_hundred_sessions_expire_at_once,
    a_later_sign_of_life_revives_an_expired_session,
    the_first_end_stays,
    an_idle_verdict_that_comes_again_after_a_revival_is_void,
    a_revived_session_is_ended_in_the_same_batch,
    a_session_that_is_not_known_is_left_alone,
);

async fn state(fixture: &Fixture, session: SessionId) -> (SessionStatus, Option<Timestamp>) {
    let row = fixture.store.session(session).await.unwrap().unwrap();
    (row.status, row.ended_at)
}

async fn expire(fixture: &Fixture, alive_before: i64, opened_before: i64) -> Vec<SessionId> {
    let expired = fixture.store.expire_sessions(at(alive_before), at(opened_before)).await.unwrap();
    expired.into_iter().map(|expired| expired.session).collect()
}

async fn an_opened_session_is_recording_and_its_user_exists(fixture: Fixture) {
    let session = SessionId::new();
    fixture.write(&[session_opened(session, "anna", 5)]).await;
    fixture.write(&[session_opened(session, "berta", 9)]).await;

    let row = fixture.store.session(session).await.unwrap().unwrap();
    assert_eq!((row.session, row.user, row.status), (session, user("anna"), Recording));
    assert_eq!((row.opened_at, row.ended_at, row.num_events), (at(5), None, 0));
    assert_eq!(row.page.as_deref(), Some("https://shop.example/cart"));
    let anna = fixture.store.user(&user("anna"), at(0)).await.unwrap().unwrap();
    assert_eq!((anna.created_at, anna.num_sessions, anna.connected), (at(5), 1, false));
}

async fn an_open_session_is_found_within_its_limits(fixture: Fixture) {
    let session = SessionId::new();
    let find = async |alive_since, opened_since| {
        let found = fixture.store.open_session(&user("anna"), at(alive_since), at(opened_since)).await.unwrap();
        found.map(|found| (found.session, found.opened_at, found.alive_at))
    };
    assert_eq!(find(0, 0).await, None);

    fixture.write(&[session_opened(session, "anna", 10), touched(session, 50), touched(session, 30)]).await;

    assert_eq!(find(50, 10).await, Some((session, at(10), at(50))));
    assert_eq!(find(51, 10).await, None);
    assert_eq!(find(50, 11).await, None);
    assert_eq!(fixture.store.open_session(&user("berta"), at(0), at(0)).await.unwrap(), None);

    fixture.write(&[closed(session, Ended, 60)]).await;
    assert_eq!(find(0, 0).await, None);
}

async fn the_newest_open_session_is_found(fixture: Fixture) {
    let [ended, older, newer] = [SessionId::new(), SessionId::new(), SessionId::new()];
    fixture.write(&[session_opened(newer, "anna", 20), session_opened(ended, "anna", 30)]).await;
    fixture.write(&[session_opened(older, "anna", 10), touched(older, 40), closed(ended, Ended, 31)]).await;

    let found = fixture.store.open_session(&user("anna"), at(0), at(0)).await.unwrap().unwrap();
    assert_eq!(found.session, newer);
}

async fn idle_and_overlong_sessions_expire_at_their_last_sign_of_life(fixture: Fixture) {
    let [idle, overlong, alive, ended] = [1, 2, 3, 4].map(|n| SessionId::from_bytes([n; 16]));
    fixture
        .write(&[
            session_opened(idle, "anna", 100),
            session_opened(overlong, "berta", 10),
            session_opened(alive, "clara", 100),
            session_opened(ended, "dora", 10),
            touched(idle, 199),
            touched(overlong, 300),
            touched(alive, 200),
            closed(ended, Ended, 20),
        ])
        .await;

    let mut expired = fixture.store.expire_sessions(at(200), at(100)).await.unwrap();
    expired.sort_by_key(|expired| expired.session);

    let expired: Vec<_> = expired.into_iter().map(|expired| (expired.session, expired.user)).collect();
    assert_eq!(expired, [(idle, user("anna")), (overlong, user("berta"))]);
    assert_eq!(state(&fixture, idle).await, (Expired, Some(at(199))));
    assert_eq!(state(&fixture, overlong).await, (Expired, Some(at(300))));
    assert_eq!(state(&fixture, alive).await, (Recording, None));
    assert_eq!(state(&fixture, ended).await, (Ended, Some(at(20))));
    assert!(expire(&fixture, 200, 100).await.is_empty());
}

async fn at_most_five_hundred_sessions_expire_at_once(fixture: Fixture) {
    let batch: Vec<_> = (0..501).map(|_| session_opened(SessionId::new(), "anna", 0)).collect();
    fixture.write(&batch).await;

    assert_eq!(expire(&fixture, 10, 0).await.len(), 500);
    assert_eq!(expire(&fixture, 10, 0).await.len(), 1);
    assert_eq!(expire(&fixture, 10, 0).await.len(), 0);
}

async fn a_later_sign_of_life_revives_an_expired_session(fixture: Fixture) {
    let session = SessionId::new();
    fixture.write(&[session_opened(session, "anna", 0), touched(session, 50)]).await;
    assert_eq!(expire(&fixture, 100, 0).await, [session]);

    fixture.write(&[touched(session, 50)]).await;
    assert_eq!(state(&fixture, session).await, (Expired, Some(at(50))), "known when it expired");

    fixture.write(&[touched(session, 51)]).await;
    assert_eq!(state(&fixture, session).await, (Recording, None));

    fixture.write(&[closed(session, Ended, 60), touched(session, 70)]).await;
    fixture.write(&[touched(session, 80)]).await;
    assert_eq!(state(&fixture, session).await, (Ended, Some(at(60))), "ended is ended");
}

async fn the_first_end_stays(fixture: Fixture) {
    let [by_user, by_time, at_once] = [SessionId::new(), SessionId::new(), SessionId::new()];
    fixture.write(&[by_user, by_time, at_once].map(|session| session_opened(session, "anna", 0))).await;

    fixture.write(&[closed(by_user, Ended, 10), closed(by_time, Expired, 10)]).await;
    fixture.write(&[closed(by_user, Expired, 20), closed(by_time, Ended, 20)]).await;
    fixture.write(&[closed(by_user, Ended, 5), closed(at_once, Ended, 30), closed(at_once, Ended, 31)]).await;

    assert_eq!(state(&fixture, by_user).await, (Ended, Some(at(10))));
    assert_eq!(state(&fixture, by_time).await, (Expired, Some(at(10))));
    assert_eq!(state(&fixture, at_once).await, (Ended, Some(at(30))));
}

async fn an_idle_verdict_that_comes_again_after_a_revival_is_void(fixture: Fixture) {
    let session = SessionId::new();
    let verdict = closed(session, Expired, 50);
    fixture.write(&[session_opened(session, "anna", 0), verdict.clone()]).await;
    fixture.write(&[touched(session, 49)]).await;
    assert_eq!(state(&fixture, session).await, (Expired, Some(at(50))), "a sign of life from before the verdict");
    fixture.write(&[touched(session, 60)]).await;

    fixture.write(&[verdict]).await;

    assert_eq!(state(&fixture, session).await, (Recording, None));
}

async fn a_revived_session_is_ended_in_the_same_batch(fixture: Fixture) {
    let session = SessionId::new();
    fixture.write(&[session_opened(session, "anna", 0)]).await;

    fixture.write(&[closed(session, Expired, 50), touched(session, 60), closed(session, Ended, 70)]).await;

    assert_eq!(state(&fixture, session).await, (Ended, Some(at(70))));
}

async fn a_session_that_is_not_known_is_left_alone(fixture: Fixture) {
    let session = SessionId::new();
    fixture.write(&[touched(session, 1), closed(session, Ended, 2)]).await;
    assert_eq!(fixture.store.session(session).await.unwrap(), None);
}
