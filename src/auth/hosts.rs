//! The names of this machine, for a server that is open to it alone.
//!
//! A web page anywhere can have its own name resolve to 127.0.0.1 and then be, for the browser, of the same origin as
//! this server (DNS rebinding). Its requests still carry its own name.

use std::net::{IpAddr, ToSocketAddrs};

/// Whether listening on `host` is listening to this machine alone. What cannot be resolved is not.
pub(super) fn is_loopback_only(host: &str, port: u16) -> bool {
    (host, port).to_socket_addrs().is_ok_and(|addresses| {
        let addresses: Vec<_> = addresses.collect();
        !addresses.is_empty() && addresses.iter().all(|address| address.ip().to_canonical().is_loopback())
    })
}

/// The names that an operator allows besides this machine's own, in lower case and without ports.
pub(super) fn allowed(listed: &[String], public_url: Option<&str>) -> Vec<String> {
    let authority = public_url.and_then(|url| url.split_once("://")).map(|(_, rest)| rest);
    let public = authority.and_then(|rest| rest.split('/').next()).map(str::to_owned);
    listed.iter().cloned().chain(public).map(|name| without_port(&name).to_ascii_lowercase()).collect()
}

/// Whether `name`, with or without a port, is this machine's or an allowed one.
pub(super) fn is_own(name: &str, allowed: &[String]) -> bool {
    let name = without_port(name).trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") || allowed.contains(&name) {
        return true;
    }
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn without_port(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => {
            // `::1` has no port, `[::1]:80` has one.
            if host.contains(':') && !host.ends_with(']') { name } else { host }
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_from_the_world() {
        for host in ["127.0.0.1", "127.8.8.8", "::1", "localhost"] {
            assert!(is_loopback_only(host, 4001), "{host}");
        }
        for host in ["0.0.0.0", "::", "192.0.2.1", "", "no such host"] {
            assert!(!is_loopback_only(host, 4001), "{host}");
        }
    }

    #[test]
    fn own_names_are_told_from_others() {
        let allowed = allowed(&["Dev.Shop.Example".to_owned()], Some("https://voice.example:8443/path"));
        for name in [
            "localhost",
            "LOCALHOST:4001",
            "shop.localhost:4001",
            "localhost.",
            "127.0.0.1:4001",
            "127.1.2.3",
            "[::1]:4001",
            "[::1]",
            "dev.shop.example:4001",
            "voice.example",
        ] {
            assert!(is_own(name, &allowed), "{name}");
        }
        for name in [
            "",
            "?",
            "evil.example",
            "evil.example:4001",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.1",
            "[::2]:4001",
            "notlocalhost",
            "localhost:evil",
            "localhost@evil.example",
            "a.voice.example",
        ] {
            assert!(!is_own(name, &allowed), "{name}");
        }
    }
}
