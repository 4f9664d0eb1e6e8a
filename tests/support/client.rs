//! A client of the plain WebSocket door, as a stranger would write one.

use std::{collections::VecDeque, net::SocketAddr};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, http::HeaderName, protocol::CloseFrame},
};

use super::server::PATIENCE;

/// One connection.
pub(crate) struct PlainClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What came while something else was waited for.
    skipped: VecDeque<Value>,
}

impl PlainClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address, "/ws", &[]).await.unwrap()
    }

    /// At a path of the server, with these headers; the status of the answer when it is refused.
    pub(crate) async fn try_connect(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self { socket, skipped: VecDeque::new() }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Connects and introduces `user`; returns the welcome too.
    pub(crate) async fn hello(address: SocketAddr, user: &str) -> (Self, Value) {
        Self::hello_with(address, json!({"userId": user})).await
    }

    pub(crate) async fn hello_with(address: SocketAddr, hello: Value) -> (Self, Value) {
        let mut client = Self::connect(address).await;
        client.say(json!({"event": "hello", "data": hello})).await;
        let welcome = client.expect("welcome").await;
        (client, welcome)
    }

    pub(crate) async fn say(&mut self, message: Value) {
        self.send(Message::text(message.to_string())).await;
    }

    pub(crate) async fn say_raw(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    pub(crate) async fn audio(&mut self, bytes: &[u8]) {
        self.send(Message::binary(bytes.to_vec())).await;
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Like [`Self::send`], for a server that may be closing already.
    pub(crate) async fn try_send(&mut self, message: Message) -> bool {
        self.socket.send(message).await.is_ok()
    }

    /// The next text frame; `None` when the server closed.
    async fn receive(&mut self) -> Option<Result<Value, Option<CloseFrame>>> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("the server says something");
            match message {
                Some(Ok(Message::Text(text))) => return Some(Ok(serde_json::from_str(&text).unwrap())),
                Some(Ok(Message::Close(close))) => return Some(Err(close)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Waits for the first message that `wanted` picks a value from; keeps the others.
    async fn pick(&mut self, what: &str, wanted: impl Fn(&Value) -> Option<Value>) -> Value {
        if let Some(at) = self.skipped.iter().position(|message| wanted(message).is_some()) {
            let message = self.skipped.remove(at).unwrap();
            return wanted(&message).unwrap();
        }
        // The server's pings keep the socket busy, so the patience is with the whole wait.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            match self.receive().await {
                Some(Ok(message)) => match wanted(&message) {
                    Some(value) => return value,
                    None => self.skipped.push_back(message),
                },
                closed => panic!("closed before {what}: {closed:?}, after {:?}", self.skipped),
            }
        }
        panic!("no {what}, only {:?}", self.skipped)
    }

    /// The value under `key` of the next message that has it: `welcome`, `error`.
    pub(crate) async fn expect(&mut self, key: &str) -> Value {
        self.pick(key, |message| message.get(key).cloned()).await
    }

    /// The data of the next event of this name.
    pub(crate) async fn expect_event(&mut self, name: &str) -> Value {
        self.pick(name, |message| (message["event"] == name).then(|| message["data"].clone())).await
    }

    /// Waits until everything up to `seq` is acknowledged.
    pub(crate) async fn acked(&mut self, seq: i64) {
        self.pick("the ack", |message| message["ack"].as_i64().filter(|ack| *ack >= seq).map(Value::from)).await;
    }

    /// Waits until `bytes` of the stream's audio are acknowledged.
    pub(crate) async fn audio_acked(&mut self, bytes: u64) {
        self.pick("the audio ack", |message| {
            message["audioAck"].as_u64().filter(|acked| *acked >= bytes).map(Value::from)
        })
        .await;
    }

    /// Reads to the end; returns the last error's code and the close code.
    pub(crate) async fn closed_for(&mut self) -> (String, u16) {
        let mut code = self.skipped.iter().rev().find_map(error_code).unwrap_or_default();
        loop {
            match self.receive().await {
                Some(Ok(message)) => {
                    if let Some(error) = error_code(&message) {
                        code = error;
                    }
                }
                Some(Err(close)) => return (code, close.map_or(0, |close| close.code.into())),
                None => return (code, 0),
            }
        }
    }

    /// Whether the answer is a welcome, rather than the end.
    pub(crate) async fn closes_or_welcomes(&mut self) -> bool {
        loop {
            match self.receive().await {
                Some(Ok(message)) if message.get("welcome").is_some() => return true,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return false,
            }
        }
    }

    /// Starts a recording and returns its session.
    pub(crate) async fn start_recording(&mut self) -> String {
        self.say(json!({"event": "recording:start"})).await;
        let started = self.expect_event("recording:started").await;
        started["sessionId"].as_str().unwrap().to_owned()
    }

    /// Reads, and so answers pings, without anything being said for this long.
    pub(crate) async fn expect_nothing_for(&mut self, duration: std::time::Duration) {
        let deadline = tokio::time::Instant::now() + duration;
        while let Ok(message) = tokio::time::timeout_at(deadline, self.socket.next()).await {
            assert!(matches!(message, Some(Ok(Message::Ping(_) | Message::Pong(_)))), "{message:?}");
        }
    }

    /// Closes as a page does that is left; returns when the server has let go of the connection.
    pub(crate) async fn leave(mut self) {
        self.socket.close(None).await.unwrap();
        while self.receive().await.is_some() {}
    }
}

fn error_code(message: &Value) -> Option<String> {
    message["error"]["code"].as_str().map(str::to_owned)
}

/// The bytes of a run: a WebM beginning, then `length` bytes that no other `seed` gives.
pub(crate) fn run_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = vec![0x1A, 0x45, 0xDF, 0xA3];
    bytes.extend((0..length.saturating_sub(4)).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    }));
    bytes
}
