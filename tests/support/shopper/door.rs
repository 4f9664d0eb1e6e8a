//! The two doors, as their clients see them: what is said goes out as frames, what is heard comes in as meanings.
//!
//! Promises: [`Connection::next`] may be given up and called again; heartbeats are answered.
//! Refuses: to remember what was said, except for what an acknowledgement's id stands for.

use std::{borrow::Cow, collections::HashMap, net::SocketAddr};

use futures_util::{SinkExt, StreamExt, stream::SplitStream};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    net::TcpStream,
    sync::mpsc::{self, Sender},
    task::JoinHandle,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Messages on their way into the socket. A few, so that a server that does not read is noticed.
const OUTGOING: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    Plain,
    SocketIo,
}

/// Who comes.
pub(crate) struct Introduction<'a> {
    pub(crate) user: &'a str,
    /// The stream to begin or to resume. Without: the server counts.
    pub(crate) stream: Option<&'a str>,
    /// Up to here audio is acknowledged.
    pub(crate) audio_offset: u64,
}

/// Something to say. `asked`: what its acknowledgement will mean to the caller.
pub(crate) struct Saying<'a> {
    pub(crate) what: What<'a>,
    pub(crate) number: Option<u64>,
    pub(crate) asked: Option<Asked>,
}

pub(crate) enum What<'a> {
    Event {
        name: &'a str,
        data: &'a str,
    },
    Start,
    End,
    Audio(Vec<u8>),
    /// Audio as the published widget sends it, which starts a recording too.
    WidgetAudio(Vec<u8>, &'a str),
    /// The published widget says who it is.
    Identity(&'a str),
}

/// What an acknowledgement is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// The message of this number.
    Number(u64),
    /// This one and all before.
    Upto(u64),
    /// The stream's audio up to here.
    AudioUpto(u64),
    /// The end of a recording.
    End,
    /// Nothing that is written down.
    Nothing,
}

/// What a connection has for its client.
#[derive(Debug)]
pub(crate) enum Happening {
    Heard(Heard),
    /// One thing can be said now.
    Room,
}

#[derive(Debug)]
pub(crate) enum Heard {
    Welcome {
        next_seq: u64,
        audio_offset: u64,
        is_recording: bool,
    },
    /// In the server's count, which begins at the welcome's offset.
    AudioUpto(u64),
    Acknowledged(Asked),
    /// An audio run is stored, or something else that is no answer.
    News,
    Error {
        code: String,
        seq: Option<u64>,
    },
    /// It is over, in order or not.
    Closed {
        in_order: bool,
    },
    Nonsense(String),
}

/// One or two frames that belong together.
struct Frames(Message, Option<Message>);

/// A connection that was introduced. Dropped, it breaks off.
pub(crate) struct Connection {
    door: Door,
    outgoing: Sender<Frames>,
    writer: Writer,
    incoming: SplitStream<Socket>,
    asked: HashMap<u64, Asked>,
    next_id: u64,
    owes_pong: bool,
}

/// Holds the socket's other half.
struct Writer(JoinHandle<()>);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Opens a connection and says who comes. The welcome is heard later.
    pub(crate) async fn open(address: SocketAddr, door: Door, who: &Introduction<'_>) -> Option<Self> {
        let path = match door {
            Door::Plain => "ws",
            Door::SocketIo => "socket.io/?EIO=4&transport=websocket",
        };
        let (socket, _) = connect_async(format!("ws://{address}/{path}")).await.ok()?;
        let (mut sink, incoming) = socket.split();
        let (outgoing, mut waiting) = mpsc::channel::<Frames>(OUTGOING);
        // Apart, so that a server that does not read is listened to all the same.
        let writer = Writer(tokio::spawn(async move {
            while let Some(Frames(first, second)) = waiting.recv().await {
                for frame in std::iter::once(first).chain(second) {
                    if sink.send(frame).await.is_err() {
                        return;
                    }
                }
            }
            let _ = sink.close().await;
        }));
        let hello = json!({"userId": who.user, "stream": who.stream, "audioOffset": who.audio_offset});
        let hello = match (door, who.stream) {
            (Door::Plain, _) => json!({"event": "hello", "data": hello}).to_string(),
            (Door::SocketIo, Some(_)) => format!("40{hello}"),
            (Door::SocketIo, None) => "40".to_owned(),
        };
        outgoing.send(Frames(Message::text(hello), None)).await.ok()?;
        Some(Self { door, outgoing, writer, incoming, asked: HashMap::new(), next_id: 0, owes_pong: false })
    }

    /// Returns when something was heard or, where that `wants_to_speak`, when one thing can be said without waiting.
    pub(crate) async fn next(&mut self, wants_to_speak: bool) -> Happening {
        loop {
            let wants_room = (wants_to_speak || self.owes_pong) && !self.outgoing.is_closed();
            // Nobody else sends, so that a place stays free until it is used.
            let message = tokio::select! {
                message = self.incoming.next() => Some(message),
                place = self.outgoing.reserve(), if wants_room => {
                    if place.is_err() { continue }
                    None
                }
            };
            if let Some(message) = message {
                if let Some(heard) = self.understand(message) {
                    return Happening::Heard(heard);
                }
            } else if std::mem::take(&mut self.owes_pong) {
                // Behind what waits to be sent: a server that does not read hears no heartbeat either.
                let _ = self.outgoing.try_send(Frames(Message::text("3"), None));
            } else {
                return Happening::Room;
            }
        }
    }

    /// Says it, when there was [`Happening::Room`].
    pub(crate) fn say(&mut self, saying: Saying<'_>) {
        let frames = match self.door {
            Door::Plain => plain(saying.what, saying.number),
            Door::SocketIo => {
                let id = saying.asked.map(|asked| {
                    self.next_id += 1;
                    self.asked.insert(self.next_id, asked);
                    self.next_id
                });
                socketio(saying.what, saying.number, id)
            }
        };
        // There is a place, or the connection is over, which is heard.
        let _ = self.outgoing.try_send(frames);
    }

    fn understand(&mut self, message: Option<Result<Message, tungstenite::Error>>) -> Option<Heard> {
        match message {
            Some(Ok(Message::Text(text))) => match self.door {
                Door::Plain => Some(hear_plain(&text)),
                Door::SocketIo => self.hear_socketio(&text),
            },
            Some(Ok(Message::Close(_))) => Some(Heard::Closed { in_order: true }),
            Some(Ok(_)) => None,
            Some(Err(_)) | None => Some(Heard::Closed { in_order: false }),
        }
    }

    /// Says goodbye after everything said before, and waits for the answer.
    pub(crate) async fn close(self) {
        let Self { outgoing, mut incoming, writer, .. } = self;
        drop(outgoing);
        while let Some(Ok(_)) = incoming.next().await {}
        drop(writer);
    }

    fn hear_socketio(&mut self, text: &str) -> Option<Heard> {
        if text == "2" {
            self.owes_pong = true;
            return None;
        }
        if let Some(answer) = text.strip_prefix("43") {
            let digits = answer.find('[').unwrap_or(answer.len());
            let asked = answer[..digits].parse().ok().and_then(|id: u64| self.asked.remove(&id));
            return Some(asked.map_or_else(|| Heard::Nonsense(text.to_owned()), Heard::Acknowledged));
        }
        if let Some(event) = text.strip_prefix("42") {
            return Some(hear_event(event));
        }
        if text.starts_with("44") {
            return Some(Heard::Error { code: "connect_error".to_owned(), seq: None });
        }
        None
    }
}

fn plain(what: What<'_>, number: Option<u64>) -> Frames {
    let seq = number.map(|number| format!(r#","seq":{number}"#)).unwrap_or_default();
    let text = match what {
        What::Event { name, data } => format!(r#"{{"event":"{name}"{seq},"data":{data}}}"#),
        What::Start => format!(r#"{{"event":"recording:start"{seq},"data":{{"page":"/cart"}}}}"#),
        What::End => format!(r#"{{"event":"recording:end"{seq}}}"#),
        What::Audio(bytes) | What::WidgetAudio(bytes, _) => return Frames(Message::binary(bytes), None),
        What::Identity(_) => String::new(),
    };
    Frames(Message::text(text), None)
}

fn socketio(what: What<'_>, number: Option<u64>, id: Option<u64>) -> Frames {
    let seq = number.map(|number| format!(r#",{{"seq":{number}}}"#)).unwrap_or_default();
    let id = id.map(|id| id.to_string()).unwrap_or_default();
    let event = |arguments: String| Frames(Message::text(format!("42{id}[{arguments}]")), None);
    let binary = |arguments: String, bytes| {
        Frames(Message::text(format!("451-{id}[{arguments}]")), Some(Message::binary(bytes)))
    };
    match what {
        What::Event { name, data } => event(format!(r#""{name}",{data}{seq}"#)),
        What::Start => event(format!(r#""recording:start",{{"page":"/cart"}}{seq}"#)),
        What::End => event(format!(r#""recording:end",null{seq}"#)),
        What::Identity(user) => event(format!(r#""user:connected","{user}""#)),
        What::Audio(bytes) => binary(r#""audio",{"_placeholder":true,"num":0}"#.to_owned(), bytes),
        What::WidgetAudio(bytes, user) => binary(
            format!(r#""recording:start",{{"username":"{user}","data":{{"_placeholder":true,"num":0}}}}"#),
            bytes,
        ),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlainFrame {
    welcome: Option<Welcome>,
    ack: Option<u64>,
    audio_ack: Option<u64>,
    error: Option<ErrorBody>,
    event: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Welcome {
    session_id: Option<String>,
    next_seq: u64,
    audio_offset: u64,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: String,
    seq: Option<u64>,
}

impl From<Welcome> for Heard {
    fn from(welcome: Welcome) -> Self {
        let Welcome { session_id, next_seq, audio_offset } = welcome;
        Self::Welcome { next_seq, audio_offset, is_recording: session_id.is_some() }
    }
}

impl From<ErrorBody> for Heard {
    fn from(ErrorBody { code, seq }: ErrorBody) -> Self {
        Self::Error { code, seq }
    }
}

fn hear_plain(text: &str) -> Heard {
    let nonsense = || Heard::Nonsense(text.to_owned());
    let Ok(frame) = serde_json::from_str::<PlainFrame>(text) else { return nonsense() };
    match frame {
        PlainFrame { welcome: Some(welcome), .. } => welcome.into(),
        PlainFrame { ack: Some(ack), .. } => Heard::Acknowledged(Asked::Upto(ack)),
        PlainFrame { audio_ack: Some(bytes), .. } => Heard::AudioUpto(bytes),
        PlainFrame { error: Some(error), .. } => error.into(),
        PlainFrame { event: Some(event), .. } if event == "recording:ended" => Heard::Acknowledged(Asked::End),
        PlainFrame { event: Some(_), .. } => Heard::News,
        _ => nonsense(),
    }
}

fn hear_event(array: &str) -> Heard {
    #[derive(Deserialize)]
    struct Event<'a>(#[serde(borrow)] Cow<'a, str>, #[serde(borrow)] &'a serde_json::value::RawValue);
    let nonsense = || Heard::Nonsense(array.to_owned());
    let Ok(Event(name, data)) = serde_json::from_str::<Event<'_>>(array) else { return nonsense() };
    match name.as_ref() {
        "welcome" => serde_json::from_str::<Welcome>(data.get()).map_or_else(|_| nonsense(), Heard::from),
        "error" => serde_json::from_str::<ErrorBody>(data.get()).map_or_else(|_| nonsense(), Heard::from),
        _ => Heard::News,
    }
}
