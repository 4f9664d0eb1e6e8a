//! Filters: what they leave out, together and one by one, over pages.

use super::*;

on_every_store!(
    sessions_by_user_status_time_and_audio,
    a_filtered_list_has_pages_too,
    users_by_presence_status_time_and_audio,
    what_is_not_counted_is_zero,
    events_by_name_and_time,
    an_events_page_goes_on_within_its_filter,
);

async fn shown(fixture: &Fixture, filter: SessionFilter) -> Vec<SessionId> {
    let query = SessionQuery { filter, ..SessionQuery::page(None, 100) };
    fixture.store.sessions(&query).await.unwrap().iter().map(|row| row.session).collect()
}

async fn sessions_by_user_status_time_and_audio(fixture: Fixture) {
    let [first, second, third, fourth] = [(); 4].map(|()| SessionId::new());
    fixture
        .write(&[
            session_opened(first, "anna", 10),
            session_opened(second, "berta", 20),
            session_opened(third, "anna", 30),
            session_opened(fourth, "anna", 40),
            closed(first, SessionStatus::Ended, 50),
            closed(third, SessionStatus::Expired, 60),
            Record::AudioAttached(part(first, StreamId::new(), 0, 10)),
            Record::AudioAttached(part(fourth, StreamId::new(), 0, 10)),
            Record::AudioAttached(part(fourth, StreamId::new(), 0, 10)),
        ])
        .await;
    let any = SessionFilter::default;
    let anna = || SessionFilter { user: Some(user("anna")), ..any() };

    assert_eq!(shown(&fixture, any()).await, [fourth, third, second, first]);
    assert_eq!(shown(&fixture, anna()).await, [fourth, third, first]);
    assert_eq!(shown(&fixture, SessionFilter { user: Some(user("ann")), ..any() }).await, []);
    for (status, expected) in [
        (SessionStatus::Recording, vec![fourth, second]),
        (SessionStatus::Ended, vec![first]),
        (SessionStatus::Expired, vec![third]),
    ] {
        assert_eq!(shown(&fixture, SessionFilter { status: Some(status), ..any() }).await, expected);
    }
    assert_eq!(shown(&fixture, SessionFilter { since: Some(at(20)), ..any() }).await, [fourth, third, second]);
    assert_eq!(shown(&fixture, SessionFilter { until: Some(at(30)), ..any() }).await, [second, first]);
    assert_eq!(
        shown(&fixture, SessionFilter { since: Some(at(20)), until: Some(at(40)), ..any() }).await,
        [third, second]
    );
    assert_eq!(shown(&fixture, SessionFilter { has_audio: Some(true), ..any() }).await, [fourth, first]);
    assert_eq!(shown(&fixture, SessionFilter { has_audio: Some(false), ..any() }).await, [third, second]);
    let all_at_once = SessionFilter {
        status: Some(SessionStatus::Recording),
        since: Some(at(40)),
        until: Some(at(41)),
        has_audio: Some(true),
        ..anna()
    };
    assert_eq!(shown(&fixture, all_at_once).await, [fourth]);
}

async fn a_filtered_list_has_pages_too(fixture: Fixture) {
    let ids: Vec<_> = (0..20).map(|_| SessionId::new()).collect();
    let name = |n: usize| if n.is_multiple_of(3) { "anna" } else { "berta" };
    let records: Vec<_> = ids.iter().enumerate().map(|(n, id)| session_opened(*id, name(n), 7)).collect();
    fixture.write(&records).await;
    let mut expected: Vec<_> = ids.iter().copied().step_by(3).collect();
    expected.sort_unstable();
    expected.reverse();

    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let filter = SessionFilter { user: Some(user("anna")), ..SessionFilter::default() };
        let rows = fixture.store.sessions(&SessionQuery { filter, ..SessionQuery::page(after, 2) }).await.unwrap();
        let Some(last) = rows.last() else { break };
        after = Some(shopaloud::store::SessionCursor { opened_at: last.opened_at, session: last.session });
        seen.extend(rows.iter().map(|row| row.session));
    }
    assert_eq!(seen, expected);
}

async fn users_by_presence_status_time_and_audio(fixture: Fixture) {
    let (session, other) = (SessionId::new(), SessionId::new());
    fixture.store.begin_node(fixture.node, at(0)).await.unwrap();
    fixture
        .write(&[
            stream_opened(StreamId::new(), "anna", 10),
            stream_opened(StreamId::new(), "berta", 20),
            stream_opened(StreamId::new(), "carla", 30),
            presence("berta", true, 25),
            session_opened(session, "anna", 40),
            session_opened(other, "carla", 40),
            closed(other, SessionStatus::Ended, 50),
            Record::AudioAttached(part(session, StreamId::new(), 0, 10)),
        ])
        .await;
    let shown = async |filter: UserFilter| -> Vec<String> {
        let query = UserQuery { filter, ..UserQuery::page(None, 100) };
        let rows = fixture.store.users(&query, at(100)).await.unwrap();
        rows.iter().map(|row| row.user.as_str().to_owned()).collect()
    };
    let any = UserFilter::default;

    assert_eq!(shown(any()).await, ["carla", "berta", "anna"]);
    assert_eq!(shown(UserFilter { user: Some(user("berta")), ..any() }).await, ["berta"]);
    assert_eq!(shown(UserFilter { connected: Some(true), ..any() }).await, ["berta"]);
    assert_eq!(shown(UserFilter { connected: Some(false), ..any() }).await, ["carla", "anna"]);
    assert_eq!(shown(UserFilter { status: Some(SessionStatus::Ended), ..any() }).await, ["carla"]);
    assert_eq!(shown(UserFilter { since: Some(at(20)), until: Some(at(30)), ..any() }).await, ["berta"]);
    assert_eq!(shown(UserFilter { has_audio: Some(true), ..any() }).await, ["anna"]);
    assert_eq!(shown(UserFilter { has_audio: Some(false), ..any() }).await, ["carla", "berta"]);
    let both = UserFilter { status: Some(SessionStatus::Recording), has_audio: Some(true), ..any() };
    assert_eq!(shown(both).await, ["anna"]);
}

async fn what_is_not_counted_is_zero(fixture: Fixture) {
    let (session, stream) = (SessionId::new(), StreamId::new());
    fixture
        .write(&[
            stream_opened(stream, "anna", 0),
            session_opened(session, "anna", 0),
            event_in(session, stream, 1),
            Record::Event(event(stream, 2)),
        ])
        .await;
    for (counts_events, expected) in [(true, 1), (false, 0)] {
        let sessions = SessionQuery { counts_events, ..SessionQuery::page(None, 1) };
        assert_eq!(fixture.store.sessions(&sessions).await.unwrap()[0].num_events, expected);
        let users = UserQuery { counts_events, ..UserQuery::page(None, 1) };
        assert_eq!(fixture.store.users(&users, at(0)).await.unwrap()[0].num_events, expected);
    }
}

fn named(session: SessionId, stream: StreamId, seq: i64, name: &str) -> Record {
    let name = EventName::parse(name).unwrap();
    Record::Event(Event { session: Some(session), name, ..event(stream, seq) })
}

async fn events_by_name_and_time(fixture: Fixture) {
    let (session, stream) = (SessionId::new(), StreamId::new());
    let names = ["click", "scroll", "click", "it's", "scroll", "click"];
    let records: Vec<_> = (1..).zip(names).map(|(seq, name)| named(session, stream, seq, name)).collect();
    fixture.write(&records).await;
    fixture.write(&[outside(stream, 50, "click"), outside(stream, 51, "hover")]).await;
    let shown = async |names: &[&str], since: Option<i64>, until: Option<i64>| -> Vec<i64> {
        let filter = EventFilter {
            names: names.iter().map(|name| EventName::parse(*name).unwrap()).collect(),
            since: since.map(at),
            until: until.map(at),
        };
        let query = EventQuery { filter: filter.clone(), ..EventQuery::page(None, 100) };
        let of_user = fixture.store.user_events(&[user("anna")], &query).await.unwrap();
        let rows = fixture.store.session_events(&[session], &query).await.unwrap();
        rows.iter().map(|row| row.seq).chain(of_user.iter().map(|row| row.seq)).collect()
    };

    assert_eq!(shown(&[], None, None).await, [1, 2, 3, 4, 5, 6, 50, 51]);
    assert_eq!(shown(&["click"], None, None).await, [1, 3, 6, 50]);
    assert_eq!(shown(&["it's", "hover"], None, None).await, [4, 51]);
    assert_eq!(shown(&["Click"], None, None).await, Vec::<i64>::new());
    assert_eq!(shown(&[], Some(3), Some(5)).await, [3, 4]);
    assert_eq!(shown(&["click"], Some(3), None).await, [3, 6, 50]);
    assert_eq!(shown(&["scroll"], None, Some(5)).await, [2]);
}

fn outside(stream: StreamId, seq: i64, name: &str) -> Record {
    Record::Event(Event { name: EventName::parse(name).unwrap(), ..event(stream, seq) })
}

async fn an_events_page_goes_on_within_its_filter(fixture: Fixture) {
    let (session, streams) = (SessionId::new(), [StreamId::new(), StreamId::new()]);
    let mut records = Vec::new();
    for seq in 1..=30 {
        for stream in streams {
            let name = EventName::parse(if seq % 2 == 0 { "even" } else { "odd" }).unwrap();
            let (session, received_at) = (Some(session), at(seq / 7));
            records.push(Record::Event(Event { session, name, received_at, ..event(stream, seq) }));
        }
    }
    fixture.write(&records).await;
    let filter = EventFilter { names: vec![EventName::parse("even").unwrap()], since: Some(at(1)), until: Some(at(4)) };
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let query = EventQuery { filter: filter.clone(), after, limit: 3 };
        let rows = fixture.store.session_events(&[session], &query).await.unwrap();
        let Some(last) = rows.last() else { break };
        after = Some(last.cursor());
        seen.extend(rows.iter().map(|row| row.seq));
    }
    // Received at 1 to 3: numbers 7 to 27.
    seen.sort_unstable();
    let expected: Vec<i64> = (7..=27).filter(|seq| seq % 2 == 0).flat_map(|seq| [seq, seq]).collect();
    assert_eq!(seen, expected);
}
