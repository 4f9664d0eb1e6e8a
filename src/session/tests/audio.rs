//! Audio: runs, where bytes belong, the acks they are owed.

use super::*;
use crate::upload::UnstoredRun;

#[test]
fn audio_needs_a_recording() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    assert_eq!(closed_for(&client.audio(&node, WEBM)), Some(ErrorCode::NotRecording));
}

#[test]
fn a_container_begins_a_run_and_ends_the_one_before() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.start(&node, None);
    let first = client.audio(&node, WEBM);
    let (first_run, format, offset) = begun(&first).unwrap();
    assert_eq!((format, offset), (AudioFormat::WebM, 0));
    assert_eq!(audio(&first), Some((first_run, 8, 8)));
    let more = client.audio(&node, b"more");
    assert_eq!((begun(&more), audio(&more)), (None, Some((first_run, 4, 12))));
    let second = client.audio(&node, b"OggS\x00\x02..");
    let (second_run, format, offset) = begun(&second).unwrap();
    assert_eq!((format, offset), (AudioFormat::Ogg, 12));
    assert_eq!(finished(&second), [(first_run, Duration::ZERO)]);
    assert_ne!(first_run, second_run);
}

#[test]
fn audio_acks_count_the_streams_bytes() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.start(&node, None);
    client.audio(&node, WEBM);
    client.audio(&node, b"more");
    client.audio(&node, b"last");
    let out_of_order = client.state.on_audio_journaled(AudioJournaled { stream_end: 12, ticket: 2 });
    assert!(out_of_order.is_empty(), "what is before it is not durable yet");
    let effects = client.state.on_audio_journaled(AudioJournaled { stream_end: 8, ticket: 1 });
    assert!(matches!(sent(&effects)[..], [ServerMessage::AudioAcked { stream_end: 12, .. }]), "one count for two");
}

#[test]
fn refused_audio_is_told_and_sent_again_into_a_run_of_its_own() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.start(&node, None);
    let (run, ..) = begun(&client.audio(&node, WEBM)).unwrap();
    client.state.on_audio_journaled(AudioJournaled { stream_end: 8, ticket: 1 });
    client.audio(&node, b"lost");
    let around = client.around(&node);
    assert_eq!(closed_for(&client.state.on_audio_refused(around)), Some(ErrorCode::Aborted));
    let mut again = node.connect();
    let known = StreamLookup::Known { last_seq: 0, audio_end: 0 };
    let effects = again.resume(&node, "anna", client.stream, known);
    assert!(matches!(sent(&effects)[..], [ServerMessage::Welcome { audio_offset: 8, .. }]));
    let resent = again.audio(&node, b"lost");
    let (next_run, _, offset) = begun(&resent).unwrap();
    assert_ne!(next_run, run);
    assert_eq!((offset, audio(&resent)), (8, Some((next_run, 4, 12))));
}

#[test]
fn late_audio_belongs_to_the_recording_that_ended() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.start(&node, None);
    let (run, ..) = begun(&client.audio(&node, WEBM)).unwrap();
    assert_eq!(finished(&client.end(&node, None)), [(run, SETTINGS.end_grace)]);
    assert_eq!(audio(&client.audio(&node, b"late")).unwrap().0, run);
    node.pass(SETTINGS.end_grace + Duration::from_millis(1));
    assert_eq!(closed_for(&client.audio(&node, b"too late")), Some(ErrorCode::NotRecording));
}

#[test]
fn a_lost_run_goes_on_with_the_users_next_connection() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.start(&node, None);
    let (run, ..) = begun(&client.audio(&node, WEBM)).unwrap();
    assert_eq!(finished(&client.lose(&node)), [(run, SETTINGS.reconnect_grace)]);
    node.pass(Duration::from_secs(3));
    let (mut next, _) = node.hello("anna");
    let more = next.audio(&node, b"more of the same run");
    assert_eq!((begun(&more), audio(&more).unwrap().0), (None, run));
}

#[test]
fn a_new_container_after_a_lost_run_begins_its_own() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.start(&node, None);
    let (run, ..) = begun(&client.audio(&node, WEBM)).unwrap();
    client.lose(&node);
    let (mut next, _) = node.hello("anna");
    assert_ne!(begun(&next.audio(&node, WEBM)).unwrap().0, run);
}

/// What the upload actors answer, once it is synced.
fn recall(node: &Node, client: &Client, run: RunId, len: u64) {
    let (session, user) = (SessionId::new(), user("anna"));
    let found = UnstoredRun { run, session, user, stream_offset: 0, len, open: false };
    node.registry.recall_runs(client.stream.unwrap(), &[found], node.now, &SETTINGS);
}

#[test]
fn audio_that_was_on_its_way_is_taken_once() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.start(&node, None);
    let (run, ..) = begun(&client.audio(&node, WEBM)).unwrap();
    client.audio(&node, b"12345678");
    client.state.on_audio_journaled(AudioJournaled { stream_end: 8, ticket: 1 });
    client.lose(&node);
    let memo = node.registry.recall_stream(client.stream.unwrap()).unwrap();
    assert!(memo.audio_durable < memo.audio_accepted, "so the upload actors are asked");
    recall(&node, &client, run, 16);

    let mut again = node.connect();
    let known = StreamLookup::Known { last_seq: 0, audio_end: 0 };
    let effects = again.resume(&node, "anna", client.stream, known);
    assert!(matches!(sent(&effects)[..], [ServerMessage::Welcome { audio_offset: 16, .. }]));
    assert_eq!(audio(&again.audio(&node, b"new")), Some((run, 3, 19)), "the same run goes on");
}

#[test]
fn audio_that_never_got_to_the_journal_is_taken_again() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.start(&node, None);
    let (run, ..) = begun(&client.audio(&node, WEBM)).unwrap();
    client.audio(&node, b"12345678");
    client.state.on_audio_journaled(AudioJournaled { stream_end: 8, ticket: 1 });
    client.lose(&node);
    recall(&node, &client, run, 8);

    let mut again = node.connect();
    let known = StreamLookup::Known { last_seq: 0, audio_end: 0 };
    let effects = again.resume(&node, "anna", client.stream, known);
    assert!(matches!(sent(&effects)[..], [ServerMessage::Welcome { audio_offset: 8, .. }]));
    let resent = again.audio(&node, b"12345678");
    let (_, len, end) = audio(&resent).unwrap();
    assert_eq!((len, end), (8, 16));
}

#[test]
fn audio_that_another_node_acknowledged_is_not_asked_for_again() {
    let mut node = Node::new();
    for (claimed, stored, goes_on_at) in [(100, 0, 100), (100, 300, 300), (0, 300, 300)] {
        let mut client = node.connect();
        let lookup = StreamLookup::Known { last_seq: 0, audio_end: stored };
        let effects = client.resume_at(&node, "anna", Some(StreamId::new()), claimed, lookup);
        let [ServerMessage::Welcome { audio_offset, .. }] = sent(&effects)[..] else { panic!("{effects:?}") };
        assert_eq!(audio_offset, goes_on_at);
    }
}

#[test]
fn a_run_does_not_go_on_where_another_node_took_over_between() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.start(&node, None);
    let (run, ..) = begun(&client.audio(&node, WEBM)).unwrap();
    client.state.on_audio_journaled(AudioJournaled { stream_end: 8, ticket: 1 });
    client.lose(&node);
    // Elsewhere it got to byte 20.
    let mut again = node.connect();
    let known = StreamLookup::Known { last_seq: 0, audio_end: 0 };
    again.resume_at(&node, "anna", client.stream, 20, known);
    let more = again.audio(&node, b"more");
    let (next_run, _, offset) = begun(&more).unwrap();
    assert_ne!(next_run, run, "its next byte is the ninth");
    assert_eq!((offset, audio(&more)), (20, Some((next_run, 4, 24))));
}
