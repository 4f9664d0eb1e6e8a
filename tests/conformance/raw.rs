//! A client made of plain requests and frames, for what a well-behaved client never does.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::CloseFrame},
};

use crate::echo::{EchoServer, options};
use shopaloud::session::engine::{EngineDoor, EngineOptions};

/// Longer than anything here should take, shorter than anybody's patience.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server, one of its doors, and an HTTP client.
pub(crate) struct Raw {
    pub(crate) server: EchoServer,
    pub(crate) http: Client,
    door: &'static str,
}

pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Raw {
    pub(crate) fn engineio() -> Self {
        Self::start("engine.io", &options())
    }

    /// A heartbeat to be seen, and time for a busy machine to answer it.
    pub(crate) fn patient(door: &'static str) -> Self {
        Self::start(door, &EngineOptions { ping_timeout: Duration::from_secs(5), ..options() })
    }

    /// Without the haste of the suites' heartbeat.
    pub(crate) fn calm(door: &'static str) -> Self {
        Self::start(door, &calm_options())
    }

    pub(crate) fn start(door: &'static str, options: &EngineOptions) -> Self {
        let server = EchoServer::start("127.0.0.1:0", options).unwrap();
        let http = Client::builder().timeout(PATIENCE).build().unwrap();
        Self { server, http, door }
    }

    pub(crate) fn door(&self) -> &EngineDoor {
        if self.door == "engine.io" { &self.server.engine } else { &self.server.socketio }
    }

    pub(crate) fn url(&self, query: &str) -> String {
        format!("http://{}/{}/?{query}", self.server.address, self.door)
    }

    pub(crate) async fn request(&self, method: Method, query: &str) -> Response {
        self.http.request(method, self.url(query)).send().await.unwrap()
    }

    /// Opens a session by polling.
    pub(crate) async fn open(&self) -> String {
        let response = self.request(Method::GET, "EIO=4&transport=polling").await;
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.text().await.unwrap();
        let fields: Value = serde_json::from_str(body.strip_prefix('0').unwrap()).unwrap();
        fields["sid"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn poll(&self, sid: &str) -> (u16, String) {
        let response = self.request(Method::GET, &format!("EIO=4&transport=polling&sid={sid}")).await;
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) fn post_request(&self, sid: &str) -> reqwest::RequestBuilder {
        self.http.post(self.url(&format!("EIO=4&transport=polling&sid={sid}")))
    }

    pub(crate) async fn post(&self, sid: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
        let response = self.post_request(sid).body(body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The status of a websocket handshake that is refused.
    pub(crate) async fn refused_websocket(&self, query: &str, origin: Option<&str>) -> u16 {
        match self.try_websocket(query, origin).await {
            Err(Error::Http(response)) => response.status().as_u16(),
            other => panic!("{other:?}"),
        }
    }

    async fn try_websocket(
        &self,
        query: &str,
        origin: Option<&str>,
    ) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, Error> {
        let url = self.url(query).replacen("http", "ws", 1);
        let mut request = url.into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("Origin", origin.parse().unwrap());
        }
        connect_async(request).await.map(|(socket, _)| socket)
    }

    pub(crate) async fn websocket(&self, query: &str) -> Socket {
        Socket(self.try_websocket(query, None).await.unwrap())
    }

    /// A session that begins with a websocket; its open packet was read.
    pub(crate) async fn open_websocket(&self) -> Socket {
        let mut socket = self.websocket("EIO=4&transport=websocket").await;
        assert!(socket.text().await.starts_with("0{"));
        socket
    }

    /// A websocket for a session that polls.
    pub(crate) async fn websocket_for(&self, sid: &str) -> Socket {
        self.websocket(&format!("EIO=4&transport=websocket&sid={sid}")).await
    }

    /// A session that polled first and has a websocket now.
    pub(crate) async fn upgraded(&self) -> (String, Socket) {
        let sid = self.open().await;
        let mut socket = self.websocket_for(&sid).await;
        socket.send("2probe").await;
        assert_eq!(socket.text().await, "3probe");
        socket.send("5").await;
        (sid, socket)
    }

    /// A Socket.IO connection to the main namespace, by websocket.
    pub(crate) async fn connected(&self) -> Socket {
        let mut socket = self.open_websocket().await;
        socket.send("40").await;
        assert!(socket.text().await.starts_with("40{\"sid\":\""));
        assert_eq!(socket.text().await, "42[\"auth\",{}]");
        socket
    }

    /// Waits until the door has forgotten every session.
    pub(crate) async fn forgotten(&self) {
        until(|| self.door().sessions() == 0, "sessions are still there").await;
    }

    /// Ends the server, once nothing is left of its clients.
    pub(crate) async fn stop(self) {
        self.forgotten().await;
        until(|| self.server.budget.used_bytes() == 0, "bytes of sessions that are over are still held").await;
        self.server.stop().await;
    }
}

async fn until(is_so: impl Fn() -> bool, complaint: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{complaint}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The suites' options with the heartbeat of a product.
pub(crate) const fn calm_options() -> EngineOptions {
    EngineOptions { ping_interval: Duration::from_secs(25), ping_timeout: Duration::from_secs(20), ..options() }
}

impl Socket {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn send_binary(&mut self, bytes: &[u8]) {
        self.0.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    async fn next(&mut self) -> Option<Result<Message, Error>> {
        tokio::time::timeout(PATIENCE, self.0.next()).await.expect("nothing came for long")
    }

    pub(crate) async fn text(&mut self) -> String {
        match self.next().await {
            Some(Ok(Message::Text(text))) => text.to_string(),
            other => panic!("no text but {other:?}"),
        }
    }

    pub(crate) async fn binary(&mut self) -> Vec<u8> {
        match self.next().await {
            Some(Ok(Message::Binary(bytes))) => bytes.to_vec(),
            other => panic!("no binary but {other:?}"),
        }
    }

    /// Text that is no ping of the heartbeat, which is answered.
    pub(crate) async fn text_beside_pings(&mut self) -> String {
        loop {
            let text = self.text().await;
            if text != "2" {
                return text;
            }
            self.send("3").await;
        }
    }

    /// What came before the close, and the close.
    pub(crate) async fn closed(&mut self) -> (Vec<String>, Option<CloseFrame>) {
        let mut texts = Vec::new();
        loop {
            match self.next().await {
                Some(Ok(Message::Text(text))) => texts.push(text.to_string()),
                Some(Ok(Message::Close(frame))) => {
                    // Lets the answer to the close go out.
                    while let Some(Ok(_)) = self.next().await {}
                    return (texts, frame);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return (texts, None),
            }
        }
    }

    pub(crate) async fn close(mut self) {
        self.0.close(None).await.unwrap();
        while let Some(Ok(_)) = self.next().await {}
    }
}
