//! The secrets of this service: `sa_write_`, `sa_read_`, `sa_admin_` and `sa_token_`, 43 random letters, a checksum.
//!
//! Promises: a secret has 256 random bits from the operating system; a misspelt one is told from an unknown one before
//! anything is looked up, and scanners that search code for leaked secrets find it by its form.
//! Refuses: to be kept. What is kept is the SHA-256: with 256 random bits there is nothing to guess, so that a slow
//! password hash would only slow each request down.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::domain;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 > 2^256.
const RANDOM_LETTERS: usize = 43;
/// 62^6 > 2^32.
const CHECKSUM_LETTERS: usize = 6;

/// What a secret is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretKind {
    /// Recording, from a web page: it is public.
    Write,
    /// Reading what was recorded.
    Read,
    /// Deleting, and everything that reading is.
    Admin,
    /// The shop's server signs the tokens of its users with it.
    Token,
}

impl SecretKind {
    const ALL: [Self; 4] = [Self::Write, Self::Read, Self::Admin, Self::Token];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Admin => "admin",
            Self::Token => "token",
        }
    }
}

/// A new secret, to be shown once.
pub struct NewSecret(String);

impl NewSecret {
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn generate(kind: SecretKind) -> Result<Self, getrandom::Error> {
        let mut text = format!("sa_{}_", kind.as_str());
        text.push_str(&random_letters(RANDOM_LETTERS)?);
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Ok(Self(text))
    }

    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn digest(&self) -> SecretDigest {
        SecretDigest::of(&self.0)
    }
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewSecret(…)")
    }
}

/// Letters that nobody can guess, all of the alphabet equally often.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn random_letters(count: usize) -> Result<String, getrandom::Error> {
    let mut letters = String::with_capacity(count);
    let mut bytes = [0_u8; 64];
    while letters.len() < count {
        getrandom::fill(&mut bytes)?;
        // 248 is four times 62: the rest would make the first letters likelier.
        let even = bytes.iter().filter(|byte| **byte < 248).take(count - letters.len());
        letters.extend(even.map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
    }
    Ok(letters)
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes()) as usize;
    let mut letters = ['0'; CHECKSUM_LETTERS];
    for letter in letters.iter_mut().rev() {
        *letter = char::from(ALPHABET[rest % 62]);
        rest /= 62;
    }
    letters.iter().collect()
}

/// A text that is no secret of this service: cut off, misspelt, or of something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this is no key of this service: it is cut off or misspelt")]
pub struct Malformed;

/// What is kept of a secret, and compared.
#[derive(Clone, Copy, Eq)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The kind and digest of a secret that a client shows.
    ///
    /// # Errors
    /// [`Malformed`] when its form or its checksum is wrong.
    pub fn of_shown(text: &str) -> Result<(SecretKind, Self), Malformed> {
        let of_kind = |kind: &SecretKind| {
            text.strip_prefix("sa_")?.strip_prefix(kind.as_str())?.strip_prefix('_').map(|letters| (*kind, letters))
        };
        let (kind, letters) = SecretKind::ALL.iter().find_map(of_kind).ok_or(Malformed)?;
        if letters.len() != RANDOM_LETTERS + CHECKSUM_LETTERS
            || !letters.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            return Err(Malformed);
        }
        let (before, given) = text.split_at(text.len() - CHECKSUM_LETTERS);
        if checksum(before) == given { Ok((kind, Self::of(text))) } else { Err(Malformed) }
    }

    /// # Errors
    /// [`Malformed`] when `hex` is not 64 hexadecimal digits.
    pub fn from_hex(hex: &str) -> Result<Self, Malformed> {
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(Malformed);
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).map_err(|_| Malformed)?;
        }
        Ok(Self(bytes))
    }

    #[must_use]
    pub fn to_hex(self) -> String {
        domain::Sha256(self.0).to_string()
    }
}

/// In constant time, so that how long it takes tells nothing of how much is right.
impl PartialEq for SecretDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_secret_is_read_back_with_its_kind() {
        for kind in SecretKind::ALL {
            let secret = NewSecret::generate(kind).unwrap();
            assert_eq!(SecretDigest::of_shown(secret.reveal()), Ok((kind, secret.digest())));
            assert_eq!(secret.reveal().len(), format!("sa_{}_", kind.as_str()).len() + 49);
            assert!(!format!("{secret:?} {:?}", secret.digest()).contains(&secret.reveal()[9..]));
        }
        let two = [NewSecret::generate(SecretKind::Read), NewSecret::generate(SecretKind::Read)];
        let [Ok(first), Ok(second)] = two else { panic!("no randomness") };
        assert_ne!(first.reveal(), second.reveal());
    }

    #[test]
    fn one_wrong_letter_is_noticed() {
        let secret = NewSecret::generate(SecretKind::Write).unwrap();
        let text = secret.reveal();
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'7' { "8" } else { "7" };
            let wrong = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(SecretDigest::of_shown(&wrong), Err(Malformed), "{wrong}");
        }
        for wrong in ["", "sa_", "sa_write_", &text[..text.len() - 1], &format!("{text}0"), &format!(" {text}")] {
            assert_eq!(SecretDigest::of_shown(wrong), Err(Malformed), "{wrong}");
        }
        assert_eq!(SecretDigest::of_shown(&text.replace("write", "admin")), Err(Malformed));
        assert_eq!(SecretDigest::of_shown(&"ä".repeat(29)), Err(Malformed));
    }

    #[test]
    fn a_digest_is_written_and_read() {
        let digest = NewSecret::generate(SecretKind::Read).unwrap().digest();
        assert_eq!(SecretDigest::from_hex(&digest.to_hex()), Ok(digest));
        for wrong in ["", "00", &"g".repeat(64), &"ä".repeat(32), &digest.to_hex()[1..]] {
            assert!(SecretDigest::from_hex(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_letters_are_equally_likely() {
        let letters = random_letters(62_000).unwrap();
        let mut counts = std::collections::HashMap::new();
        for letter in letters.chars() {
            *counts.entry(letter).or_insert(0_u32) += 1;
        }
        // 1,000 each, with a standard deviation of 31.
        assert!(counts.len() == 62 && counts.values().all(|count| (750..1_250).contains(count)), "{counts:?}");
    }
}
