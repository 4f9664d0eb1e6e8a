//! Which web pages are meant: an origin as browsers write it, all subdomains of a name, or any page.
//!
//! Promises: a pattern matches whole host names only, so that `https://*.shop.example` takes neither
//! `https://shop.example.evil` nor `https://evilshop.example`.
//! Refuses: patterns that no `Origin` header can ever equal (a path, a capital port, letters outside ASCII), and those
//! that would cover a whole top-level domain.

use std::{fmt, str::FromStr};

/// A set of origins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OriginPattern(Kind);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    Any,
    /// In lower case.
    Exact(String),
    /// In lower case: `https` and `.shop.example:8443`.
    Subdomains {
        scheme: String,
        suffix: String,
    },
}

/// Why a text is no pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OriginError {
    #[error("is neither * nor an origin like https://shop.example or https://*.shop.example")]
    NotAnOrigin,
    #[error("covers a whole top-level domain")]
    TooWide,
}

impl OriginPattern {
    /// Whether a page of `origin` is meant. Schemes and hosts are compared without regard to case.
    #[must_use]
    pub fn matches(&self, origin: &str) -> bool {
        match &self.0 {
            Kind::Any => true,
            Kind::Exact(exact) => exact.eq_ignore_ascii_case(origin),
            Kind::Subdomains { scheme, suffix } => {
                let origin = origin.to_ascii_lowercase();
                let below = origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_prefix("://"));
                below.and_then(|host| host.strip_suffix(suffix.as_str())).is_some_and(is_host_name)
            }
        }
    }
}

impl FromStr for OriginPattern {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text == "*" {
            return Ok(Self(Kind::Any));
        }
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://").ok_or(OriginError::NotAnOrigin)?;
        if !matches!(scheme, "http" | "https") {
            return Err(OriginError::NotAnOrigin);
        }
        let (name, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => {
                address.parse::<std::net::Ipv6Addr>().map_err(|_| OriginError::NotAnOrigin)?;
                (None, port.strip_prefix(':').or((!port.is_empty()).then_some("")))
            }
            None => match authority.split_once(':') {
                Some((name, port)) => (Some(name), Some(port)),
                None => (Some(authority), None),
            },
        };
        if port.is_some_and(|port| !is_port(port)) {
            return Err(OriginError::NotAnOrigin);
        }
        let Some(name) = name else { return Ok(Self(Kind::Exact(text))) };
        let Some(parent) = name.strip_prefix("*.") else {
            return if is_host_name(name) { Ok(Self(Kind::Exact(text))) } else { Err(OriginError::NotAnOrigin) };
        };
        if !is_host_name(parent) {
            return Err(OriginError::NotAnOrigin);
        }
        if !parent.contains('.') && parent != "localhost" {
            return Err(OriginError::TooWide);
        }
        let suffix = authority.strip_prefix('*').unwrap_or(authority).to_owned();
        Ok(Self(Kind::Subdomains { scheme: scheme.to_owned(), suffix }))
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Any => f.write_str("*"),
            Kind::Exact(exact) => f.write_str(exact),
            Kind::Subdomains { scheme, suffix } => write!(f, "{scheme}://*{suffix}"),
        }
    }
}

/// Labels of letters, digits and hyphens (and the underscores of some intranets), separated by dots.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.split('.').all(is_label)
}

/// As browsers write it: digits, no zero before them.
fn is_port(port: &str) -> bool {
    port.parse::<u16>().is_ok_and(|number| number.to_string() == port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> OriginPattern {
        text.parse().unwrap()
    }

    #[test]
    fn an_exact_origin_matches_itself_in_any_case() {
        let shop = pattern("https://Shop.example");
        assert!(shop.matches("https://shop.example") && shop.matches("HTTPS://SHOP.EXAMPLE"));
        for other in ["http://shop.example", "https://shop.example:444", "https://a.shop.example", "null", ""] {
            assert!(!shop.matches(other), "{other}");
        }
        assert!(pattern("http://[::1]:8080").matches("http://[::1]:8080"));
        assert!(pattern("http://192.168.0.1:8080").matches("http://192.168.0.1:8080"));
    }

    #[test]
    fn a_wildcard_matches_subdomains_of_any_depth_and_nothing_else() {
        let shops = pattern("https://*.shop.example");
        for origin in ["https://www.shop.example", "https://a.b.shop.example", "HTTPS://WWW.Shop.Example"] {
            assert!(shops.matches(origin), "{origin}");
        }
        for origin in [
            "https://shop.example",
            "https://.shop.example",
            "https://evilshop.example",
            "https://www.shop.example.evil",
            "https://evil/.shop.example",
            "https://evil@www.shop.example",
            "https://evil:80.shop.example",
            "https://evil#.shop.example",
            "http://www.shop.example",
            "https://www.shop.example:8443",
            "null",
        ] {
            assert!(!shops.matches(origin), "{origin}");
        }
        let with_port = pattern("http://*.localhost:8080");
        assert!(with_port.matches("http://shop.localhost:8080") && !with_port.matches("http://shop.localhost"));
    }

    #[test]
    fn any_is_any() {
        assert!(pattern("*").matches("null") && pattern("*").matches("https://x"));
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for text in [
            "",
            "shop.example",
            "https://",
            "https://shop.example/",
            "https://shop.example/path",
            "https://user@shop.example",
            "https://shop..example",
            "https://shop.example:",
            "https://shop.example:https",
            "https://shop.example:0443",
            "https://shop.example:70000",
            "https://www.*.example",
            "https://*shop.example",
            "https://käse.example",
            "ftp://shop.example",
            "http://[::1",
            "http://[::1]8080",
            "http://[shop]",
        ] {
            assert_eq!(text.parse::<OriginPattern>(), Err(OriginError::NotAnOrigin), "{text}");
        }
        assert_eq!("https://*.example".parse::<OriginPattern>(), Err(OriginError::TooWide));
    }

    #[test]
    fn a_pattern_is_shown_as_it_was_written() {
        for text in ["*", "https://shop.example", "https://*.shop.example:8443", "http://[::1]:80"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }
}
