//! A request, parsed and checked.

use std::net::{IpAddr, SocketAddr};

use log::LevelFilter;
use ringfort_config::SecretKey;
use ringfort_core::allowed_ips::Prefix;
use ringfort_core::suite::Suite;

use crate::capture;
use crate::control::server::HandOver;

/// One operation of a client.
#[derive(Debug)]
pub enum Request {
    /// `get=1`: the whole configuration and its counters.
    Get,
    /// `set=1`: a change.
    Set(Box<SetRequest>),
    /// `stats=1`: our own extension, which `wg` never sends. The counters of the daemon as `name=value` lines.
    Stats,
    /// `stats_json=1`, another: the same and more as one line `json={…}`.
    StatsJson,
    /// `suites=1`, another extension: the cipher suite of the interface, then each peer that has its own.
    Suites,
    /// `reload=1`: the configuration file is read again. The answer has the number of the report to wait for.
    Reload,
    /// `origin=1`: how the process was started.
    Origin,
    /// `heir_failed=TEXT`: a process that was to go on in our place cannot, for this reason.
    HeirFailed(String),
    /// `restart=1`: another process is started, to go on in our place. The answer has the number of the report that
    /// says why it did not.
    Restart,
    /// `report=1`: what became of the last reload that was finished.
    Report,
    /// `file=1`: the configuration file that the daemon reads.
    File,
    /// `log_level=1`, another: what is logged. With a level in place of the 1, that is set first.
    LogLevel(Option<LevelFilter>),
    /// `role=1`, another: whether the gateway serves its peers. With `active` or `passive` in place of the 1, that is
    /// set first.
    Role(Option<Role>),
    /// `alive=1`, another: answered when each worker has given a sign of life.
    Alive,
    /// `recover=1`, another: peers that send under sessions of nobody are asked for new ones, as after a start. The
    /// answer says for how many seconds; none if the gateway is down or passive.
    Recover,
    /// `watch=1`, another: what happens to peers, from now on until the client hangs up.
    Watch,
    /// `peers=1`, another: the state of peers, and why they are in it. An answer has a part of them and says where the
    /// next part begins, which is then asked for with that number in place of the 1.
    Peers(u32),
    /// `capture=JSON`, another: the connection carries a capture from now on.
    Capture(Box<capture::Request>),
    /// `hand_over=VERSIONS` and `hand_over_state=1`, others: a process wants to go on in our place. What follows on the
    /// connection is not of this protocol.
    HandOver(HandOver),
    /// `why=KEY`, another: what is wrong with one peer, which need not be there.
    Why([u8; 32]),
}

/// Who serves the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We do.
    Active,
    /// Another gateway does.
    Passive,
}

impl Role {
    /// That of a gateway which is passive, or is not.
    pub const fn of(is_passive: bool) -> Self {
        if is_passive { Self::Passive } else { Self::Active }
    }

    /// Its name, as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }

    /// What has this name.
    pub fn parse(text: &[u8]) -> Option<Self> {
        [Self::Active, Self::Passive].into_iter().find(|role| role.name().as_bytes() == text)
    }
}

/// A complete and valid `set=1`. To be applied in this order: device, then each peer in turn.
#[derive(Debug, Default)]
pub struct SetRequest {
    /// The lines before the first `public_key`.
    pub device: DeviceUpdate,
    /// One entry per `public_key` line, in the order of the request. A key may occur more than once.
    pub peers: Vec<PeerUpdate>,
}

/// What changes on the interface. `None` is left as it is.
#[derive(Debug, Default)]
pub struct DeviceUpdate {
    /// The private key as it was sent, not clamped. All zeros removes it.
    pub private_key: Option<SecretKey>,
    /// The UDP port; 0 lets the kernel choose.
    pub listen_port: Option<u16>,
    /// `SO_MARK` of the UDP sockets; 0 is none.
    pub fwmark: Option<u32>,
    /// The cipher suite of all peers that have none of their own.
    pub cipher_suite: Option<Suite>,
    /// All peers are removed first.
    pub replace_peers: bool,
}

/// What changes on one peer. `None` is left as it is.
#[derive(Debug)]
pub struct PeerUpdate {
    /// Which peer. Our own public key is accepted and ignored, as in wireguard-go.
    pub public_key: [u8; 32],
    /// The peer is removed; nothing else of this entry matters.
    pub remove: bool,
    /// A peer that does not exist is not created, and the entry is skipped.
    pub update_only: bool,
    /// All zeros removes it.
    pub preshared_key: Option<SecretKey>,
    /// The peer's cipher suite.
    pub cipher_suite: Option<PeerSuite>,
    /// The local address to write to the peer from, until it writes to another one.
    pub source: Option<PeerSource>,
    /// What the operator calls it; `None` inside takes the name back.
    pub name: Option<Option<String>>,
    /// Where to send to until the peer roams.
    pub endpoint: Option<SocketAddr>,
    /// Seconds; 0 turns it off.
    pub persistent_keepalive: Option<u16>,
    /// All allowed IPs are removed before `allowed_ips` is applied.
    pub replace_allowed_ips: bool,
    /// Additions and removals, in order.
    pub allowed_ips: Vec<AllowedIpUpdate>,
}

impl PeerUpdate {
    /// An entry that changes nothing but creates the peer.
    pub fn new(public_key: [u8; 32]) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            cipher_suite: None,
            source: None,
            name: None,
            endpoint: None,
            persistent_keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }
}

/// A peer's `cipher_suite` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerSuite {
    /// `default`: that of the interface.
    Interface,
    /// Its own.
    Own(Suite),
}

/// A peer's `source` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerSource {
    /// `default`: what the kernel chooses.
    Any,
    /// This one.
    Own(IpAddr),
}

/// One `allowed_ip` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedIpUpdate {
    /// The prefix belongs to this peer from now on, whoever had it.
    Add(Prefix),
    /// `allowed_ip=-…`: the prefix is taken from this peer, if it has it.
    Remove(Prefix),
}
