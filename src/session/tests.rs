//! The decisions of a session, one story each: messages in, effects out.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    effect::Effect,
    registry::{ConnectionId, Now, Registry, SessionLimits},
    state::{SessionSettings, SessionState, Surroundings},
};
use crate::{
    auth::{self, Visit, keyring::Keyring},
    domain::{AudioFormat, EventName, JsonText, Record, RunId, SessionId, SessionStatus, StreamId, Timestamp, UserId},
    persist::{FenceReason, RecordsStored, RejectedRecord, StreamLookup, StreamReady},
    protocol::{AckTag, ClientEvent, ClientMessage, ErrorCode, Hello, ServerMessage, StartRecording},
    runtime::Permit,
    session::SessionNews,
    store::OpenSession,
    upload::AudioJournaled,
};

const SETTINGS: SessionSettings = SessionSettings {
    end_grace: Duration::from_secs(2),
    reconnect_grace: Duration::from_secs(15),
    touch_interval: Duration::from_secs(30),
};
const WEBM: &[u8] = &[0x1A, 0x45, 0xDF, 0xA3, 1, 2, 3, 4];

/// A node with a steady clock that a test moves.
struct Node {
    registry: Registry,
    visit: Visit,
    now: Now,
    connections: u64,
}

impl Node {
    fn new() -> Self {
        let limits = SessionLimits { idle_timeout: Duration::from_mins(30), max_duration: Duration::from_hours(4) };
        let now = Now { wall: Timestamp::from_unix_ms(1_700_000_000_000).unwrap(), steady: Instant::now() };
        let visit = auth::testing::visit(&auth::testing::access(Keyring::default(), ""));
        Self { registry: Registry::new(limits), visit, now, connections: 0 }
    }

    fn pass(&mut self, duration: Duration) {
        self.now.steady += duration;
        let wall_ms = self.now.wall.as_unix_ms() + i64::try_from(duration.as_millis()).unwrap();
        self.now.wall = Timestamp::from_unix_ms(wall_ms).unwrap();
    }

    fn connect(&mut self) -> Client {
        self.connections += 1;
        Client { id: ConnectionId(self.connections), state: SessionState::default(), stream: None }
    }

    /// A client whose hello was answered.
    fn hello(&mut self, user: &str) -> (Client, Vec<Effect>) {
        let mut client = self.connect();
        let effects = client.resume(self, user, None, StreamLookup::New);
        (client, effects)
    }
}

struct Client {
    id: ConnectionId,
    state: SessionState,
    stream: Option<StreamId>,
}

impl Client {
    fn around<'a>(&self, node: &'a Node) -> Surroundings<'a> {
        let visit = &node.visit;
        Surroundings { connection: self.id, registry: &node.registry, settings: &SETTINGS, visit, now: node.now }
    }

    fn say(&mut self, node: &Node, message: ClientMessage) -> Vec<Effect> {
        let around = self.around(node);
        self.state.on_message(message, Permit::none(), around)
    }

    fn resume(&mut self, node: &Node, user: &str, stream: Option<StreamId>, lookup: StreamLookup) -> Vec<Effect> {
        let hello = Hello { user: Some(self::user(user)), stream, ..Hello::default() };
        let effects = self.say(node, ClientMessage::Hello(hello));
        self.ready(node, &effects, lookup, None)
    }

    /// Answers the look-up among `effects`.
    fn ready(
        &mut self,
        node: &Node,
        effects: &[Effect],
        state: StreamLookup,
        open_session: Option<OpenSession>,
    ) -> Vec<Effect> {
        let stream = effects
            .iter()
            .find_map(|effect| match effect {
                Effect::OpenStream { stream, .. } => Some(*stream),
                _ => None,
            })
            .expect("a stream is opened");
        self.stream = Some(stream);
        let around = self.around(node);
        self.state.on_stream_ready(&StreamReady { stream, state, open_session }, around)
    }

    fn stored(&mut self, ticket: u64) -> Vec<ServerMessage> {
        let stream = self.stream.unwrap();
        sent(&self.state.on_records_stored(&RecordsStored { stream, ticket, rejected: Vec::new() }))
    }

    fn start(&mut self, node: &Node, seq: Option<i64>) -> Vec<Effect> {
        let ack = seq.map_or(AckTag::None, AckTag::Seq);
        self.say(node, ClientMessage::StartRecording(StartRecording { seq, ack, ..StartRecording::default() }))
    }

    fn end(&mut self, node: &Node, seq: Option<i64>) -> Vec<Effect> {
        let ack = seq.map_or(AckTag::None, AckTag::Seq);
        self.say(node, ClientMessage::EndRecording { user: None, seq, ack })
    }

    fn event(&mut self, node: &Node, seq: Option<i64>) -> Vec<Effect> {
        self.say(node, event(None, seq))
    }

    fn audio(&mut self, node: &Node, bytes: &'static [u8]) -> Vec<Effect> {
        let bytes = Bytes::from_static(bytes);
        self.say(node, ClientMessage::Audio { user: None, bytes, ack: AckTag::Seq(0), starts_recording: false })
    }

    /// What the published widget sends for each chunk.
    fn widget_audio(&mut self, node: &Node, bytes: &'static [u8]) -> Vec<Effect> {
        let (bytes, user) = (Bytes::from_static(bytes), Some(user("anna")));
        self.say(node, ClientMessage::Audio { user, bytes, ack: AckTag::None, starts_recording: true })
    }

    fn lose(&mut self, node: &Node) -> Vec<Effect> {
        let around = self.around(node);
        self.state.on_connection_lost(around)
    }
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn event(user: Option<&str>, seq: Option<i64>) -> ClientMessage {
    ClientMessage::Event(ClientEvent {
        user: user.map(self::user),
        name: EventName::parse("click:event").unwrap(),
        data: JsonText::null(),
        seq,
        at: None,
        ack: seq.map_or(AckTag::None, AckTag::Seq),
    })
}

fn records(effects: &[Effect]) -> Vec<Record> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Append { records, .. } => Some(records.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}

fn sent(effects: &[Effect]) -> Vec<ServerMessage> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send(message) => Some(message.clone()),
            _ => None,
        })
        .collect()
}

fn last_ticket(effects: &[Effect]) -> u64 {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Append { ticket, .. } => Some(*ticket),
            _ => None,
        })
        .max()
        .expect("something was appended")
}

fn opened_session(effects: &[Effect]) -> Option<SessionId> {
    records(effects).iter().find_map(|record| match record {
        Record::SessionOpened(opened) => Some(opened.session),
        _ => None,
    })
}

/// `(seq, session)` of the events among `effects`.
fn events(effects: &[Effect]) -> Vec<(i64, Option<SessionId>)> {
    records(effects)
        .into_iter()
        .filter_map(|record| match record {
            Record::Event(event) => Some((event.seq, event.session)),
            _ => None,
        })
        .collect()
}

fn begun(effects: &[Effect]) -> Option<(RunId, AudioFormat, u64)> {
    effects.iter().find_map(|effect| match effect {
        Effect::BeginRun(begin) => Some((begin.run, begin.format, begin.stream_offset)),
        _ => None,
    })
}

/// `(run, new bytes, stream end)` of the audio among `effects`.
fn audio(effects: &[Effect]) -> Option<(RunId, usize, u64)> {
    effects.iter().find_map(|effect| match effect {
        Effect::AppendAudio(audio) => Some((audio.run, audio.bytes.len(), audio.stream_end)),
        _ => None,
    })
}

fn finished(effects: &[Effect]) -> Vec<(RunId, Duration)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::FinishRun(finish) => Some((finish.run, finish.grace)),
            _ => None,
        })
        .collect()
}

fn closed_for(effects: &[Effect]) -> Option<ErrorCode> {
    match effects {
        [.., Effect::Send(ServerMessage::Error { code, .. }), Effect::Close(closed)] if code == closed => Some(*code),
        _ => None,
    }
}

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
fn acks_are_paid_when_the_ticket_is_durable_and_never_before() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    let start = last_ticket(&client.start(&node, Some(1)));
    let first = last_ticket(&client.event(&node, Some(2)));
    let second = last_ticket(&client.event(&node, Some(3)));
    let third = last_ticket(&client.event(&node, Some(4)));
    assert!(client.stored(start - 1).is_empty());
    assert!(matches!(
        client.stored(first)[..],
        [
            ServerMessage::RecordingStarted { tag: AckTag::Seq(1), resumed: false, .. },
            ServerMessage::Acked(AckTag::Seq(2))
        ]
    ));
    assert!(client.stored(first).is_empty(), "paid once");
    assert_eq!(client.stored(third), [ServerMessage::Acked(AckTag::Seq(4))], "one answer for {second} and {third}");
}

#[test]
fn a_rejected_event_is_named_and_not_acknowledged_by_id() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    for (id, seq) in [(70, 1), (71, 2)] {
        let ClientMessage::Event(mut event) = event(None, Some(seq)) else { unreachable!() };
        event.ack = AckTag::Id(id);
        client.say(&node, ClientMessage::Event(event));
    }
    let rejected = vec![RejectedRecord { seq: Some(1), reason: "no".into() }];
    let stored = RecordsStored { stream: client.stream.unwrap(), ticket: 10, rejected };
    assert_eq!(
        sent(&client.state.on_records_stored(&stored)),
        [
            ServerMessage::Error { code: ErrorCode::Rejected, message: "no".into(), seq: Some(1) },
            ServerMessage::Acked(AckTag::Id(71))
        ]
    );
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
fn numbers_given_while_the_database_is_away_collide_with_none_before() {
    let mut node = Node::new();
    let mut client = node.connect();
    client.resume(&node, "anna", Some(StreamId::new()), StreamLookup::Unknown);
    let effects = client.event(&node, None);
    assert!(events(&effects)[0].0 > 1_000_000_000_000);
    assert_eq!(events(&client.event(&node, Some(5)))[0].0, 5, "a client's own number stays");
}

#[test]
fn a_repeated_word_is_obeyed_once() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    let first = opened_session(&client.start(&node, Some(1)));
    client.end(&node, Some(2));
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
fn a_session_asked_for_by_name_must_be_the_open_one() {
    let mut node = Node::new();
    let mut client = node.connect();
    let hello = Hello { user: Some(user("anna")), session: Some(SessionId::new()), ..Hello::default() };
    let opening = client.say(&node, ClientMessage::Hello(hello));
    let effects = client.ready(&node, &opening, StreamLookup::New, None);
    assert_eq!(closed_for(&effects), Some(ErrorCode::UnknownSession));
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
fn arrival_never_goes_back_within_a_stream() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    let first = records(&client.event(&node, None));
    node.now.wall = node.now.wall.minus(Duration::from_hours(1));
    let second = records(&client.event(&node, None));
    let (Record::Event(first), Record::Event(second)) = (&first[0], &second[0]) else { panic!("no events") };
    assert!(second.received_at >= first.received_at);
}

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

#[test]
fn audio_sent_again_is_taken_once() {
    let mut node = Node::new();
    let (mut client, _) = node.hello("anna");
    client.start(&node, None);
    let (run, ..) = begun(&client.audio(&node, WEBM)).unwrap();
    client.audio(&node, b"12345678");
    client.state.on_audio_journaled(AudioJournaled { stream_end: 8, ticket: 1 });
    client.lose(&node);
    let mut again = node.connect();
    let known = StreamLookup::Known { last_seq: 0, audio_end: 0 };
    let effects = again.resume(&node, "anna", client.stream, known);
    assert!(matches!(sent(&effects)[..], [ServerMessage::Welcome { audio_offset: 8, .. }]));
    assert_eq!(audio(&again.audio(&node, b"1234")), Some((run, 0, 12)), "known, but its ack is owed");
    assert_eq!(audio(&again.audio(&node, b"5678new")), Some((run, 3, 19)));
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
