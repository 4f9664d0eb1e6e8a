//! Links that play without a key: a browser's `<audio>` sends no headers of ours.
//!
//! Promises: a link opens one path until its time, and cannot be changed into another; links survive a restart.
//! Refuses: to be an account of who may listen: whoever has the link hears it, as with a presigned URL of S3.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

use crate::domain::Timestamp;

/// Signs paths of this server.
#[derive(Clone)]
pub struct LinkSigner {
    mac: Hmac<Sha256>,
    lifetime: Duration,
}

#[derive(Deserialize)]
struct Query {
    expires: i64,
    signature: String,
}

/// What a link's query says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkVerdict {
    /// It is no signed link.
    Unsigned,
    Valid,
    Expired,
    Forged,
}

impl LinkSigner {
    /// # Errors
    /// Never: a key of any length is taken; the library has no other signature.
    pub fn new(secret: &[u8], lifetime: Duration) -> io::Result<Self> {
        let mac = Hmac::new_from_slice(secret).map_err(io::Error::other)?;
        Ok(Self { mac, lifetime })
    }

    /// With the secret that the file holds; made, for its owner only, when there is none.
    ///
    /// # Errors
    /// When the file can neither be read nor made.
    pub fn open(path: &Path, lifetime: Duration) -> io::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = super::secret::random_letters(43).map_err(io::Error::other)?;
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
                text
            }
            Err(error) => return Err(error),
        };
        if text.trim().len() < 32 {
            // Cut off by a crash, or by a full disk: a secret that is known would be worse than none.
            return Err(io::Error::other("holds less than 32 letters: remove it, and another is made"));
        }
        Self::new(text.trim().as_bytes(), lifetime)
    }

    /// `path` (without a query) with what opens it from `now` on.
    #[must_use]
    pub fn sign(&self, path: &str, now: Timestamp) -> String {
        let expires = now.plus(self.lifetime).as_unix_ms().div_euclid(1_000);
        let signature = URL_SAFE_NO_PAD.encode(self.mac_of(path, expires).finalize().into_bytes());
        format!("{path}?expires={expires}&signature={signature}")
    }

    /// Compares in constant time.
    #[must_use]
    pub fn verify(&self, path: &str, query: &str, now: Timestamp) -> LinkVerdict {
        let Ok(query) = actix_web::web::Query::<Query>::from_query(query) else { return LinkVerdict::Unsigned };
        let signature = URL_SAFE_NO_PAD.decode(&query.signature).unwrap_or_default();
        if self.mac_of(path, query.expires).verify_slice(&signature).is_err() {
            LinkVerdict::Forged
        } else if now.as_unix_ms().div_euclid(1_000) >= query.expires {
            LinkVerdict::Expired
        } else {
            LinkVerdict::Valid
        }
    }

    /// A path has no line break, so that nothing of it can pass for the time.
    fn mac_of(&self, path: &str, expires: i64) -> Hmac<Sha256> {
        self.mac.clone().chain_update(path).chain_update("\n").chain_update(expires.to_be_bytes())
    }
}

impl std::fmt::Debug for LinkSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkSigner(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PATH: &str = "/audio/sessions/a/b.webm";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * 1_000).unwrap()
    }

    fn signer(secret: &[u8]) -> LinkSigner {
        LinkSigner::new(secret, Duration::from_mins(1)).unwrap()
    }

    #[test]
    fn a_link_opens_its_path_until_its_time() {
        let signer = signer(b"one");
        let link = signer.sign(PATH, at(1_000));
        let (path, query) = link.split_once('?').unwrap();
        assert_eq!(path, PATH);
        assert_eq!(signer.verify(path, query, at(1_059)), LinkVerdict::Valid);
        assert_eq!(signer.verify(path, query, at(1_060)), LinkVerdict::Expired);
    }

    #[test]
    fn nothing_about_a_link_can_be_changed() {
        let one = signer(b"one");
        let link = one.sign(PATH, at(1_000));
        let query = link.split_once('?').unwrap().1;
        let later = query.replace("expires=1060", "expires=9999");
        for (path, query) in [(PATH, later.as_str()), ("/audio/sessions/a/c.webm", query), ("/sessions", query)] {
            assert_eq!(one.verify(path, query, at(1_001)), LinkVerdict::Forged, "{path}?{query}");
        }
        assert_eq!(signer(b"two").verify(PATH, query, at(1_001)), LinkVerdict::Forged);
        assert_eq!(one.verify(PATH, "expires=9999&signature=", at(1)), LinkVerdict::Forged);
        for unsigned in ["", "expires=1060", "signature=x", "expires=x&signature=y", &format!("{query}&{query}")] {
            assert_eq!(one.verify(PATH, unsigned, at(1_001)), LinkVerdict::Unsigned, "{unsigned}");
        }
    }

    #[test]
    fn the_secret_is_kept_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("link-secret");
        let lifetime = Duration::from_mins(1);
        let link = LinkSigner::open(&file, lifetime).unwrap().sign(PATH, at(0));
        assert_eq!(LinkSigner::open(&file, lifetime).unwrap().sign(PATH, at(0)), link);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "short").unwrap();
        assert!(LinkSigner::open(&file, lifetime).is_err());
    }
}
