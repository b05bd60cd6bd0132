//! From a configuration to the network of its interface.

use std::net::{IpAddr, SocketAddr};

use network_setup::{Dns, Mtu, Prefix, Setup};
use ringfort_config as config;
use ringfort_config::{Config, Endpoint};

/// What the network should be. `located` are endpoints that were resolved.
pub fn setup(interface: &str, config: &Config, located: impl IntoIterator<Item = SocketAddr>) -> Setup {
    let wanted = &config.interface;
    let endpoints = config.peers.iter().filter_map(|peer| match peer.endpoint {
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
        allowed_ips: config.allowed_ips().map(|allowed| prefix(allowed.addr(), allowed.len())).collect(),
        fwmark: wanted.fwmark.filter(|&mark| mark != 0),
        dns,
        endpoints,
    }
}

fn prefix(addr: IpAddr, len: u8) -> Prefix {
    Prefix::new(addr, len).expect("the configuration has no prefix that is longer than its address")
}
