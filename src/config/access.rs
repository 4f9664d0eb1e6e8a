//! The sections of `config.toml` that say who may do what, and how much of it.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{
    Networks, Secret,
    sections::{milliseconds, seconds},
};

/// The header in which a trusted proxy tells whom it speaks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto` and `X-Forwarded-Host`.
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// `[auth]`: keys and tokens.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    pub(super) keys_file: Option<PathBuf>,
    /// The text of a keys file, from the environment only: a secret in a file belongs into the keys file.
    #[serde(skip)]
    pub keys: Option<Secret>,
    pub require_token: bool,
    pub token_audience: Option<String>,
    #[serde(rename = "token_leeway_secs", deserialize_with = "seconds")]
    pub token_leeway: Duration,
    #[serde(rename = "token_max_lifetime_secs", deserialize_with = "seconds")]
    pub token_max_lifetime: Duration,
    pub allowed_hosts: Vec<String>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            keys_file: None,
            keys: None,
            require_token: false,
            token_audience: None,
            token_leeway: Duration::from_secs(30),
            token_max_lifetime: Duration::from_hours(24),
            allowed_hosts: Vec::new(),
        }
    }
}

/// `[limits]`: what one address, and one write key, may use. 0: as much as it likes.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub exempt: Networks,
    pub address_sockets: u32,
    pub address_connections: u32,
    pub address_new_connections_per_sec: u32,
    pub address_messages_per_sec: u32,
    pub address_bytes_per_sec: u32,
    pub address_requests_per_sec: u32,
    pub key_connections: u32,
    pub key_messages_per_sec: u32,
    pub key_bytes_per_sec: u32,
    #[serde(rename = "burst_ms", deserialize_with = "milliseconds")]
    pub burst: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            exempt: Networks::loopback(),
            address_sockets: 4_000,
            address_connections: 1_000,
            address_new_connections_per_sec: 100,
            address_messages_per_sec: 5_000,
            address_bytes_per_sec: 32 * 1024 * 1024,
            address_requests_per_sec: 50,
            key_connections: 0,
            key_messages_per_sec: 0,
            key_bytes_per_sec: 0,
            burst: Duration::from_secs(10),
        }
    }
}

/// `[tls]`: both files, or none.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TlsSection {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    #[serde(rename = "handshake_timeout_ms", deserialize_with = "milliseconds")]
    pub(super) handshake_timeout: Duration,
}

impl Default for TlsSection {
    fn default() -> Self {
        Self { certificate: None, key: None, handshake_timeout: Duration::from_secs(3) }
    }
}
