//! An [`Access`] for unit tests, here and above: with given keys, without files.

use std::time::Duration;

use actix_web::test::TestRequest;
use serde_json::json;

use super::{
    access::{Access, Visit},
    keyring::{Key, KeyKind, Keyring},
    links::LinkSigner,
    secret::SecretDigest,
    tokens::tests::{sign, token_secret},
};
use crate::{
    config::{Config, Environment},
    domain::Timestamp,
};

const TOKEN_SECRET: &str = "a secret of tests, long enough for one";
/// Of the one key in [`ring`].
pub(crate) const WRITE_KEY: &str = "sa_write_00000000000000000000000000000000000000000004KsOuF";

/// One write key and one token secret.
pub(crate) fn ring() -> Keyring {
    let (_, digest) = SecretDigest::of_shown(WRITE_KEY).unwrap();
    let key = Key {
        id: "web".to_owned(),
        name: "web".to_owned(),
        kind: KeyKind::Write,
        digest,
        origins: Vec::new(),
        is_anonymous: false,
        created_at: Timestamp::now(),
        expires_at: None,
    };
    Keyring { keys: vec![key], token_secrets: vec![token_secret("a", TOKEN_SECRET)] }
}

/// For `user`, by the secret in [`ring`].
pub(crate) fn token(user: &str, expires_at: Timestamp) -> String {
    let claims = json!({"sub": user, "exp": expires_at.as_unix_ms() / 1_000});
    sign(&json!({"alg": "HS256"}), &claims, TOKEN_SECRET)
}

/// With these keys, and settings in TOML.
pub(crate) fn access(ring: Keyring, settings: &str) -> Access {
    let config = Config::from_toml(settings, &Environment::default()).unwrap();
    let links = LinkSigner::new(b"a secret of tests", Duration::from_hours(1)).unwrap();
    Access::with(ring, links, &config)
}

/// As a reload does.
pub(crate) fn replace(access: &Access, ring: Keyring) {
    access.replace(ring);
}

/// A visitor from 127.0.0.1 that is no page.
pub(crate) fn visit(access: &Access) -> Visit {
    let request = TestRequest::default().peer_addr(([127, 0, 0, 1], 1).into()).to_http_request();
    let origin = access.page(&request).unwrap();
    access.visit(&request, &origin).unwrap()
}
