//! Lists of networks, which are easily mistaken for narrower or wider ones.

use std::net::IpAddr;

use ipnet::IpNet;

use super::section::Section;

/// The networks under `key`; empty if the key is missing.
pub(super) fn networks(section: &mut Section<'_>, key: &str) -> Vec<IpNet> {
    const DEMAND: &str = "must be addresses and networks, such as \"10.0.0.0/8\"";
    let parse = |text: &str| text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let is_there = section.has(key);
    let Some(networks) = section.all_parsed(key, DEMAND, parse) else { return Vec::new() };
    // An empty list means "all" to us and "nobody" to its author, so it is refused.
    if is_there && networks.is_empty() {
        section.wrong(key, DEMAND);
    }
    if let Some(wrong) = networks.iter().find_map(fault) {
        section.wrong(key, wrong);
    }
    networks
}

fn fault(network: &IpNet) -> Option<&'static str> {
    match network {
        _ if network.addr().is_unspecified() && network.prefix_len() == network.max_prefix_len() => {
            Some("has the unspecified address: to mean everybody, write \"0.0.0.0/0\" and \"::/0\"")
        }
        IpNet::V6(network) if network.addr().to_ipv4_mapped().is_some() => {
            Some("has an IPv4 address as IPv6: write it as \"192.0.2.7\"")
        }
        _ if network.trunc() != *network => Some("has a network with host bits set, as in \"10.0.0.7/8\""),
        _ => None,
    }
}

/// Whether some of `networks`, taken together, are wider than one owner can have.
pub(super) fn is_everybody(networks: &[IpNet]) -> bool {
    // The widest networks that one owner has are 10.0.0.0/8 and fc00::/7, which everybody may use privately.
    IpNet::aggregate(&networks.to_vec()).iter().any(|network| match network {
        IpNet::V4(network) => network.prefix_len() < 8,
        IpNet::V6(network) => network.prefix_len() < 16 && !network.addr().is_unique_local(),
    })
}
