//! From settings to a [`Config`]: what was left open is decided, what contradicts itself is refused.
//!
//! Promises: every contradiction found is told, one line each, with the key (and variable) to change.

use std::{path::Path, time::Duration};

use super::{
    AudioStore, Config, ConfigError, S3, Secret, Tls,
    access::TlsSection,
    file::Settings,
    sections::{Audio, Database, S3Section, StoreKind},
};
use crate::domain::OriginPattern;

/// S3 takes no smaller part, but for the last.
const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;
/// S3 takes at most 10,000 parts and 5 GiB in one.
const MAX_PART_BYTES: u64 = 5 * 1024 * 1024 * 1024;
/// The longest that signature version 4 allows.
const MAX_PRESIGN_LIFETIME: Duration = Duration::from_hours(7 * 24);

/// The complaints so far.
#[derive(Default)]
struct Complaints(Vec<String>);

impl Complaints {
    fn unless(&mut self, holds: bool, complaint: impl Into<String>) {
        if !holds {
            self.0.push(complaint.into());
        }
    }

    fn at_least_one(&mut self, values: &[(&str, u64)]) {
        for (key, value) in values {
            self.unless(*value > 0, format!("{key}: must be at least 1"));
        }
    }
}

/// # Errors
/// [`ConfigError::Refused`] with every contradiction.
pub(super) fn finish(mut settings: Settings) -> Result<Config, ConfigError> {
    let mut complaints = Complaints::default();
    check_server(&mut settings, &mut complaints);
    check_sizes(&settings, &mut complaints);
    check_times(&settings, &mut complaints);
    let audio_link_lifetime = settings.s3.presign_lifetime;
    complaints.unless(
        !audio_link_lifetime.is_zero() && audio_link_lifetime <= MAX_PRESIGN_LIFETIME,
        "s3.presign_lifetime_secs: must be from 1 to 604800 (7 days)",
    );
    let Settings {
        mut server,
        memory,
        storage,
        mut database,
        journal,
        audio,
        s3,
        session,
        retention,
        mut auth,
        limits,
        tls,
        log,
    } = settings;
    let keys_file = auth.keys_file.take().unwrap_or_else(|| storage.data_dir.join("keys.toml"));
    let tls = tls_files(tls, &mut complaints);
    let database_url = database_url(&mut database, &storage.data_dir, &mut complaints);
    let audio_store = audio_store(&audio, s3, &mut complaints);
    if server.workers == 0 {
        server.workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    }
    if !complaints.0.is_empty() {
        return Err(ConfigError::Refused(complaints.0));
    }
    Ok(Config {
        server,
        memory,
        storage,
        database,
        database_url,
        journal,
        audio,
        audio_store,
        audio_link_lifetime,
        session,
        retention,
        auth,
        keys_file,
        limits,
        tls,
        log,
    })
}

fn is_web_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace))
}

fn check_server(settings: &mut Settings, complaints: &mut Complaints) {
    let server = &mut settings.server;
    complaints.unless(!server.host.trim().is_empty(), "server.host (HOST): is empty");
    if let Some(public_url) = &mut server.public_url {
        public_url.truncate(public_url.trim_end_matches('/').len());
        complaints
            .unless(is_web_url(public_url), "server.public_url (PUBLIC_URL): must begin with http:// or https://");
    }
    for origin in &server.origins {
        if let Err(error) = origin.parse::<OriginPattern>() {
            complaints.unless(false, format!("server.origins (ORIGIN): \"{origin}\" {error}"));
        }
    }
    complaints.at_least_one(&[
        ("server.max_message_bytes", server.max_message_bytes.into()),
        ("server.max_connections", server.max_connections as u64),
        ("server.max_header_bytes", server.max_header_bytes as u64),
    ]);
}

fn check_sizes(settings: &Settings, complaints: &mut Complaints) {
    let Settings { server, memory, database, journal, audio, .. } = settings;
    complaints.unless(
        memory.connection_bytes >= server.max_message_bytes,
        "memory.connection_bytes: is below server.max_message_bytes, so the largest message could not be taken",
    );
    complaints.unless(
        memory.budget_bytes >= memory.connection_bytes,
        "memory.budget_bytes: is below memory.connection_bytes, the share of one connection",
    );
    complaints.unless(
        journal.limit_bytes / 2 >= journal.segment_bytes,
        "journal.limit_bytes: is below two segments (journal.segment_bytes), so nothing could ever be let go",
    );
    complaints.unless(
        // The journal takes an eighth of its limit at once; a message comes with its names around it.
        journal.limit_bytes / 8 >= u64::from(server.max_message_bytes) + 65_536,
        "journal.limit_bytes: is below eight messages of server.max_message_bytes",
    );
    complaints.at_least_one(&[
        ("memory.outbound_bytes", memory.outbound_bytes as u64),
        ("journal.segment_bytes", journal.segment_bytes),
        ("database.readers", database.readers.into()),
        ("database.writers", database.writers as u64),
        ("database.batch_rows", database.batch_rows as u64),
        ("database.batch_bytes", database.batch_bytes as u64),
        ("audio.uploaders", audio.uploaders as u64),
        ("audio.uploads_in_flight", audio.uploads_in_flight as u64),
    ]);
}

fn check_times(settings: &Settings, complaints: &mut Complaints) {
    let Settings { server, database, audio, session, auth, limits, tls, .. } = settings;
    let times = [
        ("server.handshake_timeout_ms", server.handshake_timeout),
        ("server.heartbeat_interval_ms", server.heartbeat_interval),
        ("server.heartbeat_timeout_ms", server.heartbeat_timeout),
        ("server.tcp_user_timeout_ms", server.tcp_user_timeout),
        ("server.message_timeout_ms", server.message_timeout),
        ("server.request_timeout_ms", server.request_timeout),
        ("server.shutdown_timeout_ms", server.shutdown_timeout),
        ("database.connect_timeout_ms", database.connect_timeout),
        ("database.statement_timeout_ms", database.statement_timeout),
        ("audio.staging_sync_interval_ms", audio.staging_sync_interval),
        ("session.idle_timeout_secs", session.idle_timeout),
        ("auth.token_max_lifetime_secs", auth.token_max_lifetime),
        ("limits.burst_ms", limits.burst),
        ("tls.handshake_timeout_ms", tls.handshake_timeout),
    ];
    for (key, time) in times {
        complaints.unless(!time.is_zero(), format!("{key}: must be at least 1"));
    }
    complaints.unless(
        session.idle_timeout <= session.max_duration,
        "session.idle_timeout_secs: is above session.max_duration_secs, so it would never apply",
    );
}

fn tls_files(section: TlsSection, complaints: &mut Complaints) -> Option<Tls> {
    let TlsSection { certificate, key, handshake_timeout } = section;
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Tls { certificate, key, handshake_timeout }),
        (None, None) => None,
        (certificate, _) => {
            let (missing, given) = if certificate.is_none() {
                ("tls.certificate (TLS_CERTIFICATE)", "tls.key")
            } else {
                ("tls.key (TLS_KEY)", "tls.certificate")
            };
            complaints.unless(false, format!("{missing}: is missing, although {given} is given"));
            None
        }
    }
}

fn database_url(database: &mut Database, data_dir: &Path, complaints: &mut Complaints) -> Secret {
    let url = database
        .url
        .take()
        .unwrap_or_else(|| Secret::new(format!("sqlite:{}", data_dir.join("shopaloud.sqlite").display())));
    let is_postgres = ["postgres://", "postgresql://"].iter().any(|scheme| url.reveal().starts_with(scheme));
    if !is_postgres {
        let path = url.reveal().strip_prefix("sqlite:");
        complaints.unless(
            path.is_some(),
            "database.url (DATABASE_URL): must begin with postgres://, postgresql:// or sqlite:",
        );
        complaints.unless(
            path.is_none_or(|path| !path.is_empty() && !path.contains(":memory:") && !path.contains("mode=memory")),
            "database.url (DATABASE_URL): names no file; a database in memory would lose what was acknowledged",
        );
        database.writers = 1;
    }
    url
}

fn audio_store(audio: &Audio, s3: S3Section, complaints: &mut Complaints) -> AudioStore {
    let Some(bucket) = s3.bucket.filter(|bucket| !bucket.is_empty()) else {
        complaints.unless(
            audio.store != Some(StoreKind::S3),
            "s3.bucket (S3_BUCKET): is missing, although audio.store is \"s3\"",
        );
        complaints.unless(
            s3.access_key.is_none() && s3.secret_key.is_none(),
            "s3.bucket (S3_BUCKET): is missing, although s3 keys are given",
        );
        return AudioStore::Folder;
    };
    complaints.unless(
        audio.store != Some(StoreKind::Folder),
        "audio.store: is \"folder\", although s3.bucket (S3_BUCKET) is given: remove one of them",
    );
    complaints.unless(s3.access_key.is_some(), "s3.access_key (S3_ACCESS_KEY): is missing, although a bucket is given");
    complaints.unless(s3.secret_key.is_some(), "s3.secret_key (S3_SECRET_KEY): is missing, although a bucket is given");
    complaints.unless(
        s3.endpoint.as_deref().is_none_or(is_web_url),
        "s3.endpoint (S3_ENDPOINT): must begin with http:// or https://",
    );
    complaints.unless(
        (MIN_PART_BYTES..=MAX_PART_BYTES).contains(&s3.part_size_bytes),
        "s3.part_size_bytes: S3 takes parts from 5 MiB (5242880) to 5 GiB",
    );
    let nothing = || Secret::new(String::new());
    AudioStore::S3(S3 {
        path_style: s3.path_style.unwrap_or(s3.endpoint.is_some()),
        endpoint: s3.endpoint,
        region: s3.region,
        bucket,
        access_key: s3.access_key.unwrap_or_else(nothing),
        secret_key: s3.secret_key.unwrap_or_else(nothing),
        part_size_bytes: s3.part_size_bytes,
        presign_lifetime: s3.presign_lifetime,
    })
}
