//! From a configuration to the network of its interface.

use std::net::{IpAddr, SocketAddr};

use network_setup::{Dns, Mtu, Prefix, Setup};
use ringfort_config as config;
use ringfort_config::{Config, Endpoint};

/// What the network should be. `located` are endpoints that were resolved.
pub fn setup(interface: &str, config: &Config, located: impl IntoIterator<Item = SocketAddr>) -> Setup {
    let wanted = &config.interface;
    let own = config.own_key();
    let endpoints = config.others(own).filter_map(|peer| match peer.endpoint {
        Some(Endpoint::Address(addr)) => Some(addr.ip()),
        _ => None,
    });
    let mut endpoints: Vec<IpAddr> = endpoints.chain(located.into_iter().map(|addr| addr.ip())).collect();
    endpoints.sort_unstable();
    endpoints.dedup();
    let mut dns = Dns::default();
    for element in &wanted.dns {
        match element {
            config::Dns::Server(addr) => dns.servers.push(*addr),
            config::Dns::Search(domain) => dns.search.push(domain.clone()),
        }
    }
    Setup {
        interface: interface.to_owned(),
        addresses: wanted.addresses.iter().map(|address| prefix(address.addr, address.len)).collect(),
        mtu: wanted.mtu.map_or(Mtu::Auto, Mtu::Bytes),
        routes: wanted.table,
        allowed_ips: config
            .others(own)
            .flat_map(|peer| &peer.allowed_ips)
            .map(|allowed| prefix(allowed.addr(), allowed.len()))
            .collect(),
        fwmark: wanted.fwmark.filter(|&mark| mark != 0),
        dns,
        endpoints,
    }
}

fn prefix(addr: IpAddr, len: u8) -> Prefix {
    Prefix::new(addr, len).expect("the configuration has no prefix that is longer than its address")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ringfort_config::{KeyFiles, Memory, key_text, load};
    use ringfort_core::crypto::PublicKey;

    use super::super::work::{endpoints, jobs};
    use super::*;

    fn config(text: &str) -> Config {
        let files = Memory::new([("wg0.conf", text.as_bytes())]);
        load(Path::new("wg0.conf"), &files, KeyFiles::Needed).unwrap().config
    }

    /// One list can be given to all gateways: none puts its own LAN into its tunnel, or measures the way to itself.
    #[test]
    fn the_section_with_our_own_key_counts_nowhere() {
        let text = "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n";
        let own = config(text).own_key().unwrap();
        let peer = |key: PublicKey, rest: &str| format!("[Peer]\nPublicKey = {}\n{rest}\n", key_text::encode(&key));
        let other = peer(PublicKey::new([1; 32]), "AllowedIPs = 10.0.1.0/24\nEndpoint = 192.0.2.1:1");
        let expected = config(&(text.to_owned() + &other));
        for endpoint in ["192.0.2.7:7", "own.example:7"] {
            let section = peer(own, &format!("AllowedIPs = 10.0.0.0/24, ::/0\nEndpoint = {endpoint}"));
            let config = config(&(text.to_owned() + &section + &other));
            assert_eq!(setup("wg0", &config, []), setup("wg0", &expected, []));
            assert!(jobs(&config, None).is_empty() && endpoints(&config) == endpoints(&expected), "{endpoint}");
        }
    }
}
