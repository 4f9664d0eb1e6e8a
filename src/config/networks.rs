//! Sets of network addresses: `10.0.0.0/8`, `::1`, or a word for what everybody means by it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

/// Of this machine.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];
/// Of no machine on the internet: a platform's proxies, a container's network.
const PRIVATE: [&str; 8] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

/// A set of addresses.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Networks(Vec<IpNet>);

impl Networks {
    #[must_use]
    pub fn loopback() -> Self {
        Self(LOOPBACK.iter().filter_map(|net| net.parse().ok()).collect())
    }

    /// An IPv4 address that arrived over an IPv6 socket is an IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<String>> for Networks {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let mut networks = Vec::new();
        for text in texts {
            match text.as_str() {
                "loopback" => networks.extend(LOOPBACK.iter().filter_map(|net| net.parse::<IpNet>().ok())),
                "private" => networks.extend(PRIVATE.iter().filter_map(|net| net.parse::<IpNet>().ok())),
                _ => {
                    let address = text.parse::<IpAddr>().map(IpNet::from);
                    let network = text.parse::<IpNet>().or(address);
                    networks.push(network.map_err(|_| {
                        format!(
                            "\"{text}\" is neither an address, nor a network like 10.0.0.0/8, nor loopback or private"
                        )
                    })?);
                }
            }
        }
        Ok(Self(networks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(networks: &[&str], address: &str) -> bool {
        let networks = networks.iter().map(ToString::to_string).collect::<Vec<_>>();
        Networks::try_from(networks).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn addresses_networks_and_words_are_taken() {
        assert!(contains(&["192.0.2.7"], "192.0.2.7") && !contains(&["192.0.2.7"], "192.0.2.8"));
        assert!(contains(&["2001:db8::/32"], "2001:db8::1"));
        assert!(contains(&["loopback"], "127.8.8.8") && contains(&["loopback"], "::1"));
        assert!(contains(&["private"], "172.31.0.1") && !contains(&["private"], "172.32.0.1"));
        assert!(contains(&["10.0.0.0/8"], "::ffff:10.1.2.3"), "IPv4 in IPv6");
        assert!(Networks::loopback().contains("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "proxy.example", "10.0.0"] {
            assert!(Networks::try_from(vec![text.to_owned()]).is_err(), "{text}");
        }
    }

    #[test]
    fn the_words_are_networks() {
        for net in LOOPBACK.iter().chain(&PRIVATE) {
            assert!(net.parse::<IpNet>().is_ok(), "{net}");
        }
    }
}
