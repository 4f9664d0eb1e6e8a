//! A server for one test: its own database, its own folders, gone when the test ends.

use std::{sync::Arc, time::Duration};

use actix_web::{App, HttpServer, dev::ServerHandle};
use futures_util::future::{BoxFuture, ready};
use serde_json::Value;
use shopaloud::{
    auth::Access,
    config::{Config, Environment},
    domain::{
        Arrivals, AudioFormat, AudioPart, Event, EventName, JsonText, NodeId, Profile, Record, RunId, SessionClosed,
        SessionId, SessionOpened, SessionStatus, Sha256, StreamId, StreamOpened, Timestamp, UserId,
    },
    erasure::Erasure,
    http::{self, HttpState, Readiness},
    objects::{FileSlice, FolderStore, ObjectKey, ObjectStore, Sha256Hasher},
    session::{Registry, SessionLimits},
    store::{self, Store, StoreOptions},
    upload::DroppedAudio,
};
use tempfile::TempDir;

/// 2026-11-22T14:44:21.000Z, and every time of a test after it.
pub(crate) const EPOCH_MS: i64 = 1_795_358_661_000;

pub(crate) const fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(EPOCH_MS + ms).unwrap()
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

pub(crate) struct TestServer {
    pub(crate) base: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) objects: Arc<FolderStore>,
    pub(crate) readiness: Readiness,
    pub(crate) client: reqwest::Client,
    handle: ServerHandle,
    folder: TempDir,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::with_settings("").await
    }

    /// `settings`: of `[server]`.
    pub(crate) async fn with_settings(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = store::open(&StoreOptions {
            url: format!("sqlite:{}", folder.path().join("test.sqlite").display()),
            readers: 2,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
        })
        .await
        .unwrap();
        store.migrate().await.unwrap();
        let objects = Arc::new(FolderStore::open(folder.path().join("audio")).unwrap());
        let readiness = Readiness::default();
        let settings = format!("[storage]\ndata_dir = \"{}\"\n[server]\n{settings}", folder.path().display());
        let config = Config::from_toml(&settings, &Environment::default()).unwrap();
        let limits = SessionLimits { idle_timeout: Duration::from_mins(30), max_duration: Duration::from_hours(4) };
        // No audio is on its way in these tests.
        let nothing_to_drop = Arc::new(|_| -> BoxFuture<'static, _> { Box::pin(ready(DroppedAudio::default())) });
        let registry = Arc::new(Registry::new(limits));
        let state = HttpState {
            store: store.clone(),
            objects: objects.clone(),
            erasure: Erasure::new(store.clone(), objects.clone(), registry, nothing_to_drop),
            metrics: Arc::new(|| Ok(String::new())),
            readiness: readiness.clone(),
            access: Access::open(&config).unwrap(),
            audio_link_lifetime: config.audio_link_lifetime,
            max_header_bytes: config.server.max_header_bytes,
        };
        let server = HttpServer::new(move || App::new().configure(|cfg| http::configure(cfg, state.clone())))
            .workers(1)
            .disable_signals()
            .bind(("127.0.0.1", 0))
            .unwrap();
        let base = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { base, store, objects, readiness, client: reqwest::Client::new(), handle, folder }
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.base)).send().await.unwrap()
    }

    /// The text of an answer that must be 200 and JSON.
    pub(crate) async fn text(&self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "application/json", "{path}");
        response.text().await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    pub(crate) async fn write(&self, records: &[Record]) {
        self.store.writer().await.unwrap().write(NodeId::new(), records).await.unwrap();
    }

    /// Stores `bytes` as the audio of a run, object and row.
    pub(crate) async fn attach(&self, stream: &Stream, session: SessionId, bytes: &[u8]) -> AudioPart {
        let run = RunId::new();
        let path = self.folder.path().join(run.to_string());
        std::fs::write(&path, bytes).unwrap();
        let mut hasher = Sha256Hasher::default();
        hasher.update(bytes);
        let sha256: Sha256 = hasher.finish();
        let key = ObjectKey::for_run(session, run, AudioFormat::WebM);
        let slice = FileSlice { path, offset: 0, len: bytes.len() as u64, sha256 };
        self.objects.put(&key, "audio/webm", slice).await.unwrap();
        let part = AudioPart {
            run,
            session,
            user: stream.user.clone(),
            stream: stream.id,
            stream_offset: 0,
            started_at: at(1),
            ended_at: at(2),
            object_key: key.as_str().to_owned(),
            format: AudioFormat::WebM,
            size_bytes: bytes.len() as u64,
            sha256,
            arrivals: Arrivals::default(),
        };
        self.write(&[Record::AudioAttached(part.clone())]).await;
        part
    }

    pub(crate) async fn stop(self) {
        self.handle.stop(false).await;
        self.store.close().await;
    }
}

/// Makes the records of one page of one user.
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) user: UserId,
    seq: i64,
}

impl Stream {
    /// With the record that opens it.
    pub(crate) fn open(user_id: &str, profile: Profile, at_ms: i64) -> (Self, Record) {
        let (id, user) = (StreamId::new(), user(user_id));
        let opened = StreamOpened { stream: id, user: user.clone(), profile, at: at(at_ms) };
        (Self { id, user, seq: 0 }, Record::StreamOpened(opened))
    }

    const fn next_seq(&mut self) -> i64 {
        self.seq += 1;
        self.seq
    }

    pub(crate) fn open_session(&mut self, page: Option<&str>, at_ms: i64) -> (SessionId, Record) {
        let session = SessionId::new();
        let opened = SessionOpened {
            session,
            user: self.user.clone(),
            stream: self.id,
            seq: Some(self.next_seq()),
            page: page.map(str::to_owned),
            at: at(at_ms),
        };
        (session, Record::SessionOpened(opened))
    }

    pub(crate) fn close_session(&mut self, session: SessionId, at_ms: i64) -> Record {
        Record::SessionClosed(SessionClosed {
            session,
            user: self.user.clone(),
            stream: self.id,
            seq: Some(self.next_seq()),
            status: SessionStatus::Ended,
            at: at(at_ms),
        })
    }

    pub(crate) fn event(&mut self, session: Option<SessionId>, name: &str, data: &str, at_ms: i64) -> Record {
        Record::Event(Event {
            stream: self.id,
            seq: self.next_seq(),
            user: self.user.clone(),
            session,
            name: EventName::parse(name).unwrap(),
            data: JsonText::parse(data).unwrap(),
            client_at: None,
            received_at: at(at_ms),
        })
    }
}

/// What a refusal says.
pub(crate) async fn problem(response: reqwest::Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    response.json().await.unwrap()
}
