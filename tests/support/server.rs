//! The real program as a process of its own, on a port and in a folder of its own.
//!
//! Promises: ends with the test, however the test ends; the folder goes with it.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    postgres::TestPostgres,
    process::Process,
    s3::{ACCESS_KEY, BUCKET, SECRET_KEY, TestS3},
};

/// Longest wait for anything that should happen soon. Far above what a busy machine needs; never reached in a test
/// that passes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a server stores into.
#[derive(Clone)]
pub(crate) enum Backend {
    /// SQLite and a folder, in the server's own directory.
    Embedded,
    /// Postgres and S3.
    Production { database_url: String, s3: Arc<Mutex<TestS3>> },
}

impl Backend {
    /// Both, for tests whose story is the same on each.
    pub(crate) async fn all() -> Vec<Self> {
        vec![Self::Embedded, Self::production(TestPostgres::shared()).await]
    }

    /// A database of its own on `postgres`, and an S3 server of its own.
    pub(crate) async fn production(postgres: &TestPostgres) -> Self {
        let database_url = postgres.create_database().await;
        Self::Production { database_url, s3: Arc::new(Mutex::new(TestS3::start())) }
    }
}

/// A running server, or one that was ended and can be started again.
pub(crate) struct TestServer {
    folder: tempfile::TempDir,
    backend: Backend,
    /// Sections of `config.toml` beyond what the backend needs.
    settings: &'static str,
    process: Option<Child>,
    address: SocketAddr,
    peak_memory_bytes: u64,
}

impl TestServer {
    pub(crate) fn start(backend: Backend) -> Self {
        Self::start_with(backend, "")
    }

    pub(crate) fn start_with(backend: Backend, settings: &'static str) -> Self {
        let mut server = Self::new(backend, settings);
        server.restart();
        server
    }

    /// One that is not started yet.
    pub(crate) fn new(backend: Backend, settings: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { folder, backend, settings, process: None, address, peak_memory_bytes: 0 }
    }

    /// The command in the server's folder, with its configuration.
    pub(crate) fn command(&self) -> Command {
        std::fs::write(self.folder.path().join("config.toml"), self.settings).unwrap();
        // The kernel ends the server when the test dies, even by a signal that nothing can handle.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(program())
            .current_dir(self.folder.path())
            .env_clear()
            .env("PORT", "0")
            .env("RUST_LOG", "warn");
        if let Backend::Production { database_url, s3 } = &self.backend {
            command
                .env("DATABASE_URL", database_url)
                .env("S3_ENDPOINT", s3.lock().unwrap().endpoint())
                .env("S3_BUCKET", BUCKET)
                .env("S3_ACCESS_KEY", ACCESS_KEY)
                .env("S3_SECRET_KEY", SECRET_KEY);
        }
        command
    }

    /// Starts it on the same folder, after it ended.
    pub(crate) fn restart(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut process = self.command().stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut first_line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut first_line).unwrap();
        let address = first_line.trim_end().rsplit_once("//").map(|(_, address)| address.to_owned());
        self.process = Some(process);
        self.address = address.unwrap_or_else(|| panic!("the server did not start: {first_line:?}")).parse().unwrap();
    }

    /// Ends it as a crash would: nothing is flushed, nothing is closed.
    pub(crate) fn kill(&mut self) {
        self.note_memory();
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Asks it to end, and waits until it did.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.ask_to_end();
        self.ended()
    }

    /// Asks it to end; once more: at once.
    pub(crate) fn ask_to_end(&mut self) {
        self.note_memory();
        let process = self.process.as_ref().unwrap().id();
        let status = Command::new("kill").args(["-TERM", &process.to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until it ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = process.try_wait().unwrap() {
                return status;
            }
            if Instant::now() >= deadline {
                self.process = Some(process);
                panic!("the server does not end");
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// The most memory that it, or an earlier process in its place, has had.
    pub(crate) fn peak_memory_bytes(&mut self) -> u64 {
        self.note_memory();
        self.peak_memory_bytes
    }

    fn note_memory(&mut self) {
        if let Some(process) = &self.process {
            self.peak_memory_bytes = self.peak_memory_bytes.max(Process(process.id()).peak_memory_bytes());
        }
    }

    /// What it and the processes before it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Tells it to look at its keys and certificate again.
    pub(crate) fn hang_up(&self) {
        assert!(Command::new("kill").args(["-HUP", &self.pid().to_string()]).status().unwrap().success());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Whether every run of audio is where it belongs: the node keeps the others staged.
    pub(crate) fn has_stored_all_audio(&self) -> bool {
        std::fs::read_dir(self.data_dir().join("staging")).is_ok_and(|mut files| files.next().is_none())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        reqwest::get(self.url(path)).await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.json().await.unwrap()
    }

    /// The one session of `user`.
    pub(crate) async fn session_of(&self, user: &str) -> Value {
        let sessions = self.sessions_of(user).await;
        assert_eq!(sessions.len(), 1, "{sessions:#?}");
        sessions.into_iter().next().unwrap()
    }

    /// All sessions of `user`, newest first.
    pub(crate) async fn sessions_of(&self, user: &str) -> Vec<Value> {
        let answer = self.json("/sessions").await;
        let sessions = answer["sessions"].as_array().unwrap();
        sessions.iter().filter(|session| session["userId"] == user).cloned().collect()
    }

    /// Asks until `holds`; fails with the last answer when it never does.
    pub(crate) async fn until(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path).await.json().await.unwrap_or_default();
            if holds(&answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path} never came to it: {answer:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// The program under test: cargo tells tests where it is, and lays examples out beside it.
fn program() -> PathBuf {
    let told = option_env!("CARGO_BIN_EXE_shopaloud").map(PathBuf::from);
    told.unwrap_or_else(|| std::env::current_exe().unwrap().parent().unwrap().with_file_name("shopaloud"))
}
