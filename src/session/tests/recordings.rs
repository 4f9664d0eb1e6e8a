//! Recordings: started, resumed, shared, ended by their user or by time.

use super::*;
use crate::domain::{Deletion, Doomed};

#[test]
fn events_belong_to_the_recording_while_it_is_on() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    assert_eq!(events(&client.event(&node, None)), [(1, None)]);
    let started = client.start(&node, None);
    let session = opened_session(&started);
    assert!(session.is_some());
    assert_eq!(events(&client.event(&node, None)), [(2, session)]);
    let ended = client.end(&node, None);
    assert!(matches!(&records(&ended)[..], [Record::SessionClosed(closed)]
        if Some(closed.session) == session && closed.status == SessionStatus::Ended));
    assert_eq!(events(&client.event(&node, None)), [(3, session)], "within the grace");
    node.pass(SETTINGS.end_grace + Duration::from_millis(1));
    assert_eq!(events(&client.event(&node, None)), [(4, None)]);
}

#[test]
fn a_repeated_word_is_obeyed_once() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    let first = opened_session(&client.start(&node, Some(1)));
    let ended = client.end(&node, Some(2));
    client.stored(last_ticket(&ended));
    let second = opened_session(&client.start(&node, Some(3)));
    assert!(first.is_some() && second.is_some() && first != second);
    let repeated = client.end(&node, Some(2));
    assert!(records(&repeated).is_empty(), "the second recording goes on");
    let ticket = last_ticket(&repeated);
    assert!(matches!(client.stored(ticket).last(), Some(ServerMessage::RecordingEnded { tag: AckTag::Seq(2), .. })));
    assert_eq!(events(&client.event(&node, None)), [(4, second)]);
}

#[test]
fn the_next_page_resumes_the_session() {
    let mut node = Node::new();
    let (mut page, _) = node.hello("anna");
    let session = opened_session(&page.start(&node, None));
    page.lose(&node);
    node.pass(Duration::from_secs(2));
    let (mut next, effects) = node.hello("anna");
    assert!(matches!(sent(&effects)[..], [ServerMessage::Welcome { session: welcomed, .. }] if welcomed == session));
    assert_eq!(events(&next.event(&node, None)), [(1, session)]);
    let again = next.start(&node, Some(2));
    assert_eq!(opened_session(&again), None);
    let ticket = last_ticket(&again);
    assert!(matches!(next.stored(ticket)[..], [ServerMessage::RecordingStarted { resumed: true, .. }]));
}

#[test]
fn a_session_that_only_the_database_knows_is_resumed() {
    let mut node = Node::new();
    let mut client = node.connect();
    let hello = client.say(&node, ClientMessage::Hello(Hello { user: Some(user("anna")), ..Hello::default() }));
    let session = SessionId::new();
    let at = node.now.wall.minus(Duration::from_mins(5));
    let open = OpenSession { session, opened_at: at, alive_at: at };
    client.ready(&node, &hello, StreamLookup::New, Some(open));
    assert_eq!(events(&client.event(&node, None)), [(1, Some(session))]);
}

#[test]
fn an_idle_session_ends_and_the_next_start_opens_another() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    let first = opened_session(&client.start(&node, None));
    node.pass(Duration::from_mins(31));
    let late = client.event(&node, None);
    assert_eq!(events(&late), [(1, None)]);
    assert!(records(&late).iter().any(|record| matches!(record, Record::SessionClosed(closed)
        if Some(closed.session) == first && closed.status == SessionStatus::Expired)));
    let second = opened_session(&client.start(&node, None));
    assert!(second.is_some() && second != first);
}

#[test]
fn a_session_never_outlives_its_longest_duration() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.start(&node, None);
    for _ in 0..16 {
        node.pass(Duration::from_mins(15));
        assert!(events(&client.event(&node, None))[0].1.is_some());
    }
    node.pass(Duration::from_secs(1));
    assert_eq!(events(&client.event(&node, None))[0].1, None);
}

#[test]
fn a_live_session_touches_the_database_now_and_then() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.start(&node, None);
    let is_touch = |record: &Record| matches!(record, Record::SessionTouched(_));
    node.pass(Duration::from_secs(29));
    assert!(!records(&client.event(&node, None)).iter().any(is_touch));
    node.pass(Duration::from_secs(1));
    assert!(records(&client.audio(&node, WEBM)).iter().any(is_touch));
    assert!(!records(&client.event(&node, None)).iter().any(is_touch));
}

#[test]
fn two_connections_of_one_user_share_the_session() {
    let mut node = Node::new();
    let (mut first, _) = node.hello("anna");
    let (mut second, _) = node.hello("anna");
    let session = opened_session(&first.start(&node, None)).unwrap();
    let around = second.around(&node);
    second.state.on_news(SessionNews::Opened(session), "", around);
    assert_eq!(events(&second.event(&node, None)), [(1, Some(session))]);
    assert_eq!(opened_session(&second.start(&node, None)), None);
    let (run, ..) = begun(&second.audio(&node, WEBM)).unwrap();
    first.end(&node, None);
    let around = second.around(&node);
    let closed = second.state.on_news(SessionNews::Closed(session), "", around);
    assert_eq!(finished(&closed), [(run, SETTINGS.end_grace)]);
    node.pass(Duration::from_secs(5));
    assert_eq!(events(&second.event(&node, None)), [(2, None)]);
}

#[test]
fn the_widget_starts_and_resumes_by_its_audio() {
    let mut node = Node::new();
    let mut page = node.connect();
    let hello = Hello { names_user_later: true, ..Hello::default() };
    let admitted = page.say(&node, ClientMessage::Hello(hello.clone()));
    assert!(matches!(admitted[..], [Effect::Send(ServerMessage::Admitted)]), "{admitted:?}");
    let opening = page.say(&node, ClientMessage::Identify(user("anna")));
    page.ready(&node, &opening, StreamLookup::New, None);
    let first = page.widget_audio(&node, WEBM);
    let session = opened_session(&first).unwrap();
    let (run, ..) = begun(&first).unwrap();
    let second = page.widget_audio(&node, b"more");
    assert_eq!((opened_session(&second), audio(&second).unwrap().0), (None, run));
    page.lose(&node);

    // The next page never says who it is: its first payload does.
    let mut next = node.connect();
    next.say(&node, ClientMessage::Hello(hello));
    let opening = next.say(&node, event(Some("anna"), None));
    let effects = next.ready(&node, &opening, StreamLookup::New, None);
    assert_eq!(events(&effects), [(1, Some(session))]);
    let third = next.widget_audio(&node, WEBM);
    assert!(opened_session(&third).is_none() && begun(&third).unwrap().0 != run);

    let end = ClientMessage::EndRecording { user: Some(user("anna")), seq: None, ack: AckTag::None };
    next.say(&node, end);
    let late = next.widget_audio(&node, b"late");
    assert!(opened_session(&late).is_none(), "the late chunk of the recording that ended");
    assert!(opened_session(&next.widget_audio(&node, WEBM)).is_some(), "recorded again");
}

/// What a word came to, and the one record that was written for it.
fn outcome(client: &mut Client, effects: &[Effect]) -> (Vec<ServerMessage>, Option<Record>) {
    let mut written = records(effects);
    assert!(written.len() <= 1, "{written:?}");
    (client.stored(last_ticket(effects)), written.pop())
}

#[test]
fn a_word_whose_record_was_lost_is_written_again_as_it_was() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    let opened = records(&client.start(&node, Some(1))).pop();
    let closed = records(&client.end(&node, Some(2))).pop();
    // The persistence actor died with both, before it journaled them.
    let (stream, around) = (client.stream.unwrap(), client.around(&node));
    client.state.on_fenced(stream, FenceReason::Aborted, around);
    node.pass(Duration::from_secs(1));
    let mut again = node.connect();
    again.resume(&node, "anna", Some(stream), StreamLookup::Known { last_seq: 0, audio_end: 0 });
    let (Some(Record::SessionOpened(first)), true) = (&opened, closed.is_some()) else { panic!("{opened:?}") };

    let effects = again.start(&node, Some(1));
    let (answers, written) = outcome(&mut again, &effects);
    assert_eq!(written, opened);
    assert!(matches!(&answers[..], [ServerMessage::RecordingStarted { session, resumed: false, .. }]
        if *session == first.session));
    let effects = again.end(&node, Some(2));
    let (answers, written) = outcome(&mut again, &effects);
    assert_eq!(written, closed);
    assert!(matches!(&answers[..], [ServerMessage::RecordingEnded { session: Some(session), .. }]
        if *session == first.session));
    assert!(records(&again.end(&node, Some(2))).is_empty(), "durable now");
}

#[test]
fn a_word_that_the_database_has_is_not_written_again() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.start(&node, Some(1));
    client.end(&node, Some(2));
    client.lose(&node);
    let mut again = node.connect();
    again.resume(&node, "anna", client.stream, StreamLookup::Known { last_seq: 1, audio_end: 0 });
    assert!(records(&again.start(&node, Some(1))).is_empty());
    assert_eq!(records(&again.end(&node, Some(2))).len(), 1);
}

#[test]
fn the_same_word_opens_the_same_session_on_every_node() {
    let stream = Some(StreamId::new());
    let start_on = |mut node: Node, seq| {
        let mut client = node.connect();
        client.resume(&node, "anna", stream, StreamLookup::Unknown);
        opened_session(&client.start(&node, seq)).unwrap()
    };
    assert_eq!(start_on(Node::new(), Some(7)), start_on(Node::new(), Some(7)));
    assert_ne!(start_on(Node::new(), Some(7)), start_on(Node::new(), Some(8)));
    assert_ne!(start_on(Node::new(), None), start_on(Node::new(), None));
}

#[test]
fn a_session_that_ended_here_is_not_resumed_because_the_database_does_not_know_yet() {
    let mut node = Node::new();
    let (mut page, _) = node.hello("anna");
    let session = opened_session(&page.start(&node, None)).unwrap();
    let open = OpenSession { session, opened_at: node.now.wall, alive_at: node.now.wall };
    page.end(&node, None);
    page.lose(&node);
    // The end waits in the journal, as long as the database would offer the session.
    for wait in [Duration::ZERO, SETTINGS.end_grace * 2, Duration::from_mins(20), Duration::from_mins(9)] {
        node.pass(wait);
        node.registry.sweep(node.now.steady);
        let mut next = node.connect();
        let hello = next.say(&node, ClientMessage::Hello(Hello { user: Some(user("anna")), ..Hello::default() }));
        next.ready(&node, &hello, StreamLookup::New, Some(open.clone()));
        assert_eq!(events(&next.event(&node, None)), [(1, None)], "after {wait:?}");
        next.lose(&node);
    }
}

#[test]
fn nothing_belongs_to_a_deleted_recording() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    let session = opened_session(&client.start(&node, None)).unwrap();
    let (run, ..) = begun(&client.audio(&node, WEBM)).unwrap();
    let deletion = Deletion { what: Doomed::Session(session), at: node.now.wall };
    assert!(node.registry.delete(&deletion, node.now));
    assert!(!node.registry.knows_session(session));
    client.news(&node, SessionNews::SessionDeleted(session));
    assert_eq!(events(&client.event(&node, None)), [(1, None)]);

    let next = opened_session(&client.start(&node, None));
    assert!(next.is_some() && next != Some(session));
    let more = client.audio(&node, WEBM);
    assert_ne!(begun(&more).unwrap().0, run);
    assert!(finished(&more).is_empty(), "the run went with its session");
    assert!(!node.registry.delete(&deletion, node.now), "once is enough");
    assert_eq!(events(&client.event(&node, None)), [(2, next)]);
}

#[test]
fn a_deleted_user_is_sent_away_and_forgotten() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    let session = opened_session(&client.start(&node, None)).unwrap();
    let deletion = Deletion { what: Doomed::User(user("anna")), at: node.now.wall };
    assert!(node.registry.delete(&deletion, node.now));
    assert_eq!(closed_for(&client.news(&node, SessionNews::UserDeleted)), Some(ErrorCode::Deleted));
    assert!(!node.registry.knows_session(session));
    node.pass(Duration::from_secs(1));
    let (mut next, _) = node.hello("anna");
    let later = opened_session(&next.start(&node, None)).unwrap();
    assert!(!node.registry.delete(&deletion, node.now), "what began later is another user's");
    assert!(node.registry.knows_session(later));
}
