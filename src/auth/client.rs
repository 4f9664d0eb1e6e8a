//! Who is at the other end: a connection's own address, or what a trusted proxy says in front of it.
//!
//! Promises: a header counts only when it comes from a trusted proxy, and of the addresses in it only the last one that
//! no trusted proxy has: everything before that could have been written by the client.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::{
    HttpRequest,
    http::{
        header::{self, HeaderMap, HeaderName},
        uri::Authority,
    },
};

use crate::config::{ForwardedHeader, Networks};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Whom to believe.
#[derive(Clone, Debug)]
pub struct ProxyRules {
    pub trusted: Networks,
    pub header: ForwardedHeader,
}

/// What is known of a request's sender.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    pub address: IpAddr,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'static str,
    /// With its port; empty when the client named none.
    pub host: String,
    /// Somebody who is not trusted says that he speaks for another.
    pub has_unread_headers: bool,
}

impl ProxyRules {
    #[must_use]
    pub fn client(&self, request: &HttpRequest) -> Client {
        let headers = request.headers();
        let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
        let scheme = if request.app_config().secure() { "https" } else { "http" };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| request.uri().authority().map(Authority::as_str)).unwrap_or_default();
        let mut client = Client { address: peer, scheme, host: host.to_owned(), has_unread_headers: false };
        if !self.trusted.contains(peer) {
            client.has_unread_headers = headers.contains_key(FORWARDED_FOR) || headers.contains_key(header::FORWARDED);
            return client;
        }
        let told = match self.header {
            ForwardedHeader::XForwardedFor => Told::in_x_headers(headers),
            ForwardedHeader::Forwarded => Told::in_forwarded(headers),
        };
        client.address = self.last_untrusted(peer, &told.addresses);
        match told.scheme.as_deref() {
            Some("https") => client.scheme = "https",
            Some("http") => client.scheme = "http",
            _ => {}
        }
        if let Some(host) = told.host {
            client.host = host;
        }
        client
    }

    /// From right to left, as the proxies stand. What is no address ends the search: nobody vouches for what is before.
    fn last_untrusted(&self, peer: IpAddr, addresses: &[String]) -> IpAddr {
        let mut client = peer;
        for text in addresses.iter().rev() {
            let Some(address) = parse_address(text) else { break };
            client = address;
            if !self.trusted.contains(address) {
                break;
            }
        }
        client
    }
}

/// What a proxy says, the last value of each where there are several: the nearest proxy's.
#[derive(Default)]
struct Told {
    /// In the order of the header: the client first.
    addresses: Vec<String>,
    scheme: Option<String>,
    host: Option<String>,
}

impl Told {
    fn in_x_headers(headers: &HeaderMap) -> Self {
        let values = |name| elements(headers, name).collect::<Vec<_>>();
        Self {
            addresses: values(FORWARDED_FOR),
            scheme: values(FORWARDED_PROTO).pop().map(|scheme| scheme.to_ascii_lowercase()),
            host: values(FORWARDED_HOST).pop(),
        }
    }

    /// RFC 7239: `for=192.0.2.60;proto=https, for="[2001:db8::1]:4711"`.
    fn in_forwarded(headers: &HeaderMap) -> Self {
        let mut told = Self::default();
        for element in elements(headers, header::FORWARDED) {
            let mut is_named = false;
            for pair in element.split(';') {
                let Some((name, value)) = pair.split_once('=') else { continue };
                let value = value.trim().trim_matches('"').to_owned();
                match name.trim().to_ascii_lowercase().as_str() {
                    "for" if !is_named => {
                        is_named = true;
                        told.addresses.push(value);
                    }
                    "proto" => told.scheme = Some(value.to_ascii_lowercase()),
                    "host" => told.host = Some(value),
                    _ => {}
                }
            }
            if !is_named {
                // A hop that hides itself: nothing before it can be told apart.
                told.addresses.push(String::new());
            }
        }
        told
    }
}

/// All elements of all lines of a header, in order.
fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = String> {
    let lines = headers.get_all(name).map(|value| value.to_str().unwrap_or_default());
    lines.flat_map(|line| line.split(',')).map(|element| element.trim().to_owned())
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
fn parse_address(text: &str) -> Option<IpAddr> {
    let unbracketed = |text: &str| text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()));
    address.or_else(|| unbracketed(text)).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const PROXY: &str = "10.0.0.1:1";

    fn rules(header: ForwardedHeader) -> ProxyRules {
        ProxyRules { trusted: Networks::try_from(vec!["10.0.0.0/8".to_owned()]).unwrap(), header }
    }

    fn client(peer: &str, header: ForwardedHeader, lines: &[(&'static str, &str)]) -> Client {
        let mut request =
            TestRequest::default().peer_addr(peer.parse().unwrap()).insert_header(("host", "voice.example"));
        for line in lines {
            request = request.append_header(*line);
        }
        rules(header).client(&request.to_http_request())
    }

    fn address(lines: &[(&'static str, &str)]) -> String {
        client(PROXY, ForwardedHeader::XForwardedFor, lines).address.to_string()
    }

    #[test]
    fn a_stranger_speaks_for_himself_only() {
        let lines = [("x-forwarded-for", "192.0.2.9"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "evil")];
        let stranger = client("203.0.113.5:1", ForwardedHeader::XForwardedFor, &lines);
        assert_eq!(stranger.address.to_string(), "203.0.113.5");
        assert_eq!((stranger.scheme, stranger.host.as_str()), ("http", "voice.example"));
        assert!(stranger.has_unread_headers);
    }

    #[test]
    fn a_trusted_proxy_speaks_for_its_client() {
        let lines = [("x-forwarded-for", "192.0.2.9"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "shop")];
        let told = client(PROXY, ForwardedHeader::XForwardedFor, &lines);
        assert_eq!(told.address.to_string(), "192.0.2.9");
        assert_eq!((told.scheme, told.host.as_str(), told.has_unread_headers), ("https", "shop", false));
    }

    #[test]
    fn what_the_client_wrote_before_is_not_believed() {
        assert_eq!(address(&[("x-forwarded-for", "1.1.1.1, 192.0.2.9")]), "192.0.2.9");
        assert_eq!(address(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.9, 10.9.9.9")]), "192.0.2.9");
        assert_eq!(address(&[("x-forwarded-for", "10.0.0.7")]), "10.0.0.7", "all of them are trusted");
        assert_eq!(address(&[("x-forwarded-for", "1.1.1.1, unknown, 10.0.0.7")]), "10.0.0.7");
        assert_eq!(address(&[("x-forwarded-for", "")]), "10.0.0.1");
        assert_eq!(address(&[("forwarded", "for=192.0.2.9")]), "10.0.0.1", "the other header is not read");
    }

    #[test]
    fn every_spelling_of_an_address_is_read() {
        for (text, expected) in [
            ("192.0.2.9:4711", "192.0.2.9"),
            ("2001:db8::9", "2001:db8::9"),
            ("[2001:db8::9]:4711", "2001:db8::9"),
            ("[2001:db8::9]", "2001:db8::9"),
            ("::ffff:192.0.2.9", "192.0.2.9"),
        ] {
            assert_eq!(address(&[("x-forwarded-for", text)]), expected);
        }
    }

    #[test]
    fn the_standard_header_is_read_where_it_is_set() {
        let told = |line| client(PROXY, ForwardedHeader::Forwarded, &[("forwarded", line)]);
        let client = told("for=1.1.1.1, For=\"[2001:db8::9]:47\";proto=HTTPS;host=shop.example");
        assert_eq!(client.address.to_string(), "2001:db8::9");
        assert_eq!((client.scheme, client.host.as_str()), ("https", "shop.example"));
        assert_eq!(told("for=1.1.1.1, for=_hidden").address.to_string(), "10.0.0.1");
        assert_eq!(told("for=1.1.1.1, proto=https").address.to_string(), "10.0.0.1");
        let other = super::ProxyRules::client;
        let request =
            TestRequest::default().peer_addr(PROXY.parse().unwrap()).insert_header(("x-forwarded-for", "1.1.1.1"));
        assert_eq!(
            other(&rules(ForwardedHeader::Forwarded), &request.to_http_request()).address.to_string(),
            "10.0.0.1"
        );
    }
}
