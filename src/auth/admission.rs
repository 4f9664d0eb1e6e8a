//! Who may record: what a client shows in its hello, judged by the keys of the moment. No I/O, no clock.
//!
//! Promises: whoever shows a valid token is bound to its user; whoever shows none is let in by a write key, shown or by
//! the origin of its page; a key that is listed with origins is of no use to other pages.

use super::{
    keyring::{Key, KeyKind, Keyring},
    secret::{Malformed, SecretDigest},
    tokens::{self, TokenError, TokenRules},
};
use crate::{
    domain::{Timestamp, UserId},
    protocol::{ErrorCode, Hello, ProtocolError},
};

/// The page behind a connection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Page {
    /// `None`: a program that is no browser.
    pub(super) origin: Option<String>,
    /// It is one of `server.origins`, or of this very server.
    pub(super) is_of_server: bool,
}

/// Who a connection is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// Bound to this user by a token; `None`: it names its users itself.
    pub user: Option<UserId>,
    /// Until when; `None`: for as long as it lasts.
    pub valid_until: Option<Timestamp>,
    pub(super) proof: Proof,
}

/// What let it in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Proof {
    pub(super) key: Option<String>,
    pub(super) token_kid: Option<String>,
}

impl Proof {
    /// Nothing was asked for.
    const fn is_none(&self) -> bool {
        self.key.is_none() && self.token_kid.is_none()
    }

    /// Whether what let it in still would.
    pub(super) fn holds(&self, ring: &Keyring, now: Timestamp) -> bool {
        let has_key = self.key.as_ref().is_none_or(|id| ring.by_id(id, now).is_some());
        let has_secret =
            self.token_kid.as_ref().is_none_or(|kid| ring.token_secrets.iter().any(|secret| secret.kid == *kid));
        !self.is_none() && has_key && has_secret
    }
}

/// Why a client is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("a write key is needed: {{key}} in the hello, or ?key= in the address")]
    KeyRequired,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("this key is unknown, revoked or expired")]
    UnknownKey,
    #[error("this key does not record: a write key does")]
    WrongKind,
    #[error("this key is not for pages of this origin")]
    WrongOrigin,
    #[error("a token is needed: {{token}} in the hello, signed by the shop")]
    TokenRequired,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the token is another user's")]
    WrongUser,
    #[error("this key has as many connections as it may")]
    Limited,
}

impl Refusal {
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Token(TokenError::Expired) => ErrorCode::TokenExpired,
            Self::KeyRequired
            | Self::Malformed(_)
            | Self::UnknownKey
            | Self::WrongKind
            | Self::TokenRequired
            | Self::Token(_) => ErrorCode::Unauthorized,
            Self::WrongOrigin => ErrorCode::ForeignOrigin,
            Self::WrongUser => ErrorCode::WrongUser,
            Self::Limited => ErrorCode::RateLimited,
        }
    }
}

impl From<Refusal> for ProtocolError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

/// What tokens are for here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AdmissionRules {
    pub(super) is_token_required: bool,
    pub(super) tokens: TokenRules,
}

/// # Errors
/// [`Refusal`].
pub(super) fn admit(
    ring: &Keyring,
    rules: &AdmissionRules,
    page: &Page,
    key_in_query: Option<&str>,
    hello: &Hello,
    now: Timestamp,
) -> Result<Identity, Refusal> {
    let shown = hello.token.as_deref();
    let token = shown.map(|token| tokens::verify(token, &ring.token_secrets, &rules.tokens, now)).transpose()?;
    if token.is_none() && rules.is_token_required {
        return Err(Refusal::TokenRequired);
    }
    let key = match hello.key.as_deref().or(key_in_query) {
        Some(text) => Some(shown_key(ring, page, text, now)?),
        None => anonymous_key(ring, page, now),
    };
    // A token needs no key: its secret is the shop's, a write key is anybody's who looks into a page.
    if token.is_none() && key.is_none() {
        return Err(Refusal::KeyRequired);
    }
    if let (Some(token), Some(named)) = (&token, &hello.user)
        && token.user != *named
    {
        return Err(Refusal::WrongUser);
    }
    let ends = [token.as_ref().map(|token| token.valid_until), key.and_then(|key| key.expires_at)];
    Ok(Identity {
        valid_until: ends.into_iter().flatten().min(),
        proof: Proof { key: key.map(|key| key.id.clone()), token_kid: token.as_ref().map(|token| token.kid.clone()) },
        user: token.map(|token| token.user),
    })
}

fn shown_key<'a>(ring: &'a Keyring, page: &Page, text: &str, now: Timestamp) -> Result<&'a Key, Refusal> {
    let (_, digest) = SecretDigest::of_shown(text)?;
    let key = ring.find(digest, now).ok_or(Refusal::UnknownKey)?;
    if key.kind != KeyKind::Write {
        return Err(Refusal::WrongKind);
    }
    let is_at_home = match &page.origin {
        None => true,
        Some(_) if key.origins.is_empty() => page.is_of_server,
        Some(origin) => key.lists(origin),
    };
    if is_at_home { Ok(key) } else { Err(Refusal::WrongOrigin) }
}

fn anonymous_key<'a>(ring: &'a Keyring, page: &Page, now: Timestamp) -> Option<&'a Key> {
    let origin = page.origin.as_deref()?;
    ring.write_keys(now).find(|key| key.is_anonymous && key.lists(origin))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{
        super::{
            keyring::tests::key,
            secret::NewSecret,
            tokens::tests::{sign, token_secret},
        },
        *,
    };

    const SHOP: &str = "https://shop.example";
    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn now() -> Timestamp {
        Timestamp::from_unix_ms(1_800_000_000_000).unwrap()
    }

    fn rules() -> AdmissionRules {
        let tokens = TokenRules { audience: None, leeway: Duration::ZERO, max_lifetime: Duration::from_hours(1) };
        AdmissionRules { is_token_required: false, tokens }
    }

    fn token(user: &str, lifetime_s: i64) -> String {
        sign(&json!({"alg": "HS256"}), &json!({"sub": user, "exp": 1_800_000_000 + lifetime_s}), SECRET)
    }

    fn page(origin: &str) -> Page {
        Page { origin: Some(origin.to_owned()), is_of_server: false }
    }

    fn hello(key: Option<&NewSecret>, token: Option<String>, user: Option<&str>) -> Hello {
        Hello {
            key: key.map(|key| key.reveal().to_owned()),
            token,
            user: user.map(|user| UserId::parse(user).unwrap()),
            ..Hello::default()
        }
    }

    /// A write key for the shop's pages, with its ring.
    fn shop() -> (Keyring, NewSecret) {
        let (mut key, secret) = key(KeyKind::Write, "web");
        key.origins = vec![SHOP.parse().unwrap()];
        (Keyring { keys: vec![key], token_secrets: vec![token_secret("a", SECRET)] }, secret)
    }

    #[test]
    fn a_write_key_opens_the_door_for_its_own_pages() {
        let (ring, secret) = shop();
        let admit = |page: &Page, hello: &Hello| super::admit(&ring, &rules(), page, None, hello, now());
        let with_key = hello(Some(&secret), None, Some("anna"));
        let identity = admit(&page(SHOP), &with_key).unwrap();
        assert_eq!((identity.user, identity.valid_until), (None, None), "it may name any user");
        assert!(admit(&Page::default(), &with_key).is_ok(), "a program has no origin");
        assert_eq!(admit(&page("https://evil.example"), &with_key), Err(Refusal::WrongOrigin));
        assert_eq!(admit(&page(SHOP), &hello(None, None, None)), Err(Refusal::KeyRequired));
        let unknown = NewSecret::generate(crate::auth::secret::SecretKind::Write).unwrap();
        assert_eq!(admit(&page(SHOP), &hello(Some(&unknown), None, None)), Err(Refusal::UnknownKey));
        let misspelt = Hello { key: Some(format!("{}x", secret.reveal())), ..Hello::default() };
        assert_eq!(admit(&page(SHOP), &misspelt), Err(Refusal::Malformed(Malformed)));
        let in_query = super::admit(&ring, &rules(), &page(SHOP), Some(secret.reveal()), &Hello::default(), now());
        assert!(in_query.is_ok());
    }

    #[test]
    fn a_key_without_origins_is_for_the_servers_pages() {
        let (key, secret) = key(KeyKind::Write, "web");
        let ring = Keyring { keys: vec![key], token_secrets: Vec::new() };
        let hello = hello(Some(&secret), None, None);
        let of_server = Page { is_of_server: true, ..page(SHOP) };
        assert!(admit(&ring, &rules(), &of_server, None, &hello, now()).is_ok());
        assert_eq!(admit(&ring, &rules(), &page(SHOP), None, &hello, now()), Err(Refusal::WrongOrigin));
    }

    #[test]
    fn keys_of_other_kinds_do_not_record() {
        for kind in [KeyKind::Read, KeyKind::Admin] {
            let (key, secret) = key(kind, "x");
            let ring = Keyring { keys: vec![key], token_secrets: Vec::new() };
            let refused = admit(&ring, &rules(), &Page::default(), None, &hello(Some(&secret), None, None), now());
            assert_eq!(refused, Err(Refusal::WrongKind));
        }
    }

    #[test]
    fn an_anonymous_key_is_shown_by_the_origin() {
        let (mut ring, _) = shop();
        ring.keys[0].is_anonymous = true;
        let admit = |page: &Page| super::admit(&ring, &rules(), page, None, &Hello::default(), now());
        assert_eq!(admit(&page(SHOP)).unwrap().proof.key.as_deref(), Some("web"));
        assert_eq!(admit(&page("https://evil.example")), Err(Refusal::KeyRequired));
        assert_eq!(admit(&Page::default()), Err(Refusal::KeyRequired), "a program shows its key");
    }

    #[test]
    fn a_token_binds_to_its_user_and_its_time() {
        let (ring, secret) = shop();
        let admit = |hello: &Hello| admit(&ring, &rules(), &page(SHOP), None, hello, now());
        let identity = admit(&hello(None, Some(token("anna", 60)), None)).unwrap();
        assert_eq!(identity.user.as_ref().unwrap().as_str(), "anna");
        assert_eq!(identity.valid_until.unwrap().since(now()), Duration::from_mins(1));
        assert!(admit(&hello(Some(&secret), Some(token("anna", 60)), Some("anna"))).is_ok());
        let as_eve = admit(&hello(Some(&secret), Some(token("anna", 60)), Some("eve")));
        assert_eq!(as_eve, Err(Refusal::WrongUser));
        let expired = admit(&hello(Some(&secret), Some(token("anna", -1)), None));
        assert_eq!(expired.unwrap_err().code(), ErrorCode::TokenExpired);
        let forged = admit(&hello(Some(&secret), Some(format!("{}x", token("anna", 60))), None));
        assert_eq!(forged.unwrap_err().code(), ErrorCode::Unauthorized, "a right key does not make up for it");
        let wrong_key = Hello { key: Some("x".to_owned()), ..hello(None, Some(token("anna", 60)), None) };
        assert!(admit(&wrong_key).is_err(), "nor a right token for a wrong key");
    }

    #[test]
    fn a_required_token_is_required() {
        let (ring, secret) = shop();
        let rules = AdmissionRules { is_token_required: true, ..rules() };
        let without = admit(&ring, &rules, &page(SHOP), None, &hello(Some(&secret), None, Some("anna")), now());
        assert_eq!(without, Err(Refusal::TokenRequired));
        let with = hello(None, Some(token("anna", 60)), None);
        assert!(admit(&ring, &rules, &page(SHOP), None, &with, now()).is_ok());
    }

    #[test]
    fn a_proof_holds_until_its_key_or_secret_is_gone() {
        let (mut ring, secret) = shop();
        let with_key = admit(&ring, &rules(), &page(SHOP), None, &hello(Some(&secret), None, None), now()).unwrap();
        let token = hello(None, Some(token("anna", 60)), None);
        let with_token = admit(&ring, &rules(), &page(SHOP), None, &token, now()).unwrap();
        assert!(with_key.proof.holds(&ring, now()) && with_token.proof.holds(&ring, now()));
        ring.keys[0].expires_at = Some(now());
        assert!(!with_key.proof.holds(&ring, now()) && with_token.proof.holds(&ring, now()));
        ring.token_secrets.clear();
        assert!(!with_token.proof.holds(&ring, now()));
        assert!(!Identity::default().proof.holds(&ring, now()), "let in while everything was open");
    }
}
