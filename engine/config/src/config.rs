//! What a configuration says, as values that are valid.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use network_setup::Table;
use ringfort_core::allowed_ips::Prefix;
use ringfort_core::crypto::{PrivateKey, PublicKey};
use ringfort_core::suite::Suite;

use super::secret::SecretKey;
use super::start::StartSettings;

/// A whole configuration: the file and all that it includes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The section `[Interface]`.
    pub interface: Interface,
    /// The sections `[Peer]`, in their order. No two have the same key, and no prefix is in two of them.
    pub peers: Vec<Peer>,
}

/// The section `[Interface]`. What is not said is `None`, or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The private key, from the file or from the one that [`private_key_file`](Self::private_key_file) names.
    pub private_key: Option<SecretKey>,
    /// The file that has the key, as it was written.
    pub private_key_file: Option<PathBuf>,
    /// The UDP port; 0 lets the kernel choose.
    pub listen_port: Option<u16>,
    /// The mark of our own datagrams; 0 is none.
    pub fwmark: Option<u32>,
    /// The cipher suite of peers that have none of their own.
    pub cipher_suite: Option<Suite>,
    /// Addresses of the interface.
    pub addresses: Vec<Address>,
    /// Servers and search domains.
    pub dns: Vec<Dns>,
    /// In bytes.
    pub mtu: Option<u32>,
    /// Where routes go.
    pub table: Table,
    /// Commands around the start and the end.
    pub hooks: Hooks,
    /// How many seconds PreDown may take, and PostDown as well; 0 is without a limit.
    pub hook_timeout: Option<u16>,
    /// Whether the running configuration is written to the file when the gateway ends.
    pub save_config: bool,
    /// What counts at a start only.
    pub start: StartSettings,
}

/// A section `[Peer]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which peer.
    pub public_key: PublicKey,
    /// What people call it.
    pub name: Option<String>,
    /// A key of zeros is `None`.
    pub preshared_key: Option<SecretKey>,
    /// What is routed to it, and may come from it.
    pub allowed_ips: BTreeSet<Prefix>,
    /// Where it is reached until it writes from elsewhere.
    pub endpoint: Option<Endpoint>,
    /// In seconds; 0 is off.
    pub persistent_keepalive: Option<u16>,
    /// Its own cipher suite.
    pub cipher_suite: Option<Suite>,
    /// The local address to write to it from.
    pub source: Option<IpAddr>,
}

/// An address of the interface, with the length of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// With its host part.
    pub addr: IpAddr,
    /// Bits of the network.
    pub len: u8,
}

/// An element of `DNS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dns {
    /// A server.
    Server(IpAddr),
    /// A domain to search in.
    Search(String),
}

/// Commands of the operator, `%i` in them still as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before the interface is configured.
    pub pre_up: Vec<String>,
    /// When all is configured.
    pub post_up: Vec<String>,
    /// Before anything is taken away.
    pub pre_down: Vec<String>,
    /// When the interface is gone.
    pub post_down: Vec<String>,
}

/// Where a peer is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// At this address.
    Address(SocketAddr),
    /// At the address of this name, or at a link-local address behind the interface that it names (`fe80::1%eth0`).
    Name {
        /// What to resolve.
        host: String,
        /// The UDP port.
        port: u16,
    },
}

impl Endpoint {
    /// Whether its host is a name, rather than an address behind an interface.
    pub(crate) fn is_name(&self) -> bool {
        matches!(self, Self::Name { host, .. } if !host.contains('%'))
    }
}

impl Config {
    /// Whether the file makes a gateway of the interface: whether it has a private key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.interface.private_key.is_some()
    }

    /// The public key of the interface, if the file has the private one.
    #[must_use]
    pub fn own_key(&self) -> Option<PublicKey> {
        self.interface.private_key.as_ref().map(|key| PrivateKey::copy_of(key.expose()).public_key())
    }

    /// All peers but the gateway itself, which has the key `own`: one list can be given to all gateways.
    pub fn others(&self, own: Option<PublicKey>) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(move |peer| Some(peer.public_key) != own)
    }

    /// Every suite that it names.
    pub fn suites(&self) -> impl Iterator<Item = Suite> {
        self.interface.cipher_suite.into_iter().chain(self.peers.iter().filter_map(|peer| peer.cipher_suite))
    }

    /// Every allowed IP, of all peers.
    pub fn allowed_ips(&self) -> impl Iterator<Item = Prefix> {
        self.peers.iter().flat_map(|peer| peer.allowed_ips.iter().copied())
    }
}

impl Peer {
    /// A section that names a peer and says nothing else.
    #[must_use]
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            name: None,
            preshared_key: None,
            allowed_ips: BTreeSet::new(),
            endpoint: None,
            persistent_keepalive: None,
            cipher_suite: None,
            source: None,
        }
    }
}

impl Hooks {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl fmt::Display for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(addr) => addr.fmt(f),
            Self::Search(domain) => f.write_str(domain),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(addr) => addr.fmt(f),
            Self::Name { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}
