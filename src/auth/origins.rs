//! Which web pages may connect and read, and the headers that tell their browsers so.
//!
//! Promises: a page that is not allowed is refused on every transport (browsers apply no such rule to websockets); a
//! page's own origin is echoed and never `*`, so that it may send credentials. Requests without an `Origin` come from
//! no page of another site and are let in.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponseBuilder,
    http::header::{self, HeaderMap, HeaderValue},
};

use crate::domain::OriginPattern;

/// How long a browser may remember a preflight's answer.
const PREFLIGHT_MAX_AGE_S: &str = "600";

/// The origins that an operator listed. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigins(Arc<[OriginPattern]>);

impl AllowedOrigins {
    /// Texts that are no pattern match nothing; the configuration refuses them before.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        Self(origins.iter().filter_map(|origin| origin.parse().ok()).collect())
    }

    /// Whether a page of `origin` is listed.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(origin))
    }

    /// # Errors
    /// [`ForeignOrigin`] when the request comes from a page that is neither listed nor of this very server.
    pub fn check(&self, request: &HttpRequest) -> Result<PageOrigin, ForeignOrigin> {
        PageOrigin::of(request, |origin| self.allows(origin))
    }
}

/// The page may not do this here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("pages of this origin may not connect: list it in server.origins (ORIGIN), or with a write key")]
pub struct ForeignOrigin;

/// The page that a request comes from, and that may make it; none where a program that is no browser makes it.
#[derive(Clone, Debug, Default)]
pub struct PageOrigin(Option<HeaderValue>);

impl PageOrigin {
    /// The page behind `request`. A page of this very server is always allowed.
    ///
    /// # Errors
    /// [`ForeignOrigin`] when `is_allowed` says so, and when there are several origins or none that can be read.
    pub fn of(request: &HttpRequest, is_allowed: impl FnOnce(&str) -> bool) -> Result<Self, ForeignOrigin> {
        let headers = request.headers();
        let mut origins = headers.get_all(header::ORIGIN);
        let Some(origin) = origins.next() else { return Ok(Self(None)) };
        let text = origin.to_str().map_err(|_| ForeignOrigin)?;
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let is_own = || text.split_once("://").is_some_and(|(_, authority)| Some(authority) == host);
        if origins.next().is_none() && (is_own() || is_allowed(text)) {
            Ok(Self(Some(origin.clone())))
        } else {
            Err(ForeignOrigin)
        }
    }

    /// As the browser wrote it.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_ref().and_then(|origin| origin.to_str().ok())
    }

    /// The page may read this answer.
    pub fn allow(&self, response: &mut HttpResponseBuilder) {
        response.insert_header((header::VARY, "Origin"));
        if let Some(origin) = &self.0 {
            response
                .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()))
                .insert_header((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"));
        }
    }

    /// The answer to a preflight: the page may send what it asks for, by these methods.
    pub fn allow_request(&self, methods: &'static str, asked: &HeaderMap, response: &mut HttpResponseBuilder) {
        self.allow(response);
        if self.0.is_some() {
            response
                .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, methods))
                .insert_header((header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE_S));
            if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                response.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn may_connect(origins: &AllowedOrigins, origin: &str) -> bool {
        let request = TestRequest::default()
            .insert_header((header::HOST, "api.example:4001"))
            .insert_header((header::ORIGIN, origin.to_owned()));
        origins.check(&request.to_http_request()).is_ok()
    }

    #[test]
    fn only_what_is_listed_and_the_servers_own_pages_are_allowed() {
        let listed = ["https://shop.example", "http://localhost:8080", "https://*.shops.example"];
        let origins = AllowedOrigins::new(&listed.map(str::to_owned));
        for origin in [
            "https://shop.example",
            "HTTPS://Shop.Example",
            "http://localhost:8080",
            "https://a.shops.example",
            "http://api.example:4001",
        ] {
            assert!(may_connect(&origins, origin), "{origin}");
        }
        for origin in
            ["http://shop.example", "https://shop.example:444", "https://a.shop.example", "null", "api.example:4001"]
        {
            assert!(!may_connect(&origins, origin), "{origin}");
        }
        assert!(!may_connect(&AllowedOrigins::new(&[]), "https://shop.example"));
        assert!(may_connect(&AllowedOrigins::new(&["*".into()]), "null"));
    }

    #[test]
    fn a_request_of_no_page_is_let_in() {
        let request = TestRequest::default().to_http_request();
        assert!(AllowedOrigins::new(&[]).check(&request).is_ok());
    }

    #[test]
    fn two_origins_are_none() {
        let request = TestRequest::default()
            .append_header((header::ORIGIN, "https://shop.example"))
            .append_header((header::ORIGIN, "https://evil.example"));
        let origins = AllowedOrigins::new(&["https://shop.example".into()]);
        assert!(origins.check(&request.to_http_request()).is_err());
    }
}
