//! The decisions of a session, one story each: messages in, effects out. What they are told with is here; the stories
//! are told below, by idea.

mod audio;
mod events;
mod identity;
mod opening;
mod recordings;

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

    fn news(&mut self, node: &Node, news: SessionNews) -> Vec<Effect> {
        let around = self.around(node);
        self.state.on_news(news, "", around)
    }

    fn resume(&mut self, node: &Node, user: &str, stream: Option<StreamId>, lookup: StreamLookup) -> Vec<Effect> {
        self.resume_at(node, user, stream, 0, lookup)
    }

    /// As a client that has nothing of the stream's audio before `audio_offset` any more.
    fn resume_at(
        &mut self,
        node: &Node,
        user: &str,
        stream: Option<StreamId>,
        audio_offset: u64,
        lookup: StreamLookup,
    ) -> Vec<Effect> {
        let hello = Hello { user: Some(self::user(user)), stream, audio_offset, ..Hello::default() };
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
