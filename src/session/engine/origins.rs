//! Which web pages may connect, and the headers that tell their browsers so.
//!
//! Promises: a page that is not allowed is refused on every transport (browsers apply no such rule to websockets); a
//! page's own origin is echoed and never `*`, so that it may send credentials. Requests without an `Origin` come from
//! no page of another site and are let in.

use actix_web::{
    HttpRequest, HttpResponseBuilder,
    http::header::{self, HeaderMap, HeaderValue},
};

/// How long a browser may remember a preflight's answer.
const PREFLIGHT_MAX_AGE_S: &str = "600";

/// The origins that may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    Any,
    /// As browsers write them: scheme, host and, unless it is the scheme's own, port.
    Only(Vec<String>),
}

impl AllowedOrigins {
    /// `*` among them allows any.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        if origins.iter().any(|origin| origin == "*") { Self::Any } else { Self::Only(origins.to_vec()) }
    }

    /// A page of this very server may always connect.
    fn allows(&self, origin: &str, host: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::Only(origins) => {
                origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
                    || origin.split_once("://").is_some_and(|(_, authority)| Some(authority) == host)
            }
        }
    }

    /// # Errors
    /// [`Forbidden`] when the request comes from a page that may not connect.
    pub(super) fn check(&self, request: &HttpRequest) -> Result<Origin, Forbidden> {
        let headers = request.headers();
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(Origin(None)) };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        match origin.to_str() {
            Ok(text) if self.allows(text, host) => Ok(Origin(Some(origin.clone()))),
            _ => Err(Forbidden),
        }
    }
}

/// The page may not connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Forbidden;

/// The page that a request comes from, allowed to connect.
#[derive(Clone, Debug)]
pub(super) struct Origin(Option<HeaderValue>);

impl Origin {
    /// The page may read this answer.
    pub(super) fn allow(&self, response: &mut HttpResponseBuilder) {
        response.insert_header((header::VARY, "Origin"));
        if let Some(origin) = &self.0 {
            response
                .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()))
                .insert_header((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"));
        }
    }

    /// The answer to a preflight: the page may send what it asks for.
    pub(super) fn allow_request(&self, asked: &HeaderMap, response: &mut HttpResponseBuilder) {
        self.allow(response);
        if self.0.is_some() {
            response
                .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"))
                .insert_header((header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE_S));
            if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                response.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_and_the_servers_own_pages_are_allowed() {
        let origins = AllowedOrigins::new(&["https://shop.example".into(), "http://localhost:8080".into()]);
        let host = Some("api.example:4001");
        for origin in
            ["https://shop.example", "HTTPS://Shop.Example", "http://localhost:8080", "http://api.example:4001"]
        {
            assert!(origins.allows(origin, host), "{origin}");
        }
        for origin in
            ["http://shop.example", "https://shop.example:444", "https://a.shop.example", "null", "api.example:4001"]
        {
            assert!(!origins.allows(origin, host), "{origin}");
        }
        assert!(!AllowedOrigins::new(&[]).allows("https://shop.example", None));
        assert!(AllowedOrigins::new(&["*".into()]).allows("null", None));
    }
}
