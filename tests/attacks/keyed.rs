//! A server with keys, made as an operator makes them, and clients that show them.

use std::{net::SocketAddr, process::Command};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{
    client::PlainClient,
    keys::{keys, new_key},
    server::{Backend, PATIENCE, TestServer},
};

/// The pages of the write key.
pub(crate) const SHOP: &str = "https://shop.example";

/// A server and the secrets of its keys.
pub(crate) struct KeyedServer {
    pub(crate) server: TestServer,
    pub(crate) write: String,
    pub(crate) read: String,
    pub(crate) admin: String,
    pub(crate) token_secret: String,
    pub(crate) client: reqwest::Client,
}

impl KeyedServer {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    pub(crate) fn start_with(settings: &'static str) -> Self {
        Self::start_on(Backend::Embedded, settings)
    }

    pub(crate) fn start_on(backend: Backend, settings: &'static str) -> Self {
        let mut server = TestServer::new(backend, settings);
        let write = new_key(&server, &["--kind", "write", "--name", "shop", "--origin", SHOP]);
        let read = new_key(&server, &["--kind", "read", "--name", "dashboard"]);
        let admin = new_key(&server, &["--kind", "admin", "--name", "owner"]);
        let token_secret = new_key(&server, &["--kind", "token", "--name", "shop"]);
        server.restart();
        Self { server, write, read, admin, token_secret, client: reqwest::Client::new() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn hello(&self, user: &str) -> Value {
        json!({"userId": user, "key": self.write})
    }

    pub(crate) async fn plain(&self, user: &str) -> PlainClient {
        PlainClient::hello_with(self.address(), self.hello(user)).await.0
    }

    pub(crate) fn request(&self, path: &str, key: &str) -> reqwest::RequestBuilder {
        self.client.get(self.server.url(path)).bearer_auth(key)
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.request(path, &self.read).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// Waits until a request with `key` is answered so: changes of keys take a moment.
    pub(crate) async fn until_status(&self, path: &str, key: &str, status: u16) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.request(path, key).send().await.unwrap().status() != status {
            assert!(tokio::time::Instant::now() < deadline, "{path} is never {status}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// A token of the shop for `user`, signed as the shop's server would.
    pub(crate) fn token(&self, user: &str, lifetime_s: i64) -> String {
        let claims = json!({"sub": user, "exp": now_s() + lifetime_s});
        sign(&json!({"alg": "HS256", "typ": "JWT"}), &claims, &self.token_secret)
    }
}

pub(crate) fn now_s() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

pub(crate) fn sign(header: &Value, claims: &Value, secret: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&signed);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// The id under which `keys list` has the key of this name.
pub(crate) fn id_of(server: &TestServer, name: &str) -> String {
    let (list, _) = keys(server, &["list"]);
    let line = list.lines().find(|line| line.split_whitespace().nth(2) == Some(name)).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

/// Runs a command that must fail; its exit code and what it said.
pub(crate) fn failure(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A Socket.IO client over long polling, by hand: what a refused handshake is, byte for byte.
pub(crate) struct Polling {
    client: reqwest::Client,
    url: String,
    origin: Option<&'static str>,
}

impl Polling {
    /// Opens an Engine.IO session; the status when that is refused.
    pub(crate) async fn open(
        server: &TestServer,
        query: &str,
        origin: Option<&'static str>,
    ) -> Result<Self, reqwest::Response> {
        let client = reqwest::Client::new();
        let url = server.url(&format!("/socket.io/?EIO=4&transport=polling{query}"));
        let mut polling = Self { client, url, origin };
        let response = polling.request(reqwest::Method::GET).send().await.unwrap();
        if response.status() != 200 {
            return Err(response);
        }
        let open = response.text().await.unwrap();
        let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        polling.url = format!("{}&sid={}", polling.url, open["sid"].as_str().unwrap());
        Ok(polling)
    }

    /// Connects to the main namespace; the first packet that comes back.
    pub(crate) async fn connect(
        server: &TestServer,
        query: &str,
        origin: Option<&'static str>,
        auth: &Value,
    ) -> String {
        let polling = Self::open(server, query, origin).await.unwrap();
        polling.say(&format!("40{auth}")).await;
        polling.hear().await
    }

    fn request(&self, method: reqwest::Method) -> reqwest::RequestBuilder {
        let request = self.client.request(method, &self.url);
        match self.origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        }
    }

    pub(crate) async fn say(&self, packet: &str) {
        let sent = self.request(reqwest::Method::POST).body(packet.to_owned()).send().await.unwrap();
        assert!(sent.status().is_success() || sent.status() == 400, "{}", sent.status());
    }

    /// A body that says it is compressed; the status of the answer.
    pub(crate) async fn post_compressed(&self, body: Vec<u8>) -> u16 {
        let request = self.request(reqwest::Method::POST).header("content-encoding", "gzip").body(body);
        request.send().await.unwrap().status().as_u16()
    }

    /// The packets of one poll.
    pub(crate) async fn hear(&self) -> String {
        self.request(reqwest::Method::GET).send().await.unwrap().text().await.unwrap()
    }
}
