//! The keys and token secrets that are valid, as one value that is replaced as a whole.
//!
//! Promises: looking a key up takes as long for a right one as for a wrong one; an expired key is none.

use super::secret::{SecretDigest, SecretKind};
use crate::{
    config::Secret,
    domain::{OriginPattern, Timestamp},
};

/// What a key lets its bearer do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum KeyKind {
    Write,
    Read,
    Admin,
}

impl KeyKind {
    #[must_use]
    pub const fn secret_kind(self) -> SecretKind {
        match self {
            Self::Write => SecretKind::Write,
            Self::Read => SecretKind::Read,
            Self::Admin => SecretKind::Admin,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.secret_kind().as_str()
    }
}

/// One key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// Short, random, no secret: what it is revoked by, and found in logs by.
    pub id: String,
    pub name: String,
    pub kind: KeyKind,
    pub digest: SecretDigest,
    /// Of a write key: the pages that may use it. None listed: those of `server.origins`.
    pub origins: Vec<OriginPattern>,
    /// Of a write key: its pages need not show it.
    pub is_anonymous: bool,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

impl Key {
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    /// Whether pages of `origin` are listed with it.
    #[must_use]
    pub fn lists(&self, origin: &str) -> bool {
        self.origins.iter().any(|pattern| pattern.matches(origin))
    }
}

/// What the shop's server signs tokens with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenSecret {
    /// Told in a token's header, so that secrets can be replaced one after the other.
    pub kid: String,
    pub secret: Secret,
}

/// All of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Keyring {
    pub keys: Vec<Key>,
    pub token_secrets: Vec<TokenSecret>,
}

impl Keyring {
    /// Whether nothing was ever set up. Keys that expired count: they were.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.token_secrets.is_empty()
    }

    /// The valid key with this digest. Looks at all of them, so that it takes as long whichever it is.
    #[must_use]
    pub fn find(&self, digest: SecretDigest, now: Timestamp) -> Option<&Key> {
        let matching = self.keys.iter().fold(None, |found, key| if key.digest == digest { Some(key) } else { found });
        matching.filter(|key| key.is_valid(now))
    }

    #[must_use]
    pub fn by_id(&self, id: &str, now: Timestamp) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id).filter(|key| key.is_valid(now))
    }

    /// The write keys that count now.
    pub fn write_keys(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| key.kind == KeyKind::Write && key.is_valid(now))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::auth::secret::NewSecret;

    /// A key that never expires, and its secret.
    pub(in crate::auth) fn key(kind: KeyKind, id: &str) -> (Key, NewSecret) {
        let secret = NewSecret::generate(kind.secret_kind()).unwrap();
        let key = Key {
            id: id.to_owned(),
            name: "test".to_owned(),
            kind,
            digest: secret.digest(),
            origins: Vec::new(),
            is_anonymous: false,
            created_at: Timestamp::from_unix_ms(0).unwrap(),
            expires_at: None,
        };
        (key, secret)
    }

    #[test]
    fn an_expired_key_is_none() {
        let (mut key, secret) = key(KeyKind::Read, "a");
        let at = |unix_ms| Timestamp::from_unix_ms(unix_ms).unwrap();
        key.expires_at = Some(at(1_000));
        let ring = Keyring { keys: vec![key], token_secrets: Vec::new() };
        assert!(ring.find(secret.digest(), at(999)).is_some() && ring.by_id("a", at(999)).is_some());
        assert!(ring.find(secret.digest(), at(1_000)).is_none() && ring.by_id("a", at(1_000)).is_none());
        assert!(!ring.is_empty(), "it was set up once");
    }

    #[test]
    fn every_key_is_found_by_its_own_secret_only() {
        let made = ["a", "b", "c"].map(|id| key(KeyKind::Write, id));
        let keys = made.iter().map(|(key, _)| key.clone()).collect();
        let ring = Keyring { keys, token_secrets: Vec::new() };
        let now = Timestamp::now();
        for (key, secret) in &made {
            assert_eq!(ring.find(secret.digest(), now), Some(key));
        }
        assert_eq!(ring.find(NewSecret::generate(SecretKind::Write).unwrap().digest(), now), None);
    }
}
