//! The sections of `config.toml` as types, with their defaults.
//!
//! Owns: the name, unit and default of every key. What each is good for is told in the shipped `config.toml`, which
//! a test keeps equal to these defaults.
//! Refuses: keys it does not know, so that a misspelt one is an error and not a default.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer};

use super::{ForwardedHeader, Networks, Secret};

pub(super) fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

/// 0 stands for no limit.
fn days_or_for_ever<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let days = u32::deserialize(deserializer)?;
    Ok((days > 0).then(|| Duration::from_hours(24 * u64::from(days))))
}

/// `[server]`: the port and what one connection may do.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    pub host: String,
    /// 0 lets the system choose.
    pub port: u16,
    /// Base of the URLs handed out, without a slash at the end; else the request's own host.
    pub public_url: Option<String>,
    /// HTTP threads. In a loaded [`super::Config`] never 0: "one for each core" is counted by then.
    pub workers: usize,
    /// Web pages that may connect: `https://shop.example`, `https://*.shop.example`, or `*`. Empty: only those without an `Origin`.
    pub origins: Vec<String>,
    /// Who may tell whom it speaks for.
    pub trusted_proxies: Networks,
    pub forwarded_header: ForwardedHeader,
    /// From the first byte of a request, or of the connection, to the end of its headers.
    #[serde(rename = "request_timeout_ms", deserialize_with = "milliseconds")]
    pub request_timeout: Duration,
    pub max_header_bytes: usize,
    pub max_message_bytes: u32,
    #[serde(rename = "handshake_timeout_ms", deserialize_with = "milliseconds")]
    pub handshake_timeout: Duration,
    #[serde(rename = "heartbeat_interval_ms", deserialize_with = "milliseconds")]
    pub heartbeat_interval: Duration,
    #[serde(rename = "heartbeat_timeout_ms", deserialize_with = "milliseconds")]
    pub heartbeat_timeout: Duration,
    #[serde(rename = "tcp_user_timeout_ms", deserialize_with = "milliseconds")]
    pub tcp_user_timeout: Duration,
    #[serde(rename = "message_timeout_ms", deserialize_with = "milliseconds")]
    pub message_timeout: Duration,
    pub max_connections: usize,
    #[serde(rename = "shutdown_timeout_ms", deserialize_with = "milliseconds")]
    pub shutdown_timeout: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 4001,
            public_url: None,
            workers: 0,
            origins: Vec::new(),
            trusted_proxies: Networks::default(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            request_timeout: Duration::from_secs(5),
            max_header_bytes: 16 * 1024,
            max_message_bytes: 16 * 1024 * 1024,
            handshake_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(25),
            heartbeat_timeout: Duration::from_secs(20),
            tcp_user_timeout: Duration::from_secs(30),
            message_timeout: Duration::from_mins(1),
            max_connections: 25_000,
            shutdown_timeout: Duration::from_secs(20),
        }
    }
}

/// `[memory]`: how many bytes may wait inside the process.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    pub budget_bytes: u32,
    pub connection_bytes: u32,
    pub outbound_bytes: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { budget_bytes: 128 * 1024 * 1024, connection_bytes: 24 * 1024 * 1024, outbound_bytes: 1024 * 1024 }
    }
}

/// `[storage]`: where this node keeps what is its own.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    pub data_dir: PathBuf,
}

impl Default for Storage {
    fn default() -> Self {
        Self { data_dir: "./data".into() }
    }
}

/// What an acknowledged event is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckMode {
    /// Committed in the database.
    Stored,
    /// Synced in this node's journal.
    Journaled,
}

/// `[database]`, but for the URL, which is [`super::Config::database_url`].
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    pub(super) url: Option<Secret>,
    pub readers: u32,
    /// In a loaded [`super::Config`] 1 for `SQLite`, which has a single writer.
    pub writers: usize,
    #[serde(rename = "connect_timeout_ms", deserialize_with = "milliseconds")]
    pub connect_timeout: Duration,
    #[serde(rename = "statement_timeout_ms", deserialize_with = "milliseconds")]
    pub statement_timeout: Duration,
    pub ack: AckMode,
    #[serde(rename = "linger_ms", deserialize_with = "milliseconds")]
    pub linger: Duration,
    pub batch_rows: usize,
    pub batch_bytes: usize,
    #[serde(rename = "spill_after_ms", deserialize_with = "milliseconds")]
    pub spill_after: Duration,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            readers: 4,
            writers: 2,
            connect_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(10),
            ack: AckMode::Stored,
            linger: Duration::from_millis(10),
            batch_rows: 1_000,
            batch_bytes: 4 * 1024 * 1024,
            spill_after: Duration::from_secs(2),
        }
    }
}

/// `[journal]`: the local log that everything received goes through.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    pub limit_bytes: u64,
    pub segment_bytes: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { limit_bytes: 2 * 1024 * 1024 * 1024, segment_bytes: 16 * 1024 * 1024 }
    }
}

/// The kind of object store, as the file names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StoreKind {
    Folder,
    S3,
}

/// `[audio]`, but for where it is kept, which is [`super::Config::audio_store`].
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audio {
    pub(super) store: Option<StoreKind>,
    pub uploaders: usize,
    pub uploads_in_flight: usize,
    /// 0 makes none on this node.
    pub track_makers: usize,
    #[serde(rename = "end_grace_ms", deserialize_with = "milliseconds")]
    pub end_grace: Duration,
    #[serde(rename = "reconnect_grace_ms", deserialize_with = "milliseconds")]
    pub reconnect_grace: Duration,
    #[serde(rename = "staging_sync_interval_ms", deserialize_with = "milliseconds")]
    pub staging_sync_interval: Duration,
}

impl Default for Audio {
    fn default() -> Self {
        Self {
            store: None,
            uploaders: 2,
            uploads_in_flight: 8,
            track_makers: 1,
            end_grace: Duration::from_secs(2),
            reconnect_grace: Duration::from_secs(15),
            staging_sync_interval: Duration::from_secs(30),
        }
    }
}

/// `[s3]` as it is written; checked, it becomes a [`super::S3`].
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct S3Section {
    pub(super) endpoint: Option<String>,
    pub(super) region: String,
    pub(super) bucket: Option<String>,
    pub(super) access_key: Option<Secret>,
    pub(super) secret_key: Option<Secret>,
    pub(super) path_style: Option<bool>,
    pub(super) part_size_bytes: u64,
    #[serde(rename = "presign_lifetime_secs", deserialize_with = "seconds")]
    pub(super) presign_lifetime: Duration,
}

impl Default for S3Section {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: "us-east-1".into(),
            bucket: None,
            access_key: None,
            secret_key: None,
            path_style: None,
            part_size_bytes: 5 * 1024 * 1024,
            presign_lifetime: Duration::from_hours(1),
        }
    }
}

/// `[session]`: how long a recording lives.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Session {
    #[serde(rename = "idle_timeout_secs", deserialize_with = "seconds")]
    pub idle_timeout: Duration,
    #[serde(rename = "max_duration_secs", deserialize_with = "seconds")]
    pub max_duration: Duration,
}

impl Default for Session {
    fn default() -> Self {
        Self { idle_timeout: Duration::from_mins(30), max_duration: Duration::from_hours(4) }
    }
}

/// `[retention]`: how long anything is kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// `None`: for ever.
    #[serde(rename = "days", deserialize_with = "days_or_for_ever")]
    pub keep: Option<Duration>,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    Auto,
    Pretty,
    Json,
}

/// `[log]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, or directives such as `info,shopaloud::upload=debug`.
    pub level: String,
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Auto }
    }
}
