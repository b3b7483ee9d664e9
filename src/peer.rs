//! The peer at the other end: the peer of the socket or, if that is one of our proxies, the peer that it connects for.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use http::HeaderMap;
use ipnet::IpNet;

/// Hops that are read, nearest first.
const HOPS_MAX: usize = 32;

/// The peer that counts: `socket` or, if that is a `trusted` proxy, the nearest hop of `X-Forwarded-For` that is not a
/// trusted proxy.
///
/// Each proxy appends the address that connected to it. So everything to the left of an untrusted hop is only a claim
/// of that hop.
pub fn real(socket: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |peer: &IpAddr| trusted.iter().any(|network| network.contains(peer));
    if !is_trusted(&socket) {
        return socket;
    }
    let values = headers.get_all("x-forwarded-for").iter().rev();
    let hops = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b',')).take(HOPS_MAX);
    let mut nearest = socket;
    for hop in hops {
        let Some(peer) = str::from_utf8(hop).ok().and_then(|hop| parse(hop.trim())) else { return nearest };
        nearest = peer;
        if !is_trusted(&peer) {
            break;
        }
    }
    nearest
}

/// An address, with or without a port.
fn parse(hop: &str) -> Option<IpAddr> {
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let peer =
        hop.parse::<IpAddr>().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|peer| peer.ip())).or_else(bracketed);
    peer.map(|peer| peer.to_canonical())
}

/// The address by which peers are told apart: an IPv4 address, or the /64 network of an IPv6 address, which is the
/// smallest network that anybody is given.
///
/// IPv4 addresses are kept as IPv6 addresses (RFC 4291 section 2.5.5.2). An `IpAddr` has 12 bytes that an IPv4 address
/// does not write. In a table, these would keep whatever was on the stack before, such as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(Ipv6Addr);

/// The network of `peer`.
pub fn network(peer: IpAddr) -> Network {
    Network(match peer {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64),
    })
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_canonical() {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(socket: &str, forwarded: &[&str], expected: &str) {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network")).into();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().expect("a header value"));
        }
        let socket = socket.parse().expect("an address");
        assert_eq!(real(socket, &headers, &trusted).to_string(), expected, "{forwarded:?}");
    }

    #[test]
    fn only_proxies_of_ours_are_believed() {
        check("192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9, 198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9, 198.51.100.7, 10.0.0.2"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9", "198.51.100.7,10.0.0.2"], "198.51.100.7");
        check("fd00::1", &["[2001:db8::7]:4711"], "2001:db8::7");
        check("10.0.0.1", &["198.51.100.7:80"], "198.51.100.7");
        check("10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check("10.0.0.1", &["198.51.100.7, nonsense"], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.7, nonsense, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &[""], "10.0.0.1");
    }
}
