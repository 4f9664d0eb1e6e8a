//! Pages: everything is read once, in order, whatever the size of a page and however equal the times.

use shopaloud::store::{SessionCursor, UserCursor};

use super::*;

on_every_store!(
    sessions_come_newest_first_without_gaps_or_doubles,
    users_come_newest_first_without_gaps_or_doubles,
    events_come_in_order_without_gaps_or_doubles,
    events_of_several_owners_stay_together,
    events_outside_sessions_belong_to_their_user,
);

async fn sessions_come_newest_first_without_gaps_or_doubles(fixture: Fixture) {
    let mut expected: Vec<_> = (0..23).map(|n| (i64::from(n / 5), SessionId::new())).collect();
    fixture.write(&expected.iter().map(|(ms, id)| session_opened(*id, "anna", *ms)).collect::<Vec<_>>()).await;
    expected.sort_unstable();
    expected.reverse();

    for page in [1, 2, 7, 23, 100] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let rows = fixture.store.sessions(&SessionQuery::page(after, page)).await.unwrap();
            assert!(rows.len() <= page as usize);
            let Some(last) = rows.last() else { break };
            after = Some(SessionCursor { opened_at: last.opened_at, session: last.session });
            seen.extend(rows.iter().map(|row| (row.opened_at, row.session)));
        }
        assert!(seen.iter().eq(expected.iter().map(|(ms, id)| (at(*ms), *id)).collect::<Vec<_>>().iter()), "{page}");
    }
}

async fn users_come_newest_first_without_gaps_or_doubles(fixture: Fixture) {
    // Names whose order differs between languages: both databases must order them as bytes, as the cursor does.
    let names = ["a", "B", "ä", "z", "Z", "_", "a b", "a-b", "ab", "10", "9", "😀"];
    let mut expected: Vec<_> = names.iter().zip(0..).map(|(name, n)| (i64::from(n / 6), user(name))).collect();
    let records: Vec<_> = expected.iter().map(|(ms, id)| stream_opened(StreamId::new(), id.as_str(), *ms)).collect();
    fixture.write(&records).await;
    expected.sort_unstable();
    expected.reverse();

    for page in [1, 5, 12, 100] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let rows = fixture.store.users(&UserQuery::page(after, page), at(0)).await.unwrap();
            let Some(last) = rows.last() else { break };
            after = Some(UserCursor { created_at: last.created_at, user: last.user.clone() });
            seen.extend(rows.iter().map(|row| row.user.as_str().to_owned()));
        }
        assert!(seen.iter().eq(expected.iter().map(|(_, id)| id.as_str())), "{page}: {seen:?}");
    }
}

async fn events_come_in_order_without_gaps_or_doubles(fixture: Fixture) {
    let (session, streams) = (SessionId::new(), [StreamId::new(), StreamId::new(), StreamId::new()]);
    let mut expected = Vec::new();
    let mut records = Vec::new();
    for seq in 1..=40 {
        for stream in streams {
            let received_at = at(seq / 15);
            expected.push((received_at, stream, seq));
            let session = Some(session);
            records.push(Record::Event(Event { session, received_at, ..event(stream, seq) }));
        }
    }
    records.push(event_in(SessionId::new(), streams[0], 1000));
    // The rows lie in the table in another order.
    for batch in records.chunks(11).rev() {
        fixture.write(batch).await;
    }
    expected.sort_unstable();

    for page in [1, 7, 40, 120, 500] {
        let events = fixture.session_events(session, page).await;
        let seen: Vec<_> = events.iter().map(|event| (event.received_at, event.stream, event.seq)).collect();
        assert_eq!(seen, expected, "{page}");
    }
}

async fn events_of_several_owners_stay_together(fixture: Fixture) {
    let [few, none, many] = [SessionId::new(), SessionId::new(), SessionId::new()];
    let stream = StreamId::new();
    let records: Vec<_> = (1..=9).map(|seq| event_in(if seq % 3 == 0 { few } else { many }, stream, seq)).collect();
    fixture.write(&records).await;
    let seqs_of = async |limit| {
        let rows = fixture.store.session_events(&[many, none, few], &EventQuery::page(None, limit)).await.unwrap();
        let runs: Vec<_> = rows.chunk_by(|one, next| one.owner == next.owner).collect();
        assert!(runs.len() <= 2, "owners alternate");
        let seqs = |owner| -> Vec<_> { rows.iter().filter(|row| row.owner == owner).map(|row| row.seq).collect() };
        (seqs(few), seqs(many), seqs(none))
    };

    assert_eq!(seqs_of(100).await, (vec![3, 6, 9], vec![1, 2, 4, 5, 7, 8], vec![]));
    for limit in 0..9 {
        let (few, many, _) = seqs_of(limit).await;
        assert_eq!(few.len() + many.len(), limit as usize);
        assert!([3, 6, 9].starts_with(&few) && [1, 2, 4, 5, 7, 8].starts_with(&many), "{few:?} {many:?}");
    }
    assert_eq!(fixture.store.session_events(&[], &EventQuery::page(None, 10)).await.unwrap(), []);
}

async fn events_outside_sessions_belong_to_their_user(fixture: Fixture) {
    let (session, stream, other) = (SessionId::new(), StreamId::new(), StreamId::new());
    let berta = |seq| Record::Event(Event { user: user("berta"), ..event(other, seq) });
    fixture
        .write(&[
            stream_opened(stream, "anna", 0),
            stream_opened(other, "berta", 0),
            session_opened(session, "anna", 0),
            Record::Event(event(stream, 1)),
            event_in(session, stream, 2),
            Record::Event(event(stream, 3)),
            berta(1),
        ])
        .await;

    let rows = fixture.store.user_events(&[user("anna"), user("berta")], &EventQuery::page(None, 10)).await.unwrap();
    let seen: Vec<_> = rows.iter().map(|row| (row.owner.as_str(), row.seq)).collect();
    assert_eq!(seen, [("anna", 1), ("anna", 3), ("berta", 1)]);
    let rest = fixture.store.user_events(&[user("anna")], &EventQuery::page(Some(rows[0].cursor()), 10)).await.unwrap();
    assert_eq!(rest, rows[1..2]);

    let anna = fixture.store.user(&user("anna"), at(0)).await.unwrap().unwrap();
    assert_eq!((anna.num_events, anna.num_sessions), (2, 1));
    assert_eq!(fixture.store.session(session).await.unwrap().unwrap().num_events, 1);
}
