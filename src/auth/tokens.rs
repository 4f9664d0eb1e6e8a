//! Tokens that the shop's server signs for its users: JWT (RFC 7519) with HS256, and nothing else.
//!
//! Promises: who shows a valid token is the user that the shop says; nothing of a token is believed before its
//! signature; an unsigned token, another algorithm, and a token for another service are refused.
//! Refuses: to choose an algorithm by what a token says. That is also why this is a page of code on the `hmac` crate
//! rather than a library for every algorithm there is.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

use super::keyring::TokenSecret;
use crate::domain::{Timestamp, UserId};

/// A token has a user id and some numbers; what is longer is none.
const MAX_TOKEN_BYTES: usize = 8_192;

/// What tokens must keep to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenRules {
    /// `None`: tokens have no `aud`.
    pub audience: Option<String>,
    pub leeway: Duration,
    /// From now to `exp`.
    pub max_lifetime: Duration,
}

/// What a valid token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    pub user: UserId,
    /// When it stops being valid, the leeway included.
    pub valid_until: Timestamp,
    /// Which secret signed it.
    pub kid: String,
}

/// Why a token is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    #[error("this is no token, or one with fields missing")]
    Malformed,
    #[error("tokens are signed with HS256")]
    WrongAlgorithm,
    #[error("no secret of this server signed this token")]
    BadSignature,
    #[error("this token has expired")]
    Expired,
    #[error("this token is not valid yet")]
    NotYetValid,
    #[error("this token is valid for longer than this server allows")]
    TooLong,
    #[error("this token is for another service")]
    WrongAudience,
}

#[derive(Deserialize)]
struct Header<'a> {
    alg: &'a str,
    kid: Option<std::borrow::Cow<'a, str>>,
    /// Extensions that must be understood: none is.
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    sub: std::borrow::Cow<'a, str>,
    /// Seconds since 1970, perhaps with a fraction.
    exp: f64,
    nbf: Option<f64>,
    aud: Option<Audience>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// # Errors
/// [`TokenError`].
pub fn verify(text: &str, secrets: &[TokenSecret], rules: &TokenRules, now: Timestamp) -> Result<Token, TokenError> {
    if text.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Malformed);
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
    let (header, signature) = (decode(header)?, decode(signature)?);
    let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
    if header.alg != "HS256" || header.crit.is_some() {
        return Err(TokenError::WrongAlgorithm);
    }
    let mut candidates = secrets.iter().filter(|secret| header.kid.as_ref().is_none_or(|kid| *kid == secret.kid));
    let secret = candidates.find(|secret| is_signed_by(secret, signed, &signature)).ok_or(TokenError::BadSignature)?;
    let claims = decode(claims)?;
    let claims: Claims<'_> = serde_json::from_slice(&claims).map_err(|_| TokenError::Malformed)?;
    check_times(&claims, rules, now)?;
    let is_for_us = match (&claims.aud, &rules.audience) {
        (None, None) => true,
        (Some(Audience::One(audience)), Some(ours)) => audience == ours,
        (Some(Audience::Several(audiences)), Some(ours)) => audiences.contains(ours),
        (Some(_), None) | (None, Some(_)) => false,
    };
    if !is_for_us {
        return Err(TokenError::WrongAudience);
    }
    Ok(Token {
        user: UserId::parse(&claims.sub).map_err(|_| TokenError::Malformed)?,
        valid_until: time(claims.exp)?.plus(rules.leeway),
        kid: secret.kid.clone(),
    })
}

/// Compares in constant time.
fn is_signed_by(secret: &TokenSecret, signed: &str, signature: &[u8]) -> bool {
    // A key of any length is taken.
    Hmac::<Sha256>::new_from_slice(secret.secret.reveal().as_bytes())
        .is_ok_and(|mac| mac.chain_update(signed).verify_slice(signature).is_ok())
}

fn check_times(claims: &Claims<'_>, rules: &TokenRules, now: Timestamp) -> Result<(), TokenError> {
    let expires_at = time(claims.exp)?;
    if now >= expires_at.plus(rules.leeway) {
        return Err(TokenError::Expired);
    }
    if expires_at > now.plus(rules.max_lifetime).plus(rules.leeway) {
        return Err(TokenError::TooLong);
    }
    match claims.nbf.map(time).transpose()? {
        Some(not_before) if now.plus(rules.leeway) < not_before => Err(TokenError::NotYetValid),
        _ => Ok(()),
    }
}

fn time(seconds: f64) -> Result<Timestamp, TokenError> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and a saturated time is out of range")]
    let unix_ms = (seconds * 1_000.0).floor() as i64;
    Timestamp::from_unix_ms(unix_ms).ok_or(TokenError::Malformed)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Secret;

    const NOW_S: i64 = 1_800_000_000;

    pub(in crate::auth) fn token_secret(kid: &str, text: &str) -> TokenSecret {
        TokenSecret { kid: kid.to_owned(), secret: Secret::new(text.to_owned()) }
    }

    pub(in crate::auth) fn sign(header: &Value, claims: &Value, secret: &str) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&signed);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    fn rules() -> TokenRules {
        TokenRules { audience: None, leeway: Duration::from_secs(30), max_lifetime: Duration::from_hours(1) }
    }

    fn now() -> Timestamp {
        Timestamp::from_unix_ms(NOW_S * 1_000).unwrap()
    }

    fn check(header: &Value, claims: &Value, secret: &str) -> Result<Token, TokenError> {
        let secrets = [token_secret("old", "old secret"), token_secret("new", "new secret")];
        verify(&sign(header, claims, secret), &secrets, &rules(), now())
    }

    fn hs256() -> Value {
        json!({"alg": "HS256", "typ": "JWT"})
    }

    fn anna() -> Value {
        json!({"sub": "anna", "exp": NOW_S + 600})
    }

    #[test]
    fn a_token_says_who_its_bearer_is_and_until_when() {
        let token = check(&hs256(), &anna(), "new secret").unwrap();
        assert_eq!((token.user.as_str(), token.kid.as_str()), ("anna", "new"));
        assert_eq!(token.valid_until.as_unix_ms(), (NOW_S + 630) * 1_000);
        assert_eq!(check(&hs256(), &anna(), "old secret").unwrap().kid, "old", "both are valid while one is replaced");
    }

    /// The example of RFC 7515, A.1, made by somebody else: its key is bytes, so it is signed again here by its text.
    #[test]
    fn a_token_of_another_implementation_is_read() {
        // python3: hmac.new(b"your-256-bit-secret", b"<header>.<claims>", "sha256")
        let text = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
                    eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.\
                    SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
        let secrets = [token_secret("a", "your-256-bit-secret")];
        // Its signature is right, and it has no `exp`.
        assert_eq!(verify(text, &secrets, &rules(), now()), Err(TokenError::Malformed));
        assert_eq!(verify(&text.replace("Sfl", "sfl"), &secrets, &rules(), now()), Err(TokenError::BadSignature));
    }

    #[test]
    fn a_secret_that_is_named_is_the_only_one() {
        let header = |kid: &str| json!({"alg": "HS256", "kid": kid});
        assert!(check(&header("new"), &anna(), "new secret").is_ok());
        assert_eq!(check(&header("old"), &anna(), "new secret"), Err(TokenError::BadSignature));
        assert_eq!(check(&header("none"), &anna(), "new secret"), Err(TokenError::BadSignature));
    }

    #[test]
    fn any_other_algorithm_is_refused() {
        for alg in ["none", "None", "hs256", "HS384", "RS256", ""] {
            assert_eq!(check(&json!({"alg": alg}), &anna(), "new secret"), Err(TokenError::WrongAlgorithm), "{alg}");
        }
        let unsigned = sign(&json!({"alg": "none"}), &anna(), "");
        let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
        assert_eq!(verify(&unsigned, &[token_secret("a", "")], &rules(), now()), Err(TokenError::WrongAlgorithm));
        let unsigned = sign(&hs256(), &anna(), "new secret");
        let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
        assert_eq!(
            verify(&unsigned, &[token_secret("a", "new secret")], &rules(), now()),
            Err(TokenError::BadSignature)
        );
        let critical = json!({"alg": "HS256", "crit": ["x"], "x": 1});
        assert_eq!(check(&critical, &anna(), "new secret"), Err(TokenError::WrongAlgorithm));
    }

    #[test]
    fn times_are_kept_to_within_the_leeway() {
        let with = |exp: i64, nbf: Option<i64>| {
            let claims = json!({"sub": "anna", "exp": NOW_S + exp, "nbf": nbf.map(|nbf| NOW_S + nbf)});
            check(&hs256(), &claims, "new secret").map(|_| ())
        };
        assert_eq!(with(-29, None), Ok(()));
        assert_eq!(with(-30, None), Err(TokenError::Expired));
        assert_eq!(with(600, Some(30)), Ok(()));
        assert_eq!(with(600, Some(31)), Err(TokenError::NotYetValid));
        assert_eq!(with(3_630, None), Ok(()));
        assert_eq!(with(3_631, None), Err(TokenError::TooLong));
        assert_eq!(with(i64::from(i32::MAX), None), Err(TokenError::TooLong));
        let never = check(&hs256(), &json!({"sub": "anna", "exp": 1e300}), "new secret");
        assert_eq!(never, Err(TokenError::Malformed));
    }

    #[test]
    fn the_audience_must_be_this_service_or_nobody() {
        let with = |aud: Value, ours: Option<&str>| {
            let mut claims = anna();
            claims["aud"] = aud;
            let rules = TokenRules { audience: ours.map(str::to_owned), ..rules() };
            verify(&sign(&hs256(), &claims, "s"), &[token_secret("a", "s")], &rules, now()).map(|_| ())
        };
        assert_eq!(with(json!("voice"), Some("voice")), Ok(()));
        assert_eq!(with(json!(["mail", "voice"]), Some("voice")), Ok(()));
        assert_eq!(with(Value::Null, None), Ok(()));
        for (aud, ours) in [
            (json!("mail"), Some("voice")),
            (json!([]), Some("voice")),
            (Value::Null, Some("voice")),
            (json!("voice"), None),
        ] {
            assert_eq!(with(aud.clone(), ours), Err(TokenError::WrongAudience), "{aud}");
        }
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        let long_id = "x".repeat(300);
        for claims in [
            json!({}),
            json!({"sub": "anna"}),
            json!({"exp": NOW_S + 1}),
            json!({"sub": 7, "exp": NOW_S + 1}),
            json!({"sub": "", "exp": NOW_S + 1}),
            json!({"sub": long_id, "exp": NOW_S + 1}),
            json!({"sub": "anna", "exp": "later"}),
        ] {
            assert_eq!(check(&hs256(), &claims, "new secret"), Err(TokenError::Malformed), "{claims}");
        }
        for text in ["", ".", "..", "a.b", "a.b.c", "%.%.%", "e30.e30.", &"x".repeat(9_000)] {
            assert_eq!(verify(text, &[], &rules(), now()), Err(TokenError::Malformed), "{text}");
        }
    }
}
