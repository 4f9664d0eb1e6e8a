//! From hello to a live stream: who it is, where the stream goes on, what is refused.

use super::*;

#[test]
fn hello_is_answered_by_a_welcome_after_the_stream_is_known() {
    let mut node = Node::new();
    let (client, effects) = node.hello("anna");
    assert!(matches!(&effects[0], Effect::Join { user } if user.as_str() == "anna"));
    assert!(matches!(&records(&effects)[..], [Record::StreamOpened(_)]));
    let [ServerMessage::Welcome { stream, session: None, next_seq: 1, audio_offset: 0, .. }] = &sent(&effects)[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!(Some(*stream), client.stream);
}

#[test]
fn anything_before_hello_and_a_second_hello_close_the_connection() {
    let mut node = Node::new();
    let mut client = node.connect();
    assert_eq!(closed_for(&client.event(&node, None)), Some(ErrorCode::HelloRequired));
    assert!(client.event(&node, None).is_empty(), "a closed session says nothing more");
    let (mut client, _) = node.hello("anna");
    let again = client.say(&node, ClientMessage::Hello(Hello::default()));
    assert_eq!(closed_for(&again), Some(ErrorCode::BadMessage));
}

#[test]
fn messages_wait_in_order_while_the_stream_is_looked_up() {
    let mut node = Node::new();
    let mut client = node.connect();
    let opening = client.say(&node, ClientMessage::Hello(Hello { user: Some(user("anna")), ..Hello::default() }));
    assert!(client.event(&node, Some(1)).is_empty());
    assert!(client.event(&node, Some(2)).is_empty());
    let effects = client.ready(&node, &opening, StreamLookup::New, None);
    assert_eq!(events(&effects), [(1, None), (2, None)]);
}

#[test]
fn a_resumed_stream_goes_on_where_it_is_durable() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.event(&node, Some(1));
    client.event(&node, Some(2));
    client.lose(&node);
    let mut again = node.connect();
    let known = StreamLookup::Known { last_seq: 1, audio_end: 0 };
    let effects = again.resume(&node, "anna", client.stream, known);
    assert!(matches!(sent(&effects)[..], [ServerMessage::Welcome { next_seq: 2, .. }]));
    assert_eq!(events(&again.event(&node, None)), [(3, None)], "a number given is above those in flight");
}

#[test]
fn a_stream_of_someone_else_is_refused() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.lose(&node);
    let mut thief = node.connect();
    let hello = Hello { user: Some(user("eve")), stream: client.stream, ..Hello::default() };
    assert_eq!(closed_for(&thief.say(&node, ClientMessage::Hello(hello))), Some(ErrorCode::UnknownStream));
    let mut thief = node.connect();
    let effects = thief.resume(&node, "eve", Some(StreamId::new()), StreamLookup::Foreign);
    assert_eq!(closed_for(&effects), Some(ErrorCode::UnknownStream));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Join { .. })));
}

#[test]
fn a_session_asked_for_by_name_must_be_the_open_one() {
    let mut node = Node::new();
    let mut client = node.connect();
    let hello = Hello { user: Some(user("anna")), session: Some(SessionId::new()), ..Hello::default() };
    let opening = client.say(&node, ClientMessage::Hello(hello));
    let effects = client.ready(&node, &opening, StreamLookup::New, None);
    assert_eq!(closed_for(&effects), Some(ErrorCode::UnknownSession));
}

#[test]
fn a_message_of_another_user_opens_another_stream() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    let effects = client.say(&node, event(Some("berta"), None));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Leave { user } if user.as_str() == "anna")));
    let effects = client.ready(&node, &effects, StreamLookup::New, None);
    let [Record::StreamOpened(opened), Record::Event(event)] = &records(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!((opened.user.as_str(), event.user.as_str(), event.stream), ("berta", "berta", opened.stream));
}

#[test]
fn a_fenced_stream_says_why_and_lets_go() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    let (stream, around) = (client.stream.unwrap(), client.around(&node));
    assert!(client.state.on_fenced(StreamId::new(), FenceReason::Replaced, around).is_empty());
    let effects = client.state.on_fenced(stream, FenceReason::Replaced, around);
    assert_eq!(closed_for(&effects), Some(ErrorCode::Replaced));
    assert!(client.lose(&node).is_empty(), "let go of once");
}

#[test]
fn a_node_that_stops_says_so() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    let around = client.around(&node);
    assert_eq!(closed_for(&client.state.on_news(SessionNews::Drain, "", around)), Some(ErrorCode::Draining));
}
