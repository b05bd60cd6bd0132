//! WireGuard of the kernel itself, where it has it: two interfaces, one in each namespace of a wire.
//!
//! They are made by `ip` and configured by `wg setconf` (wireguard-tools), as an operator does it. Keys go through its
//! standard input, never through its arguments.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::command::run_with_input;
use crate::daemon::find_in_path;
use crate::netns::{inner_v4, inner_v6, outer_v4};
use crate::tunnel::PORT;
use crate::{Context, Error, Key, KeyPair, Namespace, Result, Wire, janitor, ping};

/// Two interfaces that are each other's only peer. Dropping it removes everything.
#[derive(Debug)]
pub struct KernelTunnel {
    /// Their names.
    pub interfaces: [String; 2],
    /// The namespaces.
    pub wire: Wire,
}

/// A peer in the configuration of an interface.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Who it is.
    pub public: Key,
    /// Where it is, if that is known.
    pub endpoint: Option<SocketAddr>,
    /// Which addresses it has inside of the tunnel.
    pub allowed: Vec<IpAddr>,
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

fn add_interface(namespace: &Namespace, name: &str) -> Result<()> {
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
    let mut text = format!("[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n", keys.private.base64());
    for Peer { public, endpoint, allowed } in peers {
        text += &format!("\n[Peer]\nPublicKey = {}\n", public.base64());
        text += &endpoint.map_or_else(String::new, |endpoint| format!("Endpoint = {endpoint}\n"));
        let host = |address: &IpAddr| format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
        text += &format!("AllowedIPs = {}\n", allowed.iter().map(host).collect::<Vec<_>>().join(", "));
    }
    text
}

/// Has `wg` set a configuration, which may be that of a gateway in user space as well.
///
/// # Errors
/// It is refused.
pub fn configure(namespace: &Namespace, interface: &str, configuration: &str) -> Result<()> {
    let mut wg = namespace.command("wg");
    run_with_input(wg.args(["setconf", interface, "/dev/stdin"]), configuration).map(drop)
}

impl KernelTunnel {
    /// Makes both interfaces with this MTU. Each end knows the other, and `others` who never say anything.
    ///
    /// # Errors
    /// As [`probe`], or `ip` or `wg` refuses.
    pub fn connected(mtu: u32, others: &[Peer]) -> Result<Self> {
        let interfaces = [janitor::unique_name(), janitor::unique_name()];
        let tunnel = Self { interfaces, wire: Wire::new()? };
        let keys = [KeyPair::random()?, KeyPair::random()?];
        for (index, namespace) in tunnel.wire.ends.iter().enumerate() {
            let (interface, other) = (&tunnel.interfaces[index], 1 - index);
            add_interface(namespace, interface)?;
            let peer = Peer {
                public: keys[other].public,
                endpoint: Some(SocketAddr::new(outer_v4(other), PORT)),
                allowed: vec![inner_v4(other), inner_v6(other)],
            };
            let peers = [std::slice::from_ref(&peer), others].concat();
            configure(namespace, interface, &configuration(&keys[index], &peers))?;
            namespace.add_address(interface, inner_v4(index), 24)?;
            namespace.add_address(interface, inner_v6(index), 64)?;
            namespace.ip(&format!("link set {interface} mtu {mtu} up"))?;
        }
        Ok(tunnel)
    }

    /// Pings from the first end until the second answers.
    ///
    /// # Errors
    /// No answer within `patience`.
    pub fn wait_until_open(&self, patience: Duration) -> Result<Duration> {
        ping::until_answered(&self.wire.ends[0], inner_v4(1), patience).context("waiting for kernel WireGuard")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_as_wg_reads_it() {
        let keys = KeyPair { private: Key([0; 32]), public: Key([1; 32]) };
        let peer = Peer {
            public: Key([0xff; 32]),
            endpoint: Some("[fd00::2]:51820".parse().unwrap()),
            allowed: vec![inner_v4(1), inner_v6(1)],
        };
        let silent = Peer { public: Key([0; 32]), endpoint: None, allowed: vec![inner_v4(0)] };
        let zeroes = Key([0; 32]).base64();
        assert_eq!(
            configuration(&keys, &[peer, silent]),
            format!(
                "[Interface]\nPrivateKey = {zeroes}\nListenPort = 51820\n\n[Peer]\nPublicKey = {}\n\
                 Endpoint = [fd00::2]:51820\nAllowedIPs = 10.77.0.2/32, fd00:77::2/128\n\n[Peer]\n\
                 PublicKey = {zeroes}\nAllowedIPs = 10.77.0.1/32\n",
                Key([0xff; 32]).base64()
            )
        );
    }
}
