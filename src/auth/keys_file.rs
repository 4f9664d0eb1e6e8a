//! The text that keys are kept in: a TOML file, or the variable `SHOPALOUD_KEYS` with the same text.
//!
//! Promises: a change is written beside the file, synced and renamed over it, readable by its owner only; two commands
//! at the same time both take effect.
//! Refuses: a text with anything in it that is not understood, as a whole: half of a keyring is none.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    keyring::{Key, KeyKind, Keyring, TokenSecret},
    secret::SecretDigest,
};
use crate::{
    config::Secret,
    domain::{OriginPattern, Timestamp},
};

/// HMAC-SHA-256 is as strong as its key, and a key below its output is weaker than it (RFC 7518, 3.2).
const MIN_TOKEN_SECRET_BYTES: usize = 32;

const PREFACE: &str = "# Keys of ShopAloud, written by `shopaloud keys`. A key is kept as its SHA-256; token secrets are kept as they are,\n\
                       # so that this file is for its owner only. Comments are not kept.\n\n";

/// Why there are no keys to work with.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("{}: cannot be read: {source}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: cannot be written: {source}", .path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    /// The place (the file, or `SHOPALOUD_KEYS`) and the reason.
    #[error("{place}: {reason}")]
    Refused { place: String, reason: String },
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "key", skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeyEntry>,
    #[serde(default, rename = "token_secret", skip_serializing_if = "Vec::is_empty")]
    token_secrets: Vec<TokenEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    id: String,
    name: String,
    kind: KindWord,
    sha256: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    origins: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    anonymous: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenEntry {
    kid: String,
    secret: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindWord {
    Write,
    Read,
    Admin,
}

/// # Errors
/// What is wrong with `text`, without quoting it: it may hold secrets.
pub fn parse(text: &str) -> Result<Keyring, String> {
    let document: Document = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("line {}: {}", before.matches('\n').count() + 1, error.message().replace('\n', " "))
    })?;
    let mut ring = Keyring::default();
    for entry in document.keys {
        let id = entry.id.clone();
        let key = read_key(entry).map_err(|reason| format!("key {id:?}: {reason}"))?;
        if ring.keys.iter().any(|other| other.id == key.id || other.digest == key.digest) {
            return Err(format!("key {id:?}: is there twice"));
        }
        ring.keys.push(key);
    }
    for TokenEntry { kid, secret } in document.token_secrets {
        if secret.len() < MIN_TOKEN_SECRET_BYTES {
            return Err(format!("token_secret {kid:?}: has less than {MIN_TOKEN_SECRET_BYTES} bytes"));
        }
        if ring.token_secrets.iter().any(|other| other.kid == kid) {
            return Err(format!("token_secret {kid:?}: is there twice"));
        }
        ring.token_secrets.push(TokenSecret { kid, secret: Secret::new(secret) });
    }
    Ok(ring)
}

fn read_key(entry: KeyEntry) -> Result<Key, String> {
    let kind = match entry.kind {
        KindWord::Write => KeyKind::Write,
        KindWord::Read => KeyKind::Read,
        KindWord::Admin => KeyKind::Admin,
    };
    let parse_origin =
        |origin: &String| origin.parse::<OriginPattern>().map_err(|error| format!("origin {origin:?} {error}"));
    let origins = entry.origins.iter().map(parse_origin).collect::<Result<Vec<_>, _>>()?;
    if kind != KeyKind::Write && (entry.anonymous || !origins.is_empty()) {
        return Err("only write keys have origins, or are anonymous".to_owned());
    }
    if entry.anonymous && origins.is_empty() {
        return Err("is anonymous, and lists no origin whose pages could go without it".to_owned());
    }
    let time = |text: Option<String>| {
        text.map(|text| OffsetDateTime::parse(&text, &Rfc3339).map(Timestamp::from_datetime))
            .transpose()
            .map_err(|_| "a time is written like 2026-11-22T14:00:00Z".to_owned())
    };
    Ok(Key {
        id: entry.id,
        name: entry.name,
        kind,
        digest: SecretDigest::from_hex(&entry.sha256).map_err(|_| "sha256 is not 64 hexadecimal digits".to_owned())?,
        origins,
        is_anonymous: entry.anonymous,
        created_at: time(entry.created_at)?.unwrap_or_else(Timestamp::now),
        expires_at: time(entry.expires_at)?,
    })
}

/// The text that [`parse`] reads.
///
/// # Errors
/// Never, for a keyring that was read or made here; the library has no other signature.
pub fn render(ring: &Keyring) -> Result<String, toml::ser::Error> {
    let keys = ring.keys.iter().map(|key| KeyEntry {
        id: key.id.clone(),
        name: key.name.clone(),
        kind: match key.kind {
            KeyKind::Write => KindWord::Write,
            KeyKind::Read => KindWord::Read,
            KeyKind::Admin => KindWord::Admin,
        },
        sha256: key.digest.to_hex(),
        origins: key.origins.iter().map(ToString::to_string).collect(),
        anonymous: key.is_anonymous,
        created_at: Some(key.created_at.to_string()),
        expires_at: key.expires_at.map(|at| at.to_string()),
    });
    let token_secrets = ring
        .token_secrets
        .iter()
        .map(|secret| TokenEntry { kid: secret.kid.clone(), secret: secret.secret.reveal().to_owned() });
    let document = Document { keys: keys.collect(), token_secrets: token_secrets.collect() };
    Ok(format!("{PREFACE}{}", toml::to_string(&document)?))
}

/// The keyring in the file; `None` when there is no file.
///
/// # Errors
/// [`KeysError`] when the file cannot be read or understood.
pub fn read(path: &Path) -> Result<Option<Keyring>, KeysError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            parse(&text).map(Some).map_err(|reason| KeysError::Refused { place: path.display().to_string(), reason })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeysError::Unreadable { path: path.into(), source }),
    }
}

/// Reads the file, lets `change` change it, and writes it.
///
/// # Errors
/// [`KeysError`]; the file is as it was then.
pub fn update<T>(path: &Path, change: impl FnOnce(&mut Keyring) -> T) -> Result<T, KeysError> {
    let unwritable = |source| KeysError::Unwritable { path: path.into(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder).map_err(unwritable)?;
    let beside = |extension: &str| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(extension);
        folder.join(name)
    };
    let private = |path: &Path| {
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(unwritable)
    };
    // Held until it is dropped. The lock is on a file of its own, since this one is replaced.
    let lock = private(&beside(".lock"))?;
    lock.lock().map_err(unwritable)?;
    let mut ring = read(path)?.unwrap_or_default();
    let outcome = change(&mut ring);
    let text = render(&ring).map_err(|error| unwritable(io::Error::other(error)))?;
    let unfinished = beside(".new");
    let _ = fs::remove_file(&unfinished);
    let mut file = private(&unfinished)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(unwritable)?;
    fs::rename(&unfinished, path).map_err(unwritable)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(unwritable)?;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{
        super::{keyring::tests::key, tokens::tests::token_secret},
        *,
    };

    fn ring() -> Keyring {
        let (mut web, _) = key(KeyKind::Write, "web1");
        web.origins = vec!["https://*.shop.example".parse().unwrap()];
        web.is_anonymous = true;
        let (mut dashboard, _) = key(KeyKind::Admin, "dash");
        dashboard.name = "Anna's \"dashboard\"".to_owned();
        dashboard.expires_at = Timestamp::from_unix_ms(1_900_000_000_123);
        let secret = token_secret("2026", "0123456789abcdef0123456789abcdef");
        Keyring { keys: vec![web, dashboard], token_secrets: vec![secret] }
    }

    #[test]
    fn what_is_written_is_read() {
        let ring = ring();
        assert_eq!(parse(&render(&ring).unwrap()), Ok(ring));
        assert_eq!(parse(""), Ok(Keyring::default()));
    }

    #[test]
    fn one_line_will_do() {
        let text = format!("key = [{{ id = \"a\", name = \"a\", kind = \"read\", sha256 = \"{}\" }}]", "0f".repeat(32));
        assert_eq!(parse(&text).unwrap().keys[0].kind, KeyKind::Read);
    }

    #[test]
    fn what_is_not_understood_is_refused_and_not_quoted() {
        let entry = |more: &str| format!("[[key]]\nid = \"a\"\nname = \"a\"\nsha256 = \"{}\"\n{more}", "0f".repeat(32));
        for (text, reason) in [
            ("[[key]]\n", "missing field"),
            ("key = 1", "invalid type"),
            ("[[kye]]", "unknown field"),
            (&entry("kind = \"owner\""), "unknown variant"),
            (&entry("kind = \"read\"\nexpires = 1"), "unknown field"),
            (&entry("kind = \"read\"\nexpires_at = \"tomorrow\""), "a time is written like"),
            (&entry("kind = \"read\"\norigins = [\"https://shop.example\"]"), "only write keys"),
            (&entry("kind = \"write\"\norigins = [\"shop.example\"]"), "origin \"shop.example\" is neither"),
            (&entry("kind = \"write\"\nanonymous = true"), "lists no origin"),
            (&entry("kind = \"read\"\n").repeat(2), "is there twice"),
            (&entry("kind = \"read\"").replace("0f0f", "xyzw"), "sha256 is not"),
            ("[[token_secret]]\nkid = \"a\"\nsecret = \"hunter2\"", "has less than 32 bytes"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason) && !error.contains("hunter2"), "{text}\n=> {error}");
        }
    }

    #[test]
    fn a_change_replaces_the_file_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new folder").join("keys.toml");
        let ring = ring();
        for key in &ring.keys {
            update(&path, |ring| ring.keys.push(key.clone())).unwrap();
        }
        assert_eq!(read(&path).unwrap().unwrap().keys, ring.keys);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let files = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!files.into_iter().any(|name| name.to_string_lossy().ends_with(".new")));
    }

    #[test]
    fn a_broken_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        fs::write(&path, "[[key]\n").unwrap();
        assert!(update(&path, |ring| ring.keys.clear()).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "[[key]\n");
    }

    #[test]
    fn changes_at_the_same_time_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        std::thread::scope(|scope| {
            for at in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    let (key, _) = key(KeyKind::Read, &at.to_string());
                    update(path, |ring| ring.keys.push(key)).unwrap();
                });
            }
        });
        assert_eq!(read(&path).unwrap().unwrap().keys.len(), 8);
    }
}
