//! What the configuration promises as a whole: the shipped file, precedence, contradictions.

use std::{path::Path, time::Duration};

use super::*;

const SHIPPED: &str = include_str!("../../config.toml");
const KEYS: &str = "[s3]\nbucket = \"b\"\naccess_key = \"a\"\nsecret_key = \"s\"\n";

fn load(text: &str) -> Result<Config, String> {
    Config::from_toml(text, &Environment::default()).map_err(|error| error.to_string())
}

#[test]
fn the_shipped_file_says_exactly_the_defaults() {
    assert_eq!(load(SHIPPED).unwrap(), load("").unwrap());
}

/// A commented-out key is optional; uncommented, it must still be a known key.
#[test]
fn the_shipped_file_names_every_key() {
    let uncommented: String = SHIPPED
        .lines()
        .map(|line| match line.strip_prefix("#") {
            Some(setting) if !setting.starts_with([' ', '#']) && setting.contains(" = ") => setting,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let document: toml::Table = uncommented.parse().unwrap();
    Settings::parse(&uncommented).unwrap();
    // An unknown key makes serde list the known ones: the file must hold each of them.
    for (section, keys) in &document {
        let (_, message) = Settings::parse(&format!("[{section}]\nno_such_key = 1")).unwrap_err();
        let known = message.split_once("expected ").unwrap().1;
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        assert!(!known.is_empty(), "{message}");
        for key in known {
            assert!(keys.as_table().unwrap().contains_key(key), "{section}.{key} is not in config.toml");
        }
    }
    let (_, message) = Settings::parse("[no_such_section]").unwrap_err();
    for section in message.split_once("expected ").unwrap().1.split('`').skip(1).step_by(2) {
        assert!(document.contains_key(section), "[{section}] is not in config.toml");
    }
}

#[test]
fn running_needs_nothing() {
    let config = load("").unwrap();
    assert_eq!(config.server.host, "127.0.0.1");
    assert_eq!(config.database_url.reveal(), "sqlite:./data/shopaloud.sqlite");
    assert_eq!(config.database.writers, 1, "SQLite has one writer");
    assert_eq!(config.audio_store, AudioStore::Folder);
    assert!(config.server.workers > 0);
}

#[test]
fn a_bucket_makes_the_store_s3() {
    let AudioStore::S3(s3) = load(KEYS).unwrap().audio_store else { panic!("not S3") };
    assert!(!s3.path_style, "AWS wants the bucket in the host");
    let with_endpoint = format!("{KEYS}endpoint = \"http://127.0.0.1:9000\"\n");
    let AudioStore::S3(s3) = load(&with_endpoint).unwrap().audio_store else { panic!("not S3") };
    assert!(s3.path_style, "a local server has no host name for each bucket");
    assert_eq!(s3.presign_lifetime, Duration::from_hours(1));
    let variables = Environment::from([("S3_BUCKET", "b"), ("S3_ACCESS_KEY", "a"), ("S3_SECRET_KEY", "s")]);
    assert!(matches!(Config::from_toml("", &variables).unwrap().audio_store, AudioStore::S3(_)));
}

#[test]
fn a_configuration_does_not_print_its_secrets() {
    let text = format!("[database]\nurl = \"postgres://u:hunter2@db/x\"\n{KEYS}");
    let printed = format!("{:?}", load(&text.replace("\"s\"", "\"hunter2\"")).unwrap());
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn postgres_keeps_its_writers() {
    let config = load("[database]\nurl = \"postgresql://db/x\"\nwriters = 3").unwrap();
    assert_eq!(config.database.writers, 3);
}

#[test]
fn a_public_url_ends_without_a_slash() {
    let config = load("[server]\npublic_url = \"https://api.example/voice/\"").unwrap();
    assert_eq!(config.server.public_url.as_deref(), Some("https://api.example/voice"));
}

#[test]
fn contradictions_are_refused_in_one_line_each() {
    let cases = [
        ("[s3]\nbucket = \"b\"", "s3.access_key (S3_ACCESS_KEY): is missing"),
        ("[s3]\naccess_key = \"a\"", "s3.bucket (S3_BUCKET): is missing, although s3 keys"),
        ("[audio]\nstore = \"s3\"", "s3.bucket (S3_BUCKET): is missing, although audio.store"),
        (&format!("{KEYS}[audio]\nstore = \"folder\""), "audio.store: is \"folder\", although"),
        (&format!("{KEYS}part_size_bytes = 5242879"), "s3.part_size_bytes: "),
        (&format!("{KEYS}presign_lifetime_secs = 604801"), "s3.presign_lifetime_secs: "),
        (&format!("{KEYS}endpoint = \"s3.local\""), "s3.endpoint (S3_ENDPOINT): "),
        ("[memory]\nconnection_bytes = 16777215", "memory.connection_bytes: is below server.max_message_bytes"),
        ("[memory]\nbudget_bytes = 25165823", "memory.budget_bytes: is below memory.connection_bytes"),
        ("[journal]\nlimit_bytes = 33554431", "journal.limit_bytes: is below two segments"),
        ("[session]\nidle_timeout_secs = 14401", "session.idle_timeout_secs: is above"),
        ("[server]\nheartbeat_interval_ms = 0", "server.heartbeat_interval_ms: must be at least 1"),
        ("[server]\norigins = [\"shop.example\"]", "server.origins (ORIGIN): \"shop.example\" is neither"),
        ("[server]\norigins = [\"https://shop.example/\"]", "server.origins (ORIGIN): "),
        ("[server]\npublic_url = \"api.example\"", "server.public_url (PUBLIC_URL): "),
        ("[database]\nurl = \"mysql://x\"", "database.url (DATABASE_URL): must begin with"),
        ("[database]\nurl = \"sqlite::memory:\"", "database.url (DATABASE_URL): names no file"),
        ("[database]\nbatch_rows = 0", "database.batch_rows: must be at least 1"),
    ];
    for (text, expected) in cases {
        let message = load(text).expect_err(text);
        assert!(message.lines().any(|line| line.starts_with(expected)), "{text}\n=> {message}");
    }
    assert_eq!(load("[s3]\nbucket = \"b\"").unwrap_err().lines().count(), 2, "both keys are missing");
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let error = Config::load(Some(Path::new("/nonexistent/config.toml"))).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/config.toml: cannot be read"), "{error}");
}
