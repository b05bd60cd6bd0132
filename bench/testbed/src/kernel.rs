//! WireGuard of the kernel itself, where it has it.
//!
//! Its interfaces are made by `ip` and configured by `wg` (wireguard-tools), as an operator does it. Keys go through
//! its standard input, never through its arguments. `wg` talks to gateways in user space in the same way.

use std::net::{IpAddr, SocketAddr};

use crate::command::run_with_input;
use crate::netns::PORT;
use crate::programs::find_in_path;
use crate::{Error, Key, KeyPair, Namespace, Result, janitor};

/// A peer in the configuration of an interface.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Who it is.
    pub public: Key,
    /// The preshared key, if there is one.
    pub preshared: Option<Key>,
    /// Where it is, if that is known.
    pub endpoint: Option<SocketAddr>,
    /// Persistent keepalive, in seconds; 0 is off.
    pub keepalive_s: u16,
    /// Which addresses it has inside of the tunnel.
    pub allowed: Vec<IpAddr>,
}

impl Peer {
    /// One of whom nothing is known but a key and its addresses.
    pub fn silent(public: Key, allowed: Vec<IpAddr>) -> Self {
        Self { public, preshared: None, endpoint: None, keepalive_s: 0, allowed }
    }

    /// Its section in a file for `wg`, after an empty line.
    pub fn section(&self) -> String {
        let mut text = format!("\n[Peer]\nPublicKey = {}\n", self.public.base64());
        if let Some(key) = self.preshared {
            text += &format!("PresharedKey = {}\n", key.base64());
        }
        if let Some(endpoint) = self.endpoint {
            text += &format!("Endpoint = {endpoint}\n");
        }
        if self.keepalive_s > 0 {
            text += &format!("PersistentKeepalive = {}\n", self.keepalive_s);
        }
        let host = |address: &IpAddr| format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
        text + &format!("AllowedIPs = {}\n", self.allowed.iter().map(host).collect::<Vec<_>>().join(", "))
    }
}

/// Whether this kernel has WireGuard, and this system `wg`.
///
/// # Errors
/// It has not; the error says what is missing, and how to get it.
pub fn probe() -> Result<()> {
    if find_in_path("wg".as_ref(), "/nonexistent".as_ref()).is_none() {
        return Err(Error::new("kernel WireGuard is configured by `wg`: install wireguard-tools"));
    }
    add_interface(&Namespace::new()?, &janitor::unique_name())
}

/// Makes an interface in a namespace, without keys and down.
///
/// # Errors
/// The kernel has no WireGuard: the error says which kernel.
pub fn add_interface(namespace: &Namespace, name: &str) -> Result<()> {
    // The kernel loads its module for this, if there is one.
    namespace.ip(&format!("link add {name} type wireguard")).map(drop).map_err(|error| {
        let said = error.to_string();
        let said = said.lines().skip(1).collect::<Vec<_>>().join(" ");
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Error::new(format!(
            "this kernel ({}) has no WireGuard, neither built in nor as a module (CONFIG_WIREGUARD): {}",
            release.trim(),
            said.trim()
        ))
    })
}

/// What `wg setconf` reads.
pub fn configuration(keys: &KeyPair, peers: &[Peer]) -> String {
    let head = format!("[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n", keys.private.base64());
    head + &peers.iter().map(Peer::section).collect::<String>()
}

/// Has `wg` set a configuration, which may be that of a gateway in user space as well.
///
/// # Errors
/// It is refused.
pub fn configure(namespace: &Namespace, interface: &str, configuration: &str) -> Result<()> {
    let mut wg = namespace.command("wg");
    run_with_input(wg.args(["setconf", interface, "/dev/stdin"]), configuration).map(drop)
}

/// Has `wg` add peers to those that are there.
///
/// # Errors
/// It is refused.
pub fn add_peers(namespace: &Namespace, interface: &str, peers: &[Peer]) -> Result<()> {
    let mut wg = namespace.command("wg");
    let sections: String = peers.iter().map(Peer::section).collect();
    run_with_input(wg.args(["addconf", interface, "/dev/stdin"]), &sections).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::{inner_v4, inner_v6};

    #[test]
    fn the_configuration_is_as_wg_reads_it() {
        let keys = KeyPair { private: Key([0; 32]), public: Key([1; 32]) };
        let peer = Peer {
            public: Key([0xff; 32]),
            preshared: Some(Key([0; 32])),
            endpoint: Some("[fd00::2]:51820".parse().unwrap()),
            keepalive_s: 25,
            allowed: vec![inner_v4(1), inner_v6(1)],
        };
        let silent = Peer::silent(Key([0; 32]), vec![inner_v4(0)]);
        let zeroes = Key([0; 32]).base64();
        assert_eq!(
            configuration(&keys, &[peer, silent]),
            format!(
                "[Interface]\nPrivateKey = {zeroes}\nListenPort = 51820\n\n[Peer]\nPublicKey = {}\n\
                 PresharedKey = {zeroes}\nEndpoint = [fd00::2]:51820\nPersistentKeepalive = 25\n\
                 AllowedIPs = 10.77.0.2/32, fd00:77::2/128\n\n[Peer]\nPublicKey = {zeroes}\n\
                 AllowedIPs = 10.77.0.1/32\n",
                Key([0xff; 32]).base64()
            )
        );
    }
}
