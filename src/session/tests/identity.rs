//! Who a client may be: bound by a token, by a key, and until when.

use super::*;
use crate::auth::testing;

/// A node that knows the token secret of tests, and one write key.
fn node() -> (Node, auth::Access) {
    let access = testing::access(testing::ring(), "");
    let mut node = Node::new();
    node.visit = testing::visit(&access);
    (node, access)
}

fn with_token(node: &Node, named: &str, lifetime: Duration, user: Option<&str>) -> Hello {
    let token = testing::token(named, node.now.wall.plus(lifetime));
    Hello { token: Some(token), user: user.map(self::user), names_user_later: true, ..Hello::default() }
}

#[test]
fn a_stranger_is_refused_before_anything_is_opened() {
    let (mut node, _) = node();
    let mut eve = node.connect();
    let hello = Hello { user: Some(user("anna")), ..Hello::default() };
    let effects = eve.say(&node, ClientMessage::Hello(hello));
    assert_eq!(closed_for(&effects), Some(ErrorCode::Unauthorized));
    assert_eq!(effects.len(), 2, "{effects:?}");
}

#[test]
fn a_token_says_who_its_bearer_is() {
    let (mut node, _) = node();
    let mut anna = node.connect();
    let hello = with_token(&node, "anna", Duration::from_mins(5), None);
    let effects = anna.say(&node, ClientMessage::Hello(hello));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::EndAfter(time) if *time >= Duration::from_mins(5))));
    let welcomed = anna.ready(&node, &effects, StreamLookup::New, None);
    let is_anna =
        |message: &ServerMessage| matches!(message, ServerMessage::Welcome { user, .. } if user.as_str() == "anna");
    assert!(sent(&welcomed).iter().any(is_anna), "{welcomed:?}");
    assert_eq!(events(&anna.say(&node, event(Some("anna"), None))).len(), 1, "her own name may be said");
}

#[test]
fn nobody_writes_as_somebody_else() {
    let as_other: [fn() -> ClientMessage; 5] = [
        || ClientMessage::Identify(user("eve")),
        || event(Some("eve"), None),
        || ClientMessage::StartRecording(StartRecording { user: Some(user("eve")), ..StartRecording::default() }),
        || ClientMessage::EndRecording { user: Some(user("eve")), seq: None, ack: AckTag::None },
        || ClientMessage::Audio {
            user: Some(user("eve")),
            bytes: Bytes::from_static(WEBM),
            ack: AckTag::None,
            starts_recording: true,
        },
    ];
    for message in as_other {
        let (mut node, _) = node();
        let mut anna = node.connect();
        let hello = with_token(&node, "anna", Duration::from_mins(5), Some("anna"));
        let opening = anna.say(&node, ClientMessage::Hello(hello));
        // Also while her stream is still being opened.
        let mut early = node.connect();
        let hello = with_token(&node, "anna", Duration::from_mins(5), None);
        early.say(&node, ClientMessage::Hello(hello));
        assert_eq!(closed_for(&early.say(&node, message())), Some(ErrorCode::WrongUser));

        anna.ready(&node, &opening, StreamLookup::New, None);
        let effects = anna.say(&node, message());
        assert_eq!(closed_for(&effects), Some(ErrorCode::WrongUser));
        assert!(events(&effects).is_empty() && audio(&effects).is_none() && opened_session(&effects).is_none());
    }
    let (mut node, _) = node();
    let hello = with_token(&node, "anna", Duration::from_mins(5), Some("eve"));
    let effects = node.connect().say(&node, ClientMessage::Hello(hello));
    assert_eq!(closed_for(&effects), Some(ErrorCode::WrongUser));
}

#[test]
fn a_connection_ends_with_its_token() {
    let (mut node, _) = node();
    let mut anna = node.connect();
    let hello = with_token(&node, "anna", Duration::from_mins(5), None);
    let opening = anna.say(&node, ClientMessage::Hello(hello));
    anna.ready(&node, &opening, StreamLookup::New, None);
    node.pass(Duration::from_mins(5));
    assert!(anna.question(&node).is_empty(), "the leeway is hers");
    let left = anna.state.time_left(node.now.wall).unwrap();
    node.pass(left);
    assert_eq!(closed_for(&anna.question(&node)), Some(ErrorCode::TokenExpired));
    assert!(anna.question(&node).is_empty(), "once");
}

#[test]
fn a_connection_ends_with_its_key() {
    let (mut node, access) = node();
    let mut page = node.connect();
    let hello = Hello { key: Some(testing::WRITE_KEY.to_owned()), user: Some(user("anna")), ..Hello::default() };
    let opening = page.say(&node, ClientMessage::Hello(hello.clone()));
    page.ready(&node, &opening, StreamLookup::New, None);
    assert!(page.question(&node).is_empty(), "other keys may change");
    let mut slow = node.connect();
    let slow_opening = slow.say(&node, ClientMessage::Hello(hello));
    testing::replace(&access, Keyring::default());
    assert_eq!(closed_for(&page.question(&node)), Some(ErrorCode::Unauthorized));
    let late = slow.ready(&node, &slow_opening, StreamLookup::New, None);
    assert_eq!(closed_for(&late), Some(ErrorCode::Unauthorized), "nobody told it: it was not there yet");
}

#[test]
fn who_came_while_all_was_open_leaves_when_it_closes() {
    let access = testing::access(Keyring::default(), "");
    let mut node = Node::new();
    node.visit = testing::visit(&access);
    let (mut anna, _) = node.hello("anna");
    assert!(anna.question(&node).is_empty());
    testing::replace(&access, testing::ring());
    assert_eq!(closed_for(&anna.question(&node)), Some(ErrorCode::Unauthorized));
}

impl Client {
    /// The keys changed, or a timer went off.
    fn question(&mut self, node: &Node) -> Vec<Effect> {
        let around = self.around(node);
        self.state.on_identity_questioned(around)
    }
}
