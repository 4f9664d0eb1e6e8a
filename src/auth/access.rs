//! The one who decides: keys of the moment, rules of the configuration, limits.
//!
//! Owns: the keyring in use and its replacement, and whether this server is open.
//! Promises: without keys it is open, and serves this machine only; from the first key on it is closed until the process
//! ends, also when all keys are revoked; a keyring that cannot be read leaves the last good one in use.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use actix_web::{
    HttpRequest,
    http::{
        header::{self, HeaderMap},
        uri::Authority,
    },
};

use super::{
    admission::{self, AdmissionRules, Identity, Page, Refusal},
    client::{Client, ProxyRules},
    hosts,
    keyring::{Key, KeyKind, Keyring},
    keys_file::KeysError,
    limits::{Limited, Limits, Place, Throttle},
    links::{LinkSigner, LinkVerdict},
    origins::{AllowedOrigins, ForeignOrigin, PageOrigin},
    secret::SecretDigest,
    sources::KeySources,
    stats::AccessStats,
    tokens::TokenRules,
};
use crate::{
    config::Config,
    domain::Timestamp,
    protocol::{ErrorCode, Hello},
};

/// Longest query of a handshake that is looked through for a key.
const MAX_QUERY_BYTES: usize = 4_096;

/// Clones share everything.
#[derive(Clone)]
pub struct Access {
    shared: Arc<Shared>,
}

struct Shared {
    ring: RwLock<Arc<Keyring>>,
    sources: KeySources,
    is_open: AtomicBool,
    origins: AllowedOrigins,
    admission: AdmissionRules,
    proxies: ProxyRules,
    has_told_of_proxy: AtomicBool,
    public_url: Option<String>,
    allowed_hosts: Vec<String>,
    links: LinkSigner,
    limits: Arc<Limits>,
    stats: Arc<AccessStats>,
}

/// Why the server cannot start as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(
        "there are no keys, and {host} can be reached from other machines: whoever reaches it could read and write \
         everything. Make keys with `shopaloud keys new --kind write --origin https://shop.example --name shop` and \
         `shopaloud keys new --kind read --name dashboard`, or listen on 127.0.0.1 (HOST)"
    )]
    OpenToTheWorld { host: String },
    #[error(
        "auth.require_token (REQUIRE_TOKEN): is true, but no secret is there to check tokens with; make one with \
             `shopaloud keys new --kind token --name shop`"
    )]
    NoTokenSecret,
    #[error("{file}: {source}")]
    Links { file: String, source: io::Error },
}

/// What a reader must show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadLevel {
    /// A read or an admin key.
    Read,
    /// The same, or a link that this server signed.
    Media,
    /// An admin key.
    Admin,
}

/// Why a reader is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadRefusal {
    #[error("a key is needed: Authorization: Bearer sa_read_…")]
    KeyRequired,
    #[error("this key is misspelt, unknown, revoked or expired")]
    UnknownKey,
    #[error("this key is not for this")]
    NotEnough,
    #[error("this link has expired: ask for a new one")]
    LinkExpired,
    #[error("this link was changed")]
    LinkForged,
}

impl Access {
    /// Reads the keys and the secret of links, and checks them against the configuration.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn open(config: &Config) -> Result<Self, AccessError> {
        let ring = KeySources::of(config).read()?;
        if ring.is_empty() && !hosts::is_loopback_only(&config.server.host, config.server.port) {
            return Err(AccessError::OpenToTheWorld { host: config.server.host.clone() });
        }
        if config.auth.require_token && ring.token_secrets.is_empty() {
            return Err(AccessError::NoTokenSecret);
        }
        let data_dir = &config.storage.data_dir;
        let file = data_dir.join("link-secret");
        let links = std::fs::create_dir_all(data_dir)
            .and_then(|()| LinkSigner::open(&file, config.audio_link_lifetime))
            .map_err(|source| AccessError::Links { file: file.display().to_string(), source })?;
        Ok(Self::with(ring, links, config))
    }

    /// With these keys.
    pub(super) fn with(ring: Keyring, links: LinkSigner, config: &Config) -> Self {
        let stats = Arc::new(AccessStats::default());
        let auth = &config.auth;
        let shared = Shared {
            is_open: AtomicBool::new(ring.is_empty()),
            ring: RwLock::new(Arc::new(ring)),
            sources: KeySources::of(config),
            origins: AllowedOrigins::new(&config.server.origins),
            admission: AdmissionRules {
                is_token_required: auth.require_token,
                tokens: TokenRules {
                    audience: auth.token_audience.clone(),
                    leeway: auth.token_leeway,
                    max_lifetime: auth.token_max_lifetime,
                },
            },
            proxies: ProxyRules {
                trusted: config.server.trusted_proxies.clone(),
                header: config.server.forwarded_header,
            },
            has_told_of_proxy: AtomicBool::new(false),
            public_url: config.server.public_url.clone(),
            allowed_hosts: hosts::allowed(&auth.allowed_hosts, config.server.public_url.as_deref()),
            links,
            limits: Arc::new(Limits::new(&config.limits, Arc::clone(&stats))),
            stats,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes the keys as they are now. Whether anything changed.
    ///
    /// # Errors
    /// [`KeysError`]; the keys are as they were then.
    pub fn reload(&self) -> Result<bool, KeysError> {
        let read = self.shared.sources.read().inspect_err(|_| self.shared.stats.reloads_failed.count())?;
        Ok(self.replace(read))
    }

    /// Whether anything changed.
    pub(super) fn replace(&self, read: Keyring) -> bool {
        let mut ring = self.shared.ring.write().unwrap_or_else(PoisonError::into_inner);
        if **ring == read {
            return false;
        }
        // Never back: a keyring that became empty lets nobody in.
        if !read.is_empty() {
            self.shared.is_open.store(false, Ordering::Release);
        }
        *ring = Arc::new(read);
        true
    }

    fn ring(&self) -> Arc<Keyring> {
        Arc::clone(&self.shared.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Nobody has to show anything: there never were keys.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.is_open.load(Ordering::Acquire)
    }

    #[must_use]
    pub fn stats(&self) -> &AccessStats {
        &self.shared.stats
    }

    /// The origins of `server.origins`, for the answers to readers.
    #[must_use]
    pub fn origins(&self) -> &AllowedOrigins {
        &self.shared.origins
    }

    /// The sender of a request.
    #[must_use]
    pub fn client(&self, request: &HttpRequest) -> Client {
        let client = self.shared.proxies.client(request);
        if client.has_unread_headers && !self.shared.has_told_of_proxy.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "requests come with forwarding headers from an address that is not in server.trusted_proxies: if that \
                 is a proxy of yours, all its clients count as one"
            );
        }
        client
    }

    /// Where the client reaches this server, without a slash at the end.
    #[must_use]
    pub fn base_url(&self, request: &HttpRequest) -> String {
        self.shared.public_url.clone().unwrap_or_else(|| {
            let client = self.client(request);
            format!("{}://{}", client.scheme, client.host)
        })
    }

    /// Whether an open server answers to the name that it is asked for: a page that turned its own name to this address
    /// could read everything otherwise. With keys the name does not matter.
    #[must_use]
    pub fn is_asked_by_own_name(&self, request: &HttpRequest) -> bool {
        if !self.is_open() {
            return true;
        }
        let mut names = request.headers().get_all(header::HOST).map(|host| host.to_str().unwrap_or("?"));
        let in_address = request.uri().authority().map(Authority::as_str);
        let is_own = names.all(|name| hosts::is_own(name, &self.shared.allowed_hosts))
            && in_address.is_none_or(|name| hosts::is_own(name, &self.shared.allowed_hosts));
        if !is_own {
            self.shared.stats.foreign_host.count();
        }
        is_own
    }

    /// A TCP connection; its place must be kept as long as it lasts.
    ///
    /// # Errors
    /// [`Limited`]: cut it.
    pub fn socket(&self, peer: SocketAddr) -> Result<Option<Place>, Limited> {
        // Behind a proxy's address are all of its clients.
        if self.shared.proxies.trusted.contains(peer.ip()) {
            return Ok(None);
        }
        self.shared.limits.open_socket(peer.ip())
    }

    /// A request that is not a recording connection's.
    ///
    /// # Errors
    /// [`Limited`] when its sender makes too many.
    pub fn request(&self, address: IpAddr) -> Result<(), Limited> {
        self.shared.limits.request(address)
    }

    /// The page that wants to record. Which key it has is seen later; its origin must be known somewhere.
    ///
    /// # Errors
    /// [`ForeignOrigin`].
    pub fn page(&self, request: &HttpRequest) -> Result<PageOrigin, ForeignOrigin> {
        let ring = self.ring();
        let now = Timestamp::now();
        let is_known =
            |origin: &str| self.shared.origins.allows(origin) || ring.write_keys(now).any(|key| key.lists(origin));
        PageOrigin::of(request, is_known).inspect_err(|_| self.shared.stats.foreign_origin.count())
    }

    /// A recording connection begins.
    ///
    /// # Errors
    /// [`Limited`] when its address has too many.
    pub fn visit(&self, request: &HttpRequest, origin: &PageOrigin) -> Result<Visit, Limited> {
        let throttle = self.shared.limits.open_connection(self.client(request).address)?;
        let page = Page {
            origin: origin.as_str().map(str::to_owned),
            is_of_server: self.shared.origins.check(request).is_ok(),
        };
        Ok(Visit { access: self.clone(), page, key_in_query: key_in_query(request.query_string()), throttle })
    }

    /// Whether the bearer of this request may read so much.
    ///
    /// # Errors
    /// [`ReadRefusal`].
    pub fn read(&self, request: &HttpRequest, level: ReadLevel) -> Result<(), ReadRefusal> {
        if self.is_open() {
            return Ok(());
        }
        let stats = &self.shared.stats;
        self.judge_reader(request, level).inspect_err(|refusal| match refusal {
            ReadRefusal::KeyRequired | ReadRefusal::UnknownKey => stats.unauthorized.count(),
            ReadRefusal::NotEnough | ReadRefusal::LinkExpired | ReadRefusal::LinkForged => stats.forbidden.count(),
        })
    }

    fn judge_reader(&self, request: &HttpRequest, level: ReadLevel) -> Result<(), ReadRefusal> {
        let now = Timestamp::now();
        if let Some(shown) = bearer(request.headers()) {
            let (_, digest) = SecretDigest::of_shown(shown?).map_err(|_| ReadRefusal::UnknownKey)?;
            let ring = self.ring();
            let key = ring.find(digest, now).ok_or(ReadRefusal::UnknownKey)?;
            return if is_enough(key, level) { Ok(()) } else { Err(ReadRefusal::NotEnough) };
        }
        if level != ReadLevel::Media {
            return Err(ReadRefusal::KeyRequired);
        }
        match self.shared.links.verify(request.path(), request.query_string(), now) {
            LinkVerdict::Valid => Ok(()),
            LinkVerdict::Unsigned => Err(ReadRefusal::KeyRequired),
            LinkVerdict::Expired => Err(ReadRefusal::LinkExpired),
            LinkVerdict::Forged => Err(ReadRefusal::LinkForged),
        }
    }

    /// `path` as a link that its bearer can open: signed, unless everything is open.
    #[must_use]
    pub fn link(&self, path: &str) -> String {
        if self.is_open() { path.to_owned() } else { self.shared.links.sign(path, Timestamp::now()) }
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}

/// A recording connection, from its first request to its end.
#[derive(Clone, Debug)]
pub struct Visit {
    access: Access,
    page: Page,
    key_in_query: Option<String>,
    throttle: Throttle,
}

impl Visit {
    /// Who says this hello.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn admit(&self, hello: &Hello, now: Timestamp) -> Result<Identity, Refusal> {
        let shared = &self.access.shared;
        if self.access.is_open() {
            return Ok(Identity::default());
        }
        let ring = self.access.ring();
        let key_in_query = self.key_in_query.as_deref();
        let admitted = admission::admit(&ring, &shared.admission, &self.page, key_in_query, hello, now);
        let admitted = admitted.and_then(|identity| match &identity.proof.key {
            Some(id) => self.throttle.use_key(id).map(|()| identity).map_err(|_| Refusal::Limited),
            None => Ok(identity),
        });
        admitted.inspect_err(|refusal| self.count(refusal.code()))
    }

    /// Whether the one who was let in would still be: keys are revoked, and expire.
    #[must_use]
    pub fn is_still(&self, identity: &Identity, now: Timestamp) -> bool {
        self.access.is_open() || identity.proof.holds(&self.access.ring(), now)
    }

    /// A refusal that was decided elsewhere.
    pub fn count(&self, code: ErrorCode) {
        let stats = &self.access.shared.stats;
        match code {
            ErrorCode::Unauthorized => stats.unauthorized.count(),
            ErrorCode::TokenExpired => stats.token_expired.count(),
            ErrorCode::WrongUser => stats.wrong_user.count(),
            ErrorCode::ForeignOrigin => stats.foreign_origin.count(),
            _ => {}
        }
    }

    #[must_use]
    pub const fn throttle(&self) -> &Throttle {
        &self.throttle
    }
}

fn is_enough(key: &Key, level: ReadLevel) -> bool {
    match level {
        ReadLevel::Read | ReadLevel::Media => matches!(key.kind, KeyKind::Read | KeyKind::Admin),
        ReadLevel::Admin => key.kind == KeyKind::Admin,
    }
}

/// The key that a request shows. Two of them are none.
fn bearer(headers: &HeaderMap) -> Option<Result<&str, ReadRefusal>> {
    let mut shown = headers.get_all(header::AUTHORIZATION);
    let first = shown.next()?;
    let token = || {
        let (scheme, token) = first.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    };
    Some(if shown.next().is_some() { None } else { token() }.ok_or(ReadRefusal::UnknownKey))
}

fn key_in_query(query: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Query {
        key: Option<String>,
    }
    let query = query.get(..query.len().min(MAX_QUERY_BYTES))?;
    actix_web::web::Query::<Query>::from_query(query).ok()?.into_inner().key
}
