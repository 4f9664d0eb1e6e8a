//! The configuration: `config.toml`, then `.env`, then the environment, become one checked value.
//!
//! Owns: every key, its default, its rules. No other module reads the environment.
//! Promises: a [`Config`] that exists holds no contradiction; an error is a line naming the key and the reason.
//! Refuses: unknown keys, and printing secrets.

mod access;
mod check;
mod environment;
mod file;
mod networks;
mod secret;
mod sections;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub use access::{Auth, ForwardedHeader, Limits};
pub use environment::Environment;
pub use networks::Networks;
pub use secret::Secret;
pub use sections::{AckMode, Audio, Database, Journal, Log, LogFormat, Memory, Retention, Server, Session, Storage};

use file::Settings;

/// The file that is taken without `--config`, if it is there.
pub const DEFAULT_FILE: &str = "config.toml";

/// Everything an operator decides; immutable once loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    pub server: Server,
    pub memory: Memory,
    pub storage: Storage,
    pub database: Database,
    /// `postgres://…`, `postgresql://…` or `sqlite:path`.
    pub database_url: Secret,
    pub journal: Journal,
    pub audio: Audio,
    pub audio_store: AudioStore,
    /// How long a URL that is handed out for audio plays, wherever the audio is.
    pub audio_link_lifetime: Duration,
    pub session: Session,
    pub retention: Retention,
    pub auth: Auth,
    /// The file that keys are kept in, whether it is there or not.
    pub keys_file: PathBuf,
    pub limits: Limits,
    /// `None`: plain HTTP.
    pub tls: Option<Tls>,
    pub log: Log,
}

/// Where audio is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AudioStore {
    /// `<data_dir>/audio`.
    Folder,
    S3(S3),
}

/// A bucket and the way to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct S3 {
    /// `None`: AWS itself.
    pub endpoint: Option<String>,
    pub region: String,
    pub bucket: String,
    pub access_key: Secret,
    pub secret_key: Secret,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    pub path_style: bool,
    pub part_size_bytes: u64,
    pub presign_lifetime: Duration,
}

/// What HTTPS is served with: files in PEM, read again when they change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub handshake_timeout: Duration,
}

/// Why there is no configuration to run with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read: {source}", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} line {line}: {reason}", .path.display())]
    File { path: PathBuf, line: usize, reason: String },
    #[error("{}: entry {entry} is not NAME=value", .path.display())]
    DotEnv { path: PathBuf, entry: usize },
    #[error("{name} {reason}")]
    Environment { name: &'static str, reason: String },
    /// One line for each contradiction.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}

impl Config {
    /// Reads `file` (without one: `./config.toml` if it is there), `./.env` and the environment.
    ///
    /// # Errors
    /// [`ConfigError`], one line for each thing wrong.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let settings = match file {
            Some(file) => Settings::read(file)?,
            None if Path::new(DEFAULT_FILE).exists() => Settings::read(Path::new(DEFAULT_FILE))?,
            None => Settings::default(),
        };
        Self::build(settings, &Environment::of_process(Path::new("."))?)
    }

    /// The same from a text and given variables: for tests, which share one process environment.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_toml(text: &str, environment: &Environment) -> Result<Self, ConfigError> {
        let settings = Settings::parse(text).map_err(|(line, reason)| ConfigError::File {
            path: DEFAULT_FILE.into(),
            line,
            reason,
        })?;
        Self::build(settings, environment)
    }

    fn build(mut settings: Settings, environment: &Environment) -> Result<Self, ConfigError> {
        environment.apply(&mut settings)?;
        check::finish(settings)
    }
}

impl S3 {
    /// For log lines: the host and the bucket, no credentials.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} at {}", self.bucket, self.endpoint.as_deref().unwrap_or("AWS"))
    }
}

#[cfg(test)]
mod tests;
