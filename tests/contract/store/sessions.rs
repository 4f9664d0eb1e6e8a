//! The life of a session: opened, alive, expired, found alive again, ended.

use SessionStatus::{Ended, Expired, Recording};

use shopaloud::store::SessionRow;

use super::*;

on_every_store!(
    an_opened_session_is_recording_and_its_user_exists,
    an_open_session_is_found_within_its_limits,
    the_newest_open_session_is_found,
    idle_and_overlong_sessions_expire_at_their_last_sign_of_life,
    at_most_five_hundred_sessions_expire_at_once,
    a_later_sign_of_life_revives_an_expired_session,
    a_users_end_counts_more_than_time_and_the_earliest_most,
    an_idle_verdict_that_comes_again_after_a_revival_is_void,
    a_revived_session_is_ended_in_the_same_batch,
    an_end_that_comes_before_its_opening_is_kept,
    a_sign_of_life_that_comes_before_the_opening_is_kept,
    a_session_comes_out_the_same_whatever_the_order_of_its_records,
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

async fn a_users_end_counts_more_than_time_and_the_earliest_most(fixture: Fixture) {
    let [by_user, by_time, at_once] = [SessionId::new(), SessionId::new(), SessionId::new()];
    fixture.write(&[by_user, by_time, at_once].map(|session| session_opened(session, "anna", 0))).await;

    fixture.write(&[closed(by_user, Ended, 10), closed(by_time, Expired, 10)]).await;
    assert_eq!(state(&fixture, by_time).await, (Expired, Some(at(10))));
    fixture.write(&[closed(by_user, Expired, 20), closed(by_time, Ended, 20)]).await;
    fixture.write(&[closed(by_user, Ended, 15), closed(at_once, Ended, 31), closed(at_once, Ended, 30)]).await;

    assert_eq!(state(&fixture, by_user).await, (Ended, Some(at(10))));
    assert_eq!(state(&fixture, by_time).await, (Ended, Some(at(20))));
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

/// Two streams of a user are with two actors, and each of them has a backlog of its own.
async fn an_end_that_comes_before_its_opening_is_kept(fixture: Fixture) {
    let session = SessionId::new();
    fixture.write(&[closed(session, Ended, 20)]).await;
    fixture.write(&[touched(session, 15)]).await;
    assert_eq!(state(&fixture, session).await, (Ended, Some(at(20))));

    fixture.write(&[session_opened(session, "anna", 10)]).await;

    let row = fixture.store.session(session).await.unwrap().unwrap();
    assert_eq!((row.status, row.opened_at, row.ended_at), (Ended, at(10), Some(at(20))));
    assert_eq!((row.user, row.page.as_deref()), (user("anna"), Some("https://shop.example/cart")));
}

async fn a_sign_of_life_that_comes_before_the_opening_is_kept(fixture: Fixture) {
    let session = SessionId::new();
    fixture.write(&[touched(session, 90)]).await;
    fixture.write(&[session_opened(session, "anna", 10)]).await;

    let found = fixture.store.open_session(&user("anna"), at(90), at(0)).await.unwrap().unwrap();
    assert_eq!((found.session, found.opened_at, found.alive_at), (session, at(10), at(90)));
    assert!(expire(&fixture, 50, 0).await.is_empty());
}

/// As after an outage: nodes and their actors store what each has of the same sessions, in any order, some of it twice,
/// at the same time.
async fn a_session_comes_out_the_same_whatever_the_order_of_its_records(fixture: Fixture) {
    const SESSIONS: u8 = 40;
    let id = |round: u8, n: u8| SessionId::from_bytes([[round; 8], [n; 8]].concat().try_into().unwrap());
    let records_of = |session, n: u8| {
        let ms = i64::from(n);
        let all = [
            session_opened(session, "anna", 10),
            touched(session, 40 + ms),
            closed(session, Expired, 45 + ms / 2),
            touched(session, 60 + ms),
            closed(session, Expired, 40 + ms),
            closed(session, Ended, 80),
            closed(session, Ended, 70 + ms),
        ];
        // Some are never ended by their user, some are not even alive to the end.
        all.into_iter().take(3 + usize::from(n) % 5).collect::<Vec<_>>()
    };
    let row = async |session| fixture.store.session(session).await.unwrap().map(|row| SessionRow { session, ..row });
    let mut in_order = fixture.writer().await;
    for n in 0..SESSIONS {
        for record in records_of(id(0, n), n) {
            in_order.write(fixture.node, &[record]).await.unwrap();
        }
    }
    for round in 1..4 {
        let mut shares = vec![Vec::new(); 3];
        for n in 0..SESSIONS {
            for record in records_of(id(round, n), n) {
                shares[fastrand::usize(..3)].push(record.clone());
                if fastrand::bool() {
                    shares[fastrand::usize(..3)].push(record);
                }
            }
        }
        let writing = shares.into_iter().map(|mut share| {
            fastrand::shuffle(&mut share);
            let store = Arc::clone(&fixture.store);
            tokio::spawn(async move {
                let mut writer = store.writer().await.unwrap();
                while !share.is_empty() {
                    let batch = share.split_off(share.len().saturating_sub(fastrand::usize(1..20)));
                    writer.write(NodeId::new(), &batch).await.unwrap();
                }
            })
        });
        for share in writing.collect::<Vec<_>>() {
            share.await.unwrap();
        }
        for n in 0..SESSIONS {
            let expected = row(id(0, n)).await.map(|row| SessionRow { session: id(round, n), ..row });
            assert_eq!(row(id(round, n)).await, expected, "session {n}");
        }
    }
}
